"""Files that name the neighbours of items: which items an item is like, and how much."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from laclrec_tf.data.event_files import as_ids, has_column, read_columns
from laclrec_tf.data.row_places import row_place
from laclrec_tf.errors import InputError

_IDS = ("item", "neighbour")
_WEIGHT = "weight"


def read_neighbours(file: str | Path) -> pl.DataFrame:
    """Read rows of an item, a neighbour of it and, if the file has the column, the neighbour's weight.

    The formats are those of events: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`, and `.parquet`.

    Args:
        file: the file, with the columns `item`, `neighbour` and optionally `weight`.

    Returns:
        `item` String, `neighbour` String, `weight` Float64 (1 without the column), in the order of the file.

    Raises:
        InputError: the file is missing, damaged, empty or of an unknown ending, lacks a column, an id is empty, or a
            weight is no finite number above 0. The message names the file and the first bad row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "neighbours.csv"
        >>> _ = file.write_text("item,neighbour\\nnew tent,tent\\n")
        >>> read_neighbours(file).rows()
        [('new tent', 'tent', 1.0)]
    """
    file = Path(file)
    names = [*_IDS, _WEIGHT] if has_column(file, _WEIGHT) else list(_IDS)
    raw = read_columns(file, dict(zip(names, names, strict=True)), named_by_option=False)
    table = pl.DataFrame([as_ids(file, raw[name]) for name in _IDS])
    weights = (
        raw[_WEIGHT].cast(pl.Float64, strict=False) if _WEIGHT in names else pl.repeat(1.0, raw.height, eager=True)
    )
    table = table.with_columns(weights.alias(_WEIGHT))
    bad = {
        **{name: pl.col(name).is_null() | pl.col(name).str.contains(r"^\s*$") for name in _IDS},
        _WEIGHT: ~(pl.col(_WEIGHT).is_finite() & (pl.col(_WEIGHT) > 0)).fill_null(False),
    }
    for name, mask in bad.items():
        index = table.select(pl.arg_where(mask).first()).item()
        if index is not None:
            place = f"{file}, {row_place(file, raw['row'][index])}"
            if name == _WEIGHT:
                raise InputError(f"{place}: the weight {raw[name][index]!r} is no finite number above 0. Mend the row.")
            raise InputError(f"{place}: the {name} is empty. Fill it in or remove the row.")
    return table
