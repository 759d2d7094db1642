"""The records of a study's trainings: two files per training in the study's folder, or one compact file per study.

A training's record is a JSON file with its settings, metrics and validation curve. Next to it an `.npz` file holds each
user's rank in each evaluation. Tables, plots and significance tests are made from these two.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.runtime.output_files import ReportFile, atomic_write, new_folder
from laclrec_tf.study.config import StudyConfig, training_name
from laclrec_tf.training.checkpoints import DAMAGE

# No metric reads ranks from this one on, so all of them are stored as this one.
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
Ranks = dict[str, np.ndarray]


def pack_study(folder: str | Path, file: str | Path) -> None:
    """Write the records, ranks and augmenter reports of a study's folder into one compact file.

    The file leaves out what can be made from these (`report_study`) and the models. It is a zip archive that `np.load`
    reads: `records.json`, a matrix `ranks/DATA/EVALUATION` for each data set and evaluation (`[U, T]` uint8, one column
    for each record that has the evaluation, in the order of the records), and the files of `augmenter/`. The same
    folder gives the same bytes.

    Args:
        folder: The study's folder, see `laclrec_tf.study.study.study`.
        file: File to write, usually `NAME.npz`. An existing file is replaced.

    Raises:
        InputError: The folder holds no results, one of them is damaged, or the file cannot be written.

    Example:
        >>> pack_study("beauty-models", "studies/records/beauty-models.npz")  # doctest: +SKIP
    """
    folder, out = Path(folder), ReportFile(file)
    results = sorted((folder / "results").glob("*.json"))
    if not results:
        raise InputError(f"{folder} holds no results of a study. Name a folder made by `laclrec-tf study`.")
    records = [read_record(result) for result in results]
    columns: dict[tuple[str, str], list[np.ndarray]] = {}
    for result, record in zip(results, records, strict=True):
        for evaluation, column in read_ranks(result, record).items():
            columns.setdefault((record["data"], evaluation), []).append(column)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:  # ZipInfo's date is always the same
        archive.writestr(zipfile.ZipInfo("records.json"), json.dumps(records), zipfile.ZIP_LZMA)
        for (data, evaluation), ranks in sorted(columns.items()):
            matrix = io.BytesIO()
            # A user's ranks are similar in all trainings: rows of users take less space than rows of trainings.
            np.save(matrix, np.ascontiguousarray(np.stack(ranks, axis=1)))
            archive.writestr(zipfile.ZipInfo(f"ranks/{data}/{evaluation}.npy"), matrix.getvalue(), zipfile.ZIP_LZMA)
        for path in sorted(path for path in (folder / "augmenter").rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_LZMA)
    out.write(packed.getvalue())


def unpack_study(file: str | Path, folder: str | Path) -> None:
    """Turn a file of `pack_study` back into a study's folder, in which `laclrec-tf study` resumes.

    Args:
        file: The packed study.
        folder: The study's folder; made if it is missing. It must not hold results.

    Raises:
        InputError: The file is missing or damaged, or the folder holds results or cannot be written.

    Example:
        >>> unpack_study("studies/records/beauty-models.npz", "beauty-models")  # doctest: +SKIP
    """
    file, folder = Path(file), Path(folder)
    if (folder / "results").exists():
        raise InputError(f"{folder} holds results already. Give another folder.")
    try:
        with np.load(file) as packed:
            content = {name: packed[name] for name in packed.files}
        records = json.loads(content.pop("records.json"))
        ranks: list[Ranks] = [{} for _ in records]
        for name in [name for name in content if name.startswith("ranks/")]:
            _, data, evaluation = name.split("/")
            having = [i for i, each in enumerate(records) if each["data"] == data and evaluation in each["evaluations"]]
            for i, column in zip(having, content.pop(name).T, strict=True):
                ranks[i][evaluation] = column
        if [set(each) for each in ranks] != [set(record["evaluations"]) for record in records]:
            raise ValueError("ranks are missing")
        if strange := [name for name in content if ".." in name or PurePosixPath(name).parts[0] != "augmenter"]:
            raise ValueError(f"it holds {strange[0]!r}")
    except (*DAMAGE, TypeError, AttributeError, lzma.LZMAError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"Cannot read {file}: {reason}. Name a file that `pack_study` wrote.") from None
    with new_folder(folder, lambda folder: False):
        (folder / "results").mkdir()
        for record, its_ranks in zip(records, ranks, strict=True):
            write_result(result_file(folder, record), record, its_ranks)
        for name, file_content in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(file_content)


def result_file(folder: Path, record: dict[str, Any]) -> Path:
    """Return where a study's folder keeps a record."""
    name = training_name(record["data"], record["model"], record["seed"], record["trained_on"])
    return folder / "results" / f"{name}.json"


def write_result(file: Path, record: dict[str, Any], ranks: Ranks) -> None:
    """Write a training's ranks, and then its record: a training is finished when its record is there.

    Args:
        file: The record's file. The ranks get the same name with the ending `.npz`.
        record: The record.
        ranks: Per evaluation each user's rank, `[U]` uint8.
    """
    in_order = {name: ranks[name] for name in record["evaluations"]}
    np.savez_compressed(file.with_suffix(".npz"), **in_order)  # type: ignore[arg-type]
    with atomic_write(file) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(file: Path) -> dict[str, Any]:
    """Read a training's record.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("it holds no record")
        lost = [name for name, kind in _RECORD_TYPES.items() if not isinstance(record.get(name), kind)]
        lost += [] if lost or isinstance(record["settings"].get("model"), dict) else ["settings.model"]
        if lost:
            raise ValueError(f"it has no {lost[0]!r}")
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}). Delete it to evaluate the training again.") from None
    return record


def read_ranks(file: Path, record: dict[str, Any]) -> Ranks:
    """Read each user's rank by evaluation, `[U]` uint8.

    Args:
        file: The record's file.
        record: What it holds.

    Raises:
        InputError: The ranks are missing or damaged, or belong to other evaluations than the record.
    """
    ranks_file = file.with_suffix(".npz")
    try:
        ranks = dict(np.load(ranks_file))
        if set(ranks) != set(record["evaluations"]):
            raise ValueError("its evaluations differ from those of the record")
    except (*DAMAGE, TypeError) as error:
        raise InputError(f"{ranks_file} is damaged ({error}). Delete {file} to evaluate the training again.") from None
    return ranks


def read_results(config: StudyConfig, folder: Path) -> tuple[list[dict[str, Any]], list[Ranks]]:
    """Read the records that a study's folder holds, and their ranks, in the order of the study.

    Raises:
        InputError: A file is damaged.
    """
    names = (training_name(*training) for training in config.trainings())
    files = [file for name in names if (file := folder / "results" / f"{name}.json").exists()]
    records = [read_record(file) for file in files]
    return records, [read_ranks(file, record) for file, record in zip(files, records, strict=True)]
