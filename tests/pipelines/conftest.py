"""Small prepared data for the stages after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.prepare import prepare
from pipelines.simulate import simulate_events


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of prepared data: 150 shoppers, 150 items, nobody dropped."""
    folder = tmp_path_factory.mktemp("prepared")
    simulate_events(folder / "events.csv", users=150, items=150, seed=5)
    prepare([folder / "events.csv"], folder / "data", min_interactions=1)
    return folder / "data"
