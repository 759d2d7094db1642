"""What writing a run takes; `laclrec_tf.run_folder` reads it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.run_folder import FORMAT_VERSION, RECORD_FILE, RETIRED_FILE, RunFolder, has_epochs

__all__ = [
    "FORMAT_VERSION",
    "RECORD_FILE",
    "RETIRED_FILE",
    "RunFolder",
    "check_new_run",
    "has_epochs",
    "package_versions",
    "write_record",
]


def check_new_run(out: Path) -> None:
    """Refuse a folder that a new run would overwrite.

    Raises:
        InputError: `out` is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        unfinished = has_epochs(out) and not (out / RECORD_FILE).exists()
        state = "holds an unfinished run" if unfinished else "exists already and is not overwritten"
        first = "Go on with --resume, or give" if unfinished else "Give"
        raise InputError(f"{out} {state}. {first} another --out, or delete it first.")


def package_versions() -> dict[str, str]:
    """Return the versions that a run is made with, by package, for its record."""
    return {name: version(name) for name in ("laclrec-tf", "tensorflow", "keras")}


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write `run.json`, last of all and renamed into place: a run folder that has it is whole."""
    partial = folder / f"{RECORD_FILE}.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.rename(folder / RECORD_FILE)
