"""Whether a study's results are those that its file asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.file_digest import file_sha256
from pipelines.config import with_dependent_defaults
from pipelines.study_cell import Cell
from pipelines.study_config import Evaluation


def check_cell(cell: Cell) -> None:
    """Refuse results of other settings, evaluations or data, and what would fail hours later.

    Args:
        cell: of a study that is about to run.

    Raises:
        InputError: a file of the study or its data is missing, or there is a result that is damaged or was made
            otherwise; the message names what differs.
    """
    files = [file for evaluation in cell.evaluations.values() for file in evaluation.histories.values()]
    for file in [*files, *([cell.truth] if cell.truth else [])]:
        if not Path(file).is_file():
            raise InputError(f"The file {file} of the study is missing.")
    if not cell.result.exists():
        PreparedData.open(cell.data_folder)
        return
    record = cell.read_record()
    if Path(cell.data_folder).exists() and PreparedData.open(cell.data_folder).data_hash != record["data_hash"]:
        raise InputError(
            f"{cell.data_folder} now holds other data than {cell.result} was made with. "
            "Prepare the old events again, or give another --out."
        )
    differing = [*_differing_settings(cell, record), *_differing_evaluations(cell, record)]
    if cell.augmenter and "augmenter" not in record:
        differing.append("`augmenter`")
    if cell.truth and record.get("augmenter") and "planted_noise" not in record["augmenter"]:
        differing.append("`truth`")
    if differing:
        raise InputError(
            f"{cell.result} was made with other settings than the study file and the defaults give: "
            f"{', '.join(differing)}. Delete it to train again, or give another --out."
        )


def _differing_settings(cell: Cell, record: dict[str, Any]) -> list[str]:
    wanted: dict[str, Any] = json.loads(json.dumps(cell.config.resolved()))
    # Earlier records have None where a default depends on other settings.
    found = with_dependent_defaults(record["settings"])
    wanted, found = (each.pop("model") | each for each in (wanted, found))
    return sorted(name for name in wanted | found if (name in wanted) != (name in found) or wanted[name] != found[name])


def _differing_evaluations(cell: Cell, record: dict[str, Any]) -> list[str]:
    done = {*record["evaluations"], *record["skipped"]}
    differing = done ^ set(cell.evaluations)
    for name, report in record["evaluations"].items():
        if name in cell.evaluations and not _evaluates_as_asked(report, cell.evaluations[name], cell):
            differing.add(name)
    return [f"evaluation {name!r}" for name in sorted(differing)]


def _evaluates_as_asked(report: dict[str, Any], asked: Evaluation, cell: Cell) -> bool:
    histories = asked.histories.get(cell.data)
    same = (
        report["split"] == cell.split
        and report["protocol"] == asked.protocol
        and bool(report.get("clean")) == asked.clean
        and ("histories" in report) == (histories is not None)
    )
    if same and histories is not None and "histories_sha256" in report:  # earlier reports have none
        return report["histories_sha256"] == file_sha256(Path(histories))
    return same
