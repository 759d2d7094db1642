"""The memory of versions: each is loaded by a thread of its own, whose part of the heap is free again afterwards."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
N_LOADERS = 2  # the served version, and the next one while it is loaded


class LoaderThreads:
    """Threads that load versions, one for each version in memory.

    The C library gives each thread its own part of the heap (in glibc: an arena). The memory of a version comes from
    the part of the thread that loads it, and that part is empty when the version is unloaded. If one thread loaded all
    versions, each would fill gaps between objects of the version before and leave others, and every new version would
    take some megabytes more.

    Example:
        >>> threads = LoaderThreads()
        >>> loader = threads.take()
        >>> loader.run(lambda: 2 + 3)
        5
        >>> threads.give_back(loader)
        >>> threads.take() is loader
        True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[LoaderThread] = []

    def take(self) -> LoaderThread:
        """Return a thread that holds the memory of no version."""
        with self._lock:
            if not self._free:
                # Together, because glibc limits the number of arenas, and other threads of the server take many.
                self._free = [LoaderThread() for _ in range(N_LOADERS)]
            return self._free.pop()

    def give_back(self, loader: LoaderThread) -> None:
        """Let the thread load another version; the memory of its last one is free."""
        with self._lock:
            self._free.append(loader)


class LoaderThread:
    """A thread that runs functions for other threads."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="version-loader")
        self.run(lambda: bytes(1024))  # its first memory determines its arena

    def run(self, function: Callable[[], T]) -> T:
        """Run a function in the thread, and return its result or raise its error."""
        return self._thread.submit(function).result()


def return_free_memory() -> None:
    """Return freed memory to the system, which the C library otherwise keeps for the process.

    Without this, a server grows with each new version. It does nothing where the C library is not glibc.

    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html

    Example:
        >>> return_free_memory()
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
