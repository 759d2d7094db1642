"""Futures of many threads, awaited in one loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from laclrec_tf.serving.server.grpc_server import Deliveries


def test_nobody_is_forgotten():
    """Many threads finish at the same moments; a lost wake-up would wait for ever."""

    async def all_of(futures: list[Future]) -> list[int]:
        deliveries = Deliveries()
        waiting = [asyncio.ensure_future(deliveries.wait_for(future)) for future in futures]
        await asyncio.sleep(0)
        with ThreadPoolExecutor(8) as pool:
            for number, future in enumerate(futures):
                pool.submit(future.set_result, number)
        await asyncio.wait_for(asyncio.gather(*waiting), timeout=30)
        return [future.result() for future in futures]

    for _ in range(20):
        assert asyncio.run(all_of([Future() for _ in range(50)])) == list(range(50))


def test_the_loop_is_woken_once_for_many():
    async def wakings() -> int:
        deliveries, loop, woken = Deliveries(), asyncio.get_running_loop(), []
        knock = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *call: (woken.append(1), knock(*call))[1]  # type: ignore[method-assign]
        futures: list[Future] = [Future() for _ in range(9)]
        waiting = [asyncio.ensure_future(deliveries.wait_for(future)) for future in futures]
        await asyncio.sleep(0)
        for future in futures:
            future.set_result(None)
        await asyncio.gather(*waiting)
        return len(woken)

    assert asyncio.run(wakings()) == 1


def test_errors_stay_in_the_future():
    async def wait() -> Future:
        future: Future = Future()
        asyncio.get_running_loop().call_soon(future.set_exception, KeyError("lost"))
        await Deliveries().wait_for(future)
        return future

    with pytest.raises(KeyError, match="lost"):
        asyncio.run(wait()).result()


def test_cancelled_waiting_cancels_the_future():
    async def cancel() -> Future:
        future: Future = Future()
        waiting = asyncio.ensure_future(Deliveries().wait_for(future))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)  # a delivery for somebody who has gone
        return future

    assert asyncio.run(cancel()).cancelled()
