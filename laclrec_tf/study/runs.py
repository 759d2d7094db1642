"""One training of a study: its files, and whether its results fit the study file or can be made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256
from laclrec_tf.metrics.ranking import served_protocol
from laclrec_tf.models import preset_arguments
from laclrec_tf.study.config import Evaluation, training_name
from laclrec_tf.study.records import read_ranks, read_record
from laclrec_tf.training.checkpoints import TrainingCheckpoints
from laclrec_tf.training.config import (
    ADDED_SETTINGS,
    DATA_DEFAULTS,
    TrainConfig,
    flat_settings,
    with_dependent_defaults,
)
from laclrec_tf.training.setup import config_for_data
from laclrec_tf.training.train import check_place, finished_before


@dataclass(frozen=True)
class Cell:
    """One training of a study, and how it is evaluated.

    Args:
        data: Name of the data set.
        data_folder: Folder made by `laclrec-tf prepare`.
        model: Name of the model.
        seed: Seed of the training.
        trained_on: "strict" or "refit".
        split: Split to evaluate on, "test" or "validation".
        config: The model's settings, those of the strict training.
        evaluations: All evaluations of the study by name, including those that do not fit the model or the data set.
        augmenter: Whether to measure what the augmenter does, if the model has one.
        truth: The `.truth.csv` file of simulated events, or None.
        out: The study's folder.
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
        """Name of its files."""
        return training_name(self.data, self.model, self.seed, self.trained_on)

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.out / "runs" / self.name

    @property
    def result(self) -> Path:
        """The file of its record, see `laclrec_tf.study.records`."""
        return self.out / "results" / f"{self.name}.json"

    @property
    def augmenter_report(self) -> Path:
        """Folder of its augmenter report."""
        return self.out / "augmenter" / self.name

    @property
    def strict_result(self) -> Path:
        """The file of the record of the strict training with the same model, seed and data."""
        return self.result.with_name(f"{training_name(self.data, self.model, self.seed, 'strict')}.json")

    @property
    def strict_run(self) -> Path:
        """The run folder of the strict training with the same model, seed and data."""
        return self.run.with_name(training_name(self.data, self.model, self.seed, "strict"))

    @property
    def takes_calibration_over(self) -> bool:
        """Whether it is a refit that takes over the calibration of its strict run, as it sets no users aside."""
        return self.trained_on == "refit" and not self.config.is_counted and self.config.calibration_share > 0

    def settings_to_train(self) -> TrainConfig:
        """Return the settings to train with; a refit takes the number of epochs that its strict training found.

        Raises:
            InputError: The strict training's record is missing or damaged.
        """
        if self.trained_on == "strict":
            return self.config
        settings = self.config.as_dict()
        refit = {"refit": True, "refit_epochs": read_record(self.strict_result)["best_epoch"]}
        return TrainConfig.of(settings.pop("model") | settings | refit)


def check_cell(cell: Cell) -> None:
    """Refuse results of other settings, evaluations or data, and problems that would fail the study hours later.

    Args:
        cell: A training of a study that is about to run.

    Raises:
        InputError: A file of the study or its data is missing, its run folder holds another training, or its result is
            damaged or was made with other settings; the message names them.
    """
    files = [file for evaluation in cell.evaluations.values() for file in evaluation.histories.values()]
    for file in [*files, *([cell.truth] if cell.truth else [])]:
        if not Path(file).is_file():
            raise InputError(f"The file {file} of the study is missing.")
    if cell.result.exists():
        _check_result(cell)
        return
    prepared = PreparedData.open(cell.data_folder)
    if cell.trained_on == "refit" and not cell.strict_result.exists():
        return  # its number of epochs is not known yet
    if finished_before(cell.run, cell.settings_to_train(), prepared) is None:
        if cell.takes_calibration_over and not cell.strict_run.exists():
            raise InputError(
                f"The run folder {cell.strict_run} is missing: the refit takes over what it knows of noise. Delete "
                f"{cell.strict_result} to train it again, or set `calibration_share: 0`."
            )
        check_place(cell.run, TrainingCheckpoints(cell.run / "checkpoints"), resume=True)


def _check_result(cell: Cell) -> None:
    record = read_record(cell.result)
    read_ranks(cell.result, record)
    if Path(cell.data_folder).exists() and PreparedData.open(cell.data_folder).data_hash != record["data_hash"]:
        raise InputError(
            f"{cell.data_folder} now holds other data than {cell.result} was made with. "
            "Prepare the old events again, or give another --out."
        )
    for differing, remedy in (
        (_differing_settings(cell, record), f"Delete it and {cell.run} to train again"),
        (_differing_measurements(cell, record), "Delete it to evaluate the training again"),
    ):
        if differing:
            raise InputError(
                f"{cell.result} was made with other settings than the study file and the defaults give: "
                f"{', '.join(differing)}. {remedy}, or give another --out."
            )


def _differing_settings(cell: Cell, record: dict[str, Any]) -> list[str]:
    is_here = Path(cell.data_folder).exists()
    config = config_for_data(cell.config, PreparedData.open(cell.data_folder)) if is_here else cell.config
    expected = config.every_setting()
    # Earlier records have None where a default depends on other settings.
    found = {name: value for name, value in ADDED_SETTINGS.items() if name in expected}
    found |= flat_settings(with_dependent_defaults(record["settings"]))
    # Earlier versions recorded the default of what followed from the data.
    found["exclude_history"] = record.get("exclude_history", found["exclude_history"])
    given = preset_arguments(cell.config.preset) | cell.config.model
    unknown = () if is_here else DATA_DEFAULTS.keys() - given.keys()
    differing = sorted(
        name
        for name in expected | found
        if name not in unknown and ((name in expected) != (name in found) or expected[name] != found[name])
    )
    if cell.trained_on == "refit" and cell.strict_result.exists():
        epochs = cell.settings_to_train().refit_epochs
        differing += ["the epoch count of its strict training"] if record.get("refit_epochs") != epochs else []
    return differing


def _differing_measurements(cell: Cell, record: dict[str, Any]) -> list[str]:
    evaluations, skipped = record["evaluations"], record["skipped"]
    differing = {*evaluations, *skipped} ^ set(cell.evaluations)
    for name, expected in cell.evaluations.items():
        if name in skipped and expected.suits(False, False) and not expected.leaves_out(cell.data):
            differing.add(name)
        if name in evaluations and not _matches(evaluations[name], expected, cell, record):
            differing.add(name)
    names = [f"evaluation {name!r}" for name in sorted(differing)]
    measured = record.get("augmenter")
    if cell.augmenter and "augmenter" not in record:
        names.append("`augmenter`")
    if cell.truth and measured and "planted_noise" not in measured:
        names.append("`truth`")
    return names


def _matches(report: dict[str, Any], expected: Evaluation, cell: Cell, record: dict[str, Any]) -> bool:
    histories = expected.histories.get(cell.data)
    same = (
        not expected.leaves_out(cell.data)
        and report.get("split") == cell.split
        and report.get("protocol") == (expected.protocol or served_protocol(record.get("exclude_history", True)))
        and "served_recall@10" not in report  # an earlier version, in which "full" ranked items of the history
        and bool(report.get("clean")) == expected.clean
        and report.get("edits_chosen", False) == (expected.edits == "chosen")
        and expected.edits in ("chosen", report.get("edits", "none"))
        and report.get("noise", 0.0) == expected.noise
        and ("histories" in report) == (histories is not None)
    )
    if same and histories is not None and "histories_sha256" in report:  # earlier reports lack it
        return report["histories_sha256"] == file_sha256(Path(histories))
    return same
