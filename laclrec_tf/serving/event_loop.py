"""An asyncio event loop in a thread of its own, for a server whose owner does not speak asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoop:
    """Runs coroutines from other threads.

    Args:
        name: the thread's name.

    Example:
        >>> loop = EventLoop("example")
        >>> loop.run(asyncio.sleep(0, "done"))
        'done'
        >>> loop.close()
    """

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it.

        Args:
            coroutine: what to run.

        Returns:
            Its result; what it raises is raised.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """End the thread. Callbacks that are ready are still run."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Where a process has two loops, gRPC wakes both for one event, and the one that comes late finds nothing.
    # Nothing is lost: https://github.com/grpc/grpc/issues/25364
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)
