"""Whether a study's results are those that its file asks for, and whether what is missing can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256
from laclrec_tf.training.checkpoints import TrainingCheckpoints
from laclrec_tf.training.config import flat_settings, with_dependent_defaults
from laclrec_tf.training.train import check_place, finished_before
from pipelines.study_cell import Cell
from pipelines.study_config import Evaluation


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
