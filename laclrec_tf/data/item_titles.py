"""Files of titles: what people call the items."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from laclrec_tf.data.event_files import as_ids, read_columns
from laclrec_tf.data.row_places import row_place
from laclrec_tf.errors import InputError

_ITEM, _TITLE = "item_id", "title"


def read_titles(file: str | Path) -> dict[str, str]:
    """Read rows of an item and its title.

    The formats are those of events: `.csv`, `.tsv`, `.jsonl`, `.ndjson`, each also with `.gz`, and `.parquet`. Rows
    without a title are left out, and runs of white space in titles become one blank. Of an item that comes twice the
    last row counts.

    Args:
        file: the file, with the columns `item_id` and `title`; others are ignored.

    Returns:
        The title of each item, in the order of the file.

    Raises:
        InputError: the file is missing, damaged, empty or of an unknown ending, lacks a column, or an id is empty.
            The message names the file and the first bad row.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "titles.csv"
        >>> _ = file.write_text("item_id,title\\n007,Two-person tent\\n008,\\n")
        >>> read_titles(file)
        {'007': 'Two-person tent'}
    """
    file = Path(file)
    raw = read_columns(file, {name: name for name in (_ITEM, _TITLE)}, named_by_option=False)
    items = as_ids(file, raw[_ITEM])
    empty = (items.is_null() | items.str.contains(r"^\s*$")).arg_true()
    if len(empty):
        place = f"{file}, {row_place(file, raw['row'][empty[0]])}"
        raise InputError(f"{place}: the {_ITEM} is empty. Fill it in or remove the row.")
    titles = raw[_TITLE].cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
    return {item: title for item, title in zip(items, titles, strict=True) if title}
