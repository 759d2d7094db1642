"""Files that a user hands over: the one reader of text files, and the SHA-256 digest that identifies a file in records.

Every text file is read by the same rules: it is UTF-8; a byte order mark at its start is left out; lines end with
`\\n` or `\\r\\n`, or all with `\\r`, the last one also without; content compressed with gzip is recognised, whatever
the file's name.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import IO, BinaryIO, cast

from laclrec_tf.errors import InputError, reason_of

# Half a surrogate pair is no character. JSON and Python can hold it, and bytes that are not UTF-8 may be read as it.
HALF_PAIR = re.compile("[\ud800-\udfff]")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_UTF16 = "UTF-16 text. Save it as UTF-8"
_UNPACK = "Decompress it, or compress it with gzip"
# The first bytes of files that are no text in UTF-8, and what such a file is.
_OTHER_CONTENT = {
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"PAR1": "a Parquet file. Give it a name that ends in .parquet",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook. Unpack it, or save it as text in UTF-8",
    b"\x28\xb5\x2f\xfd": f"compressed with zstd. {_UNPACK}",
    b"\xfd7zXZ\x00": f"compressed with xz. {_UNPACK}",
    b"BZh91AY": f"compressed with bzip2. {_UNPACK}",
    b"x\x01": f"compressed with zlib. {_UNPACK}",
    b"x\x9c": f"compressed with zlib. {_UNPACK}",
    b"x\xda": f"compressed with zlib. {_UNPACK}",
}
_HEAD = 1024


@contextmanager
def open_text(file: Path) -> Iterator[BinaryIO]:
    """Open a text file for the block: decompressed, after its byte order mark, and with line feeds if it has none.

    Args:
        file: the file. One whose name ends in `.gz` must be compressed.

    Yields:
        The bytes, so that the block can name the place of those that are not UTF-8.

    Raises:
        InputError: the file cannot be read, or is not text: compressed in another way, a workbook or UTF-16. Damage
            that shows later raises it in the block.
    """
    try:
        with file.open("rb") as raw:
            is_gzipped = file.suffix.lower() == ".gz" or raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if is_gzipped else raw as content:
                head = content.read(_HEAD)
                for start, what in _OTHER_CONTENT.items():
                    if head.startswith(start):
                        raise InputError(f"{file} is {what}.")
                if b"\0" in head:
                    line = head.count(b"\n", 0, head.index(b"\0")) + 1
                    raise InputError(f"{file}, line {line}: a NUL character, so it is not text. Save it as UTF-8.")
                while not (b"\r" in head or b"\n" in head) and (more := content.read(max(_HEAD, len(head)))):
                    head += more  # the first line is longer
                content.seek(len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0)
                if b"\r" in head and b"\n" not in head:
                    yield BytesIO(content.read().replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
                else:
                    yield cast(BinaryIO, content)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(
            f"{file}: the gzip content is damaged or truncated. Copy or compress the file again."
        ) from None
    except OSError as error:
        raise InputError(f"Cannot read {file}: {reason_of(error)}. Check the path.") from None


@contextmanager
def decoded_text(file: Path, newline: str = "") -> Iterator[IO[str]]:
    """Open a file's text for the block; bytes that are not UTF-8 become half surrogate pairs.

    Args:
        file: the file, see `open_text`.
        newline: see `open`. Default: "", line ends stay as they are.

    Raises:
        InputError: see `open_text`.
    """
    with open_text(file) as content, TextIOWrapper(content, "utf-8", "surrogateescape", newline) as text:
        yield text


def text_source(file: Path) -> Path | bytes:
    """Return what a parser of its own reads in place of a text file.

    Args:
        file: the file, see `open_text`.

    Returns:
        The path; the content where `open_text` changes it: decompressed, after a byte order mark, or with line feeds.

    Raises:
        InputError: see `open_text`.
    """
    with open_text(file) as content:
        return content.read() if isinstance(content, (gzip.GzipFile, BytesIO)) or content.tell() else file


def read_text(file: str | Path) -> str:
    r"""Read a text file that a user wrote.

    Args:
        file: the file.

    Returns:
        The text without its byte order mark; each line ends with `\n`, the last one perhaps without.

    Raises:
        InputError: the file cannot be read or is not text in UTF-8; the message names the line and the remedy.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "items.txt"
        >>> _ = file.write_bytes(b"\xef\xbb\xbftent\r\nstove")
        >>> read_text(file)
        'tent\nstove'
    """
    file = Path(file)
    with open_text(file) as opened:
        content = opened.read()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise InputError(
            f"{file}, line {line}: byte {column} is not UTF-8 (0x{content[error.start]:02x}). Save the file as UTF-8."
        ) from None
    return text.replace("\r\n", "\n")


def read_lines(file: str | Path) -> list[tuple[int, str]]:
    """Read the lines of a text file that a user wrote. Blank lines are left out but counted.

    Args:
        file: the file.

    Returns:
        The number of each line from 1, and its text.

    Raises:
        InputError: see `read_text`.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "items.txt"
        >>> _ = file.write_text("tent\\n\\nstove\\n\\n")
        >>> read_lines(file)
        [(1, 'tent'), (3, 'stove')]
    """
    return [(number, line) for number, line in enumerate(read_text(file).split("\n"), start=1) if line.strip()]


def file_sha256(file: Path) -> str:
    """Return the SHA-256 digest of a file in hexadecimal, as the program `sha256sum` prints it.

    Args:
        file: the file. It is read in chunks, so it may be larger than the memory.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> import os
        >>> file_sha256(Path(os.devnull))
        'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
