"""One training of a study, and where what comes of it lies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from laclrec_tf.errors import InputError
from pipelines.config import TrainConfig
from pipelines.study_config import Evaluation, training_name

# Metrics look at the first twenty places only.
LAST_PLACE = 20


@dataclass(frozen=True)
class Cell:
    """One training of a study and what is evaluated on it."""

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

    def read_record(self) -> dict[str, Any]:
        """Read what it came to.

        Raises:
            InputError: the file is damaged.
        """
        try:
            record = json.loads(self.result.read_text(encoding="utf-8"))
            if missing := {"settings", "evaluations", "skipped", "data_hash"} - set(record):
                raise ValueError(f"it has no {min(missing)}")
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self.result} is damaged ({error}). Delete it to train again.") from None
        return record

    def read_ranks(self) -> dict[str, np.ndarray]:
        """Read each user's rank, by evaluation.

        Raises:
            InputError: the file is damaged or missing.
        """
        try:
            return dict(np.load(self.ranks))
        except (OSError, ValueError, TypeError, BadZipFile) as error:
            raise InputError(f"{self.ranks} is damaged ({error}). Delete {self.result} to train again.") from None
