"""The formats that events come in: text with separators, JSON Lines, both also gzipped, and Parquet."""

from __future__ import annotations

import glob
import gzip
from pathlib import Path
from typing import IO

from laclrec_tf.errors import InputError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_BOM = b"\xef\xbb\xbf"


def ending_of(file: Path) -> str:
    """Tell a file's format by its ending.

    Args:
        file: the file.

    Returns:
        One of `ENDINGS`, without `.gz`.

    Raises:
        InputError: there is no such file, it is a folder, or its ending is none of them.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder. Name the files in it.")
    if not file.exists():
        raise InputError(f"{file} does not exist. Check the path.")
    suffixes = [suffix.lower() for suffix in file.suffixes[-2:]]
    zipped = suffixes[-1:] == [".gz"]
    ending = suffixes[-2] if zipped and len(suffixes) == 2 else "".join(suffixes[-1:])
    if ending not in ENDINGS or (zipped and ending == ".parquet"):
        raise InputError(f"{file}: unknown ending. Known: {', '.join(ENDINGS)}; all but the last also .gz.")
    return ending


def _is_zipped(file: Path) -> bool:
    return file.suffix.lower() == ".gz"


def source_of(file: Path) -> Path | bytes:
    """Return what polars reads of a file: its path, or its content when it is gzipped or has a byte order mark.

    Polars takes a path for a pattern, so characters that patterns have are escaped in it.

    Args:
        file: the file.

    Raises:
        EOFError, OSError, zlib.error: the gzip content is damaged.
    """
    if _is_zipped(file):
        return gzip.decompress(file.read_bytes()).removeprefix(_BOM)
    with file.open("rb") as opened:
        marked = opened.read(len(_BOM)) == _BOM
    return file.read_bytes().removeprefix(_BOM) if marked else Path(glob.escape(str(file)))


def open_text(file: Path) -> IO[str]:
    """Open a file's text, gzipped or not, without its byte order mark; what is not UTF-8 is read as U+FFFD.

    Args:
        file: the file.
    """
    if _is_zipped(file):
        return gzip.open(file, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return file.open(encoding="utf-8-sig", errors="replace", newline="")
