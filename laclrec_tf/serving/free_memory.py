"""Memory that was freed, back to the system."""

from __future__ import annotations

import ctypes


def return_free_memory() -> None:
    """Give back what was freed and lies between what is in use; the C library keeps it for itself otherwise.

    A server that is given new versions for weeks would grow by what each of them leaves behind. Does nothing where
    the C library is not glibc.

    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html

    Example:
        >>> return_free_memory()
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
