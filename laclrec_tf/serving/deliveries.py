"""Answers from other threads to an event loop, which is woken once for a whole batch of them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any


class Deliveries:
    """Does what `asyncio.wrap_future` does, which wakes the loop for every single future.

    A batch of 64 answers then costs 64 system calls, and as often two threads fight for the interpreter.

    Example:
        >>> future = Future()
        >>> future.set_result(None)
        >>> asyncio.run(Deliveries().wait_for(future))
    """

    def __init__(self) -> None:
        """Nothing is waiting."""
        self._lock = threading.Lock()
        self._done: list[asyncio.Future[None]] = []

    async def wait_for(self, future: Future[Any]) -> None:
        """Wait until a future is done, whatever came out. When the waiting is cancelled, so is the future.

        Args:
            future: of another thread. All that wait at the same time must wait in the same loop.
        """
        if future.done():
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def done(future: Future[Any]) -> None:
            with self._lock:
                self._done.append(waiter)
                # Who finds others before it need not knock: they have knocked, and nobody has come yet.
                is_first = len(self._done) == 1
            if is_first and not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver)

        future.add_done_callback(done)
        try:
            await waiter
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _deliver(self) -> None:
        with self._lock:
            done, self._done = self._done, []
        for waiter in done:
            if not waiter.done():
                waiter.set_result(None)
