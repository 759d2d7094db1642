"""Write the embedded data set to files: events, and the truth beside them."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from laclrec_tf.data.simulated import simulate
from laclrec_tf.errors import InputError, reason_of

_ENDINGS = (".csv", ".parquet")


def simulate_events(
    out: str | Path,
    users: int = 2000,
    items: int = 300,
    noise: float = 0.15,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Path, Path, Path]:
    """Simulate events and write them with what was planted.

    Beside `events.csv` stand `events.truth.csv`, the same rows with category and noise flag, and
    `events.transitions.csv`, the planted transitions. All three are written before one gets its name.

    Args:
        out: the events file, ending in `.csv` or `.parquet`, in an existing folder.
        users: Default: 2000.
        items: Default: 300.
        noise: share of random events. Default: 0.15.
        seed: Default: 0.
        overwrite: replace existing files. Default: False.

    Returns:
        The files of events, truth and transitions.

    Raises:
        InputError: an argument of `simulate` is out of bounds, the ending is unknown, the folder is missing,
            a file exists, or it cannot be written.

    Example:
        >>> events, truth, transitions = simulate_events("events.csv", users=100)  # doctest: +SKIP
    """
    out = Path(out)
    if out.suffix.lower() not in _ENDINGS:
        raise InputError(f"{out}: the file to write must end in {' or '.join(_ENDINGS)}.")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder. Make it first.")
    files = (out, out.with_name(f"{out.stem}.truth.csv"), out.with_name(f"{out.stem}.transitions.csv"))
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder. Give another --out.")
        if file.exists() and not overwrite:
            raise InputError(f"{file} exists. Give another --out, or delete it first.")

    simulation = simulate(users, items, noise, seed)
    partial = [file.with_name(f".{file.name}.partial-{os.getpid()}") for file in files]
    try:
        tables = (simulation.events, simulation.truth, simulation.transitions)
        for table, file, beside in zip(tables, files, partial, strict=True):
            _write(table, beside, file.suffix.lower())
        for file, beside in zip(files, partial, strict=True):
            beside.replace(file)
    except OSError as error:
        raise InputError(f"Cannot write {out}: {reason_of(error)}. Choose a folder that can be written.") from None
    finally:
        for beside in partial:
            beside.unlink(missing_ok=True)
    return files


def _write(table: pl.DataFrame, file: Path, ending: str) -> None:
    if ending == ".parquet":
        table.write_parquet(file)
    else:
        table.write_csv(file)
