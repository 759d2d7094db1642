"""The SHA-256 digest that identifies the content of a file in records."""

from __future__ import annotations

import hashlib
from pathlib import Path


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
