"""The numbers of a run's epochs, as its training logged them."""

from __future__ import annotations

import csv
from pathlib import Path

from laclrec_tf.errors import InputError


def run_epochs(run: Path) -> dict[str, dict[str, list[float]]]:
    """Read `epochs-strict.csv` and `epochs-refit.csv`, those that are there.

    Args:
        run: a run folder.

    Returns:
        By "strict" and "refit", by name the value of each epoch. A run that was grown has none.

    Raises:
        InputError: a file is damaged.
    """
    found = {}
    for part in ("strict", "refit"):
        file = run / f"epochs-{part}.csv"
        if not file.exists():
            continue
        try:
            with file.open(newline="", encoding="utf-8") as rows:
                lines = list(csv.DictReader(rows))
            found[part] = {name: [float(line[name]) for line in lines] for name in (lines[0] if lines else {})}
        except (ValueError, TypeError, KeyError, csv.Error):
            raise InputError(f"{file} is damaged. Delete it to leave its curves out.") from None
    return {part: columns for part, columns in found.items() if columns}
