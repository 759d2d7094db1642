"""Small prepared data for the stages after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import TrainConfig
from pipelines.evaluate import evaluate
from pipelines.prepare import prepare
from pipelines.simulate import simulate_events
from pipelines.train import train


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of prepared data: 150 shoppers, 150 items, nobody dropped."""
    folder = tmp_path_factory.mktemp("prepared")
    simulate_events(folder / "events.csv", users=150, items=150, seed=5)
    prepare([folder / "events.csv"], folder / "data", min_interactions=1)
    return folder / "data"


@pytest.fixture(scope="session")
def evaluated_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of two epochs that was evaluated on the test split, under two protocols."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    small = {"width": 8, "n_encoder_blocks": 1, "n_recommender_blocks": 1}
    train(data, run, TrainConfig.of({"preset": "sasrec", "epochs": 2, **small}), show_progress=False)
    for protocol in ("full", "full-with-history"):
        evaluate(run, protocol=protocol, show_progress=False)
    return run
