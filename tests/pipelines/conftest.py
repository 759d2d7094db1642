"""Small prepared data, runs and exports for the stages after them, each made once; who changes one takes a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tensorflow as tf

from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.simulated import simulate_events
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving.release.export import export
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import train


@contextmanager
def untraced() -> Iterator[None]:
    """Run training steps as Python calls them: of a step that is run five times, tracing takes most of the time.

    Training steps are traced in the tests of the models, and wherever a test starts a command.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@pytest.fixture(scope="module")
def untraced_training() -> Iterator[None]:
    """Trace no training step of a file's tests."""
    with untraced():
        yield


@pytest.fixture
def untraced_here() -> Iterator[None]:
    """Trace no training step of one test."""
    with untraced():
        yield


@pytest.fixture(scope="session")
def data(made_once) -> Path:
    """Return a folder of prepared data: 150 shoppers, 150 items, nobody dropped."""

    def make(folder: Path) -> None:
        simulate_events(folder / "events.csv", users=150, items=150, seed=5)
        prepare([folder / "events.csv"], folder / "data", min_interactions=1)

    return made_once("prepared", make) / "data"


@pytest.fixture(scope="session")
def sasrec_run(data: Path, made_once) -> RunFolder:
    """Return a run of a model without an augmenter, three epochs."""
    config = TrainConfig.of({"preset": "sasrec", "width": 16, "epochs": 3, "learning_rate": 0.02, "seed": 3})
    return RunFolder.open(made_once("sasrec", _trained(data, config)) / "run")


@pytest.fixture(scope="session")
def laclrec_run(data: Path, made_once) -> RunFolder:
    """Return a run of a model with an augmenter, one epoch."""
    config = TrainConfig.of(
        {"width": 8, "epochs": 1, "lambda_aug": 1.0, "learning_rate": 0.02, "dropout": 0.0, "seed": 4}
    )
    return RunFolder.open(made_once("laclrec", _trained(data, config)) / "run")


def _trained(data: Path, config: TrainConfig) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        with untraced():
            train(data, folder / "run", config, show_progress=False)

    return make


@pytest.fixture(scope="session")
def evaluated_run(sasrec_run: RunFolder, made_once) -> Path:
    """Return the run without an augmenter, evaluated on the test split under two protocols."""

    def make(folder: Path) -> None:
        shutil.copytree(sasrec_run.folder, folder / "run")
        for protocol in ("full", "full-with-history"):
            evaluate(folder / "run", protocol=protocol, show_progress=False)

    return made_once("evaluated", make) / "run"


@pytest.fixture(scope="session")
def sasrec_export(evaluated_run: Path, made_once) -> Path:
    """Return the model's folder of an export of the evaluated run, `.../shop`, which holds version 1."""
    make = lambda folder: export(evaluated_run, folder / "shop", show_progress=False)  # noqa: E731
    return made_once("sasrec-export", make) / "shop"


@pytest.fixture(scope="session")
def laclrec_export(laclrec_run: RunFolder, made_once) -> Path:
    """Return the model's folder of an export of the run with an augmenter, `.../shop`, which holds version 1."""
    make = lambda folder: export(laclrec_run.folder, folder / "shop", show_progress=False)  # noqa: E731
    return made_once("laclrec-export", make) / "shop"
