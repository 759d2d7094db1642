"""One training of a study, and where what comes of it lies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.training.checkpoints import DAMAGE
from laclrec_tf.training.config import TrainConfig
from pipelines.study_config import Evaluation, training_name

# Metrics look at the first twenty places only.
LAST_PLACE = 20
_RECORD_TYPES: dict[str, type | tuple[type, ...]] = {
    "data_hash": str,
    "seconds": (int, float),
    "seed": int,
    "settings": dict,
    "evaluations": dict,
    "skipped": list,
    "curve": list,
}


@dataclass(frozen=True)
class Cell:
    """One training of a study and what is evaluated on it.

    Args:
        data: the data set's name.
        data_folder: made by `laclrec-tf prepare`.
        model: its name.
        seed: of the training.
        trained_on: "strict" or "refit".
        split: what runs are evaluated on, "test" or "validation".
        config: the model's settings, those of the strict training.
        evaluations: by name, those that do not fit the model or the data set among them.
        augmenter: whether what the augmenter does is measured, if there is one.
        truth: for simulated events the `.truth.csv` beside them, or None.
        out: the study's folder.
    """

    data: str
    data_folder: str
    model: str
    seed: int
    trained_on: str
    split: str
    config: TrainConfig
    evaluations: dict[str, Evaluation]
    augmenter: bool
    truth: str | None
    out: Path

    @property
    def name(self) -> str:
        """The name of its files."""
        return training_name(self.data, self.model, self.seed, self.trained_on)

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.out / "runs" / self.name

    @property
    def result(self) -> Path:
        """What it came to; written last."""
        return self.out / "results" / f"{self.name}.json"

    @property
    def augmenter_report(self) -> Path:
        """What its augmenter does, if that is measured."""
        return self.out / "augmenter" / self.name

    @property
    def ranks(self) -> Path:
        """Each user's rank in each evaluation, `[U]` uint8, `LAST_PLACE` for all places from there on."""
        return self.result.with_suffix(".npz")

    @property
    def strict_result(self) -> Path:
        """What the strict training of the same model, seed and data came to."""
        return self.result.with_name(f"{training_name(self.data, self.model, self.seed, 'strict')}.json")

    def settings_to_train(self) -> TrainConfig:
        """Return the settings to train with: a refit takes the epoch count that its strict training found.

        Raises:
            InputError: the strict training's result is missing or damaged.
        """
        if self.trained_on == "strict":
            return self.config
        settings = self.config.as_dict()
        refit = {"refit": True, "refit_epochs": _read(self.strict_result)["best_epoch"]}
        return TrainConfig.of(settings.pop("model") | settings | refit)

    def read_record(self) -> dict[str, Any]:
        """Read what it came to.

        Raises:
            InputError: the file is missing or damaged.
        """
        return _read(self.result)

    def read_ranks(self) -> dict[str, np.ndarray]:
        """Read each user's rank, by evaluation: `[U]` uint8.

        Raises:
            InputError: the file is missing or damaged, or of other evaluations than the record.
        """
        try:
            ranks = dict(np.load(self.ranks))
            if set(ranks) != set(self.read_record()["evaluations"]):
                raise ValueError("it is of other evaluations than the record beside it")
        except (*DAMAGE, TypeError) as error:
            raise InputError(
                f"{self.ranks} is damaged ({error}). Delete {self.result} to evaluate the training again."
            ) from None
        return ranks


def _read(result: Path) -> dict[str, Any]:
    try:
        record = json.loads(result.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("it holds no record")
        lost = [name for name, kind in _RECORD_TYPES.items() if not isinstance(record.get(name), kind)]
        lost += [] if lost or isinstance(record["settings"].get("model"), dict) else ["settings.model"]
        if lost:
            raise ValueError(f"it does not tell {lost[0]!r}")
    except (OSError, ValueError) as error:
        raise InputError(f"{result} is damaged ({error}). Delete it to evaluate the training again.") from None
    return record
