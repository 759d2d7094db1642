"""Whether a study's results are those that its file asks for, and whether what is missing can be trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256
from laclrec_tf.study.config import Evaluation, training_name
from laclrec_tf.training.checkpoints import DAMAGE, TrainingCheckpoints
from laclrec_tf.training.config import TrainConfig, flat_settings, with_dependent_defaults
from laclrec_tf.training.train import check_place, finished_before

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


def check_cell(cell: Cell) -> None:
    """Refuse results of other settings, evaluations or data, and what would fail hours later.

    Args:
        cell: of a study that is about to run.

    Raises:
        InputError: a file of the study or its data is missing, its run folder holds another training, or there is a
            result that is damaged or was made otherwise; the message names what differs.
    """
    files = [file for evaluation in cell.evaluations.values() for file in evaluation.histories.values()]
    for file in [*files, *([cell.truth] if cell.truth else [])]:
        if not Path(file).is_file():
            raise InputError(f"The file {file} of the study is missing.")
    if cell.result.exists():
        _check_result(cell)
    else:
        _check_run(cell)


def _check_run(cell: Cell) -> None:
    prepared = PreparedData.open(cell.data_folder)
    if cell.trained_on == "refit" and not cell.strict_result.exists():
        return  # its epoch count is not known yet
    if finished_before(cell.run, cell.settings_to_train(), prepared) is None:
        check_place(cell.run, TrainingCheckpoints(cell.run / "checkpoints"), resume=True)


def _check_result(cell: Cell) -> None:
    record = cell.read_record()
    cell.read_ranks()
    if Path(cell.data_folder).exists() and PreparedData.open(cell.data_folder).data_hash != record["data_hash"]:
        raise InputError(
            f"{cell.data_folder} now holds other data than {cell.result} was made with. "
            "Prepare the old events again, or give another --out."
        )
    if differing := _differing_settings(cell, record):
        raise InputError(_other_settings(cell, differing, f"Delete it and {cell.run} to train again"))
    if differing := _differing_measurements(cell, record):
        raise InputError(_other_settings(cell, differing, "Delete it to evaluate the training again"))


def _other_settings(cell: Cell, differing: list[str], remedy: str) -> str:
    return (
        f"{cell.result} was made with other settings than the study file and the defaults give: "
        f"{', '.join(differing)}. {remedy}, or give another --out."
    )


def _differing_settings(cell: Cell, record: dict[str, Any]) -> list[str]:
    wanted = cell.config.every_setting()
    # Earlier records have None where a default depends on other settings.
    found = flat_settings(with_dependent_defaults(record["settings"]))
    differing = sorted(
        name for name in wanted | found if (name in wanted) != (name in found) or wanted[name] != found[name]
    )
    if cell.trained_on == "refit" and cell.strict_result.exists():
        epochs = cell.settings_to_train().refit_epochs
        differing += ["the epoch count of its strict training"] if record.get("refit_epochs") != epochs else []
    return differing


def _differing_measurements(cell: Cell, record: dict[str, Any]) -> list[str]:
    evaluations, skipped = record["evaluations"], record["skipped"]
    differing = {*evaluations, *skipped} ^ set(cell.evaluations)
    for name, asked in cell.evaluations.items():
        if name in skipped and not (asked.clean or asked.leaves_out(cell.data)):
            differing.add(name)
        if name in evaluations and not _is_of(evaluations[name], asked, cell):
            differing.add(name)
    names = [f"evaluation {name!r}" for name in sorted(differing)]
    measured = record.get("augmenter")
    if cell.augmenter and "augmenter" not in record:
        names.append("`augmenter`")
    if cell.truth and measured and "planted_noise" not in measured:
        names.append("`truth`")
    return names


def _is_of(report: dict[str, Any], asked: Evaluation, cell: Cell) -> bool:
    """Say whether a report is what an evaluation asks for."""
    histories = asked.histories.get(cell.data)
    same = (
        not asked.leaves_out(cell.data)
        and report.get("split") == cell.split
        and report.get("protocol") == asked.protocol
        and bool(report.get("clean")) == asked.clean
        and ("histories" in report) == (histories is not None)
    )
    if same and histories is not None and "histories_sha256" in report:  # earlier reports have none
        return report["histories_sha256"] == file_sha256(Path(histories))
    return same
