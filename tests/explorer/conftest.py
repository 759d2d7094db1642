"""A run that recommends over the edits of histories, and its export."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from laclrec_tf.run_folder import RunFolder, write_record
from laclrec_tf.serving.release.export import export


@pytest.fixture(scope="session")
def mixing_run(laclrec_run: RunFolder, made_once: Callable[[str, Callable[[Path], object]], Path]) -> RunFolder:
    """Return the run with an augmenter as after a calibration that chose "uniform"."""

    def make(folder: Path) -> None:
        run = RunFolder.open(shutil.copytree(laclrec_run.folder, folder / "run"))
        run.model.mixture.choice.assign(1)
        run.model.mixture.uniform.assign([1.5, 0.0])
        run.model.save(run.folder / "model.keras")
        write_record(run.folder, run.record | {"edits": {"chosen": "uniform", "users": 60}})

    return RunFolder.open(made_once("mixing", make) / "run")


@pytest.fixture(scope="session")
def mixing_export(mixing_run: RunFolder, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Return `.../shop`, the folder of a model whose version 1 recommends over the edits of a history."""
    make = lambda folder: export(mixing_run.folder, folder / "shop", show_progress=False)  # noqa: E731
    return made_once("mixing-export", make) / "shop"
