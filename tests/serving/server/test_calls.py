"""Calls, and what becomes of those that no method answers; futures of other threads in the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from laclrec_tf.serving import ModelServer
from laclrec_tf.serving.server import calls
from laclrec_tf.serving.server.batching import BatchingParameters
from laclrec_tf.serving.server.calls import Deliveries
from laclrec_tf.serving.server.limits import RequestLimits

PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


class CountedRequests:
    """Counts requests by method and status."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()

    def observe_request(self, method: str, model: str, code: str, seconds: float) -> None:
        self.requests[method, code] += 1

    def observe_batch(self, model: str, rows: int) -> None: ...

    def set_in_flight(self, n: int) -> None: ...

    def set_version_state(self, model: str, version: int, state: str) -> None: ...


@contextmanager
def counting_server(folder: Path, **settings: Any) -> Iterator[tuple[ModelServer, grpc.Channel, CountedRequests]]:
    metrics = CountedRequests()
    with (
        ModelServer("counting", folder, port=0, metrics=metrics, **settings) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        yield server, channel, metrics


def request_of(name: str = "counting") -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["history"].CopyFrom(tf.make_tensor_proto([["a"]]))
    return request.SerializeToString()


def status_of(call: Any) -> str:
    """Return the status of a `grpc.Future`, as soon as there is one."""
    return call.code().name


def wait_until(holds: Any) -> None:
    ended = threading.Event()
    for _ in range(3000):
        if holds():
            return
        ended.wait(0.01)
    raise AssertionError("it never held")


# ---- no call is lost ---------------------------------------------------------------------------------------
def test_thousands_of_calls_at_once_are_all_answered_and_counted(counting_folder):
    """gRPC's core has room for 1,000 to 3,000 that wait; those beyond were CANCELLED, and nobody knew of them."""
    with counting_server(counting_folder, limits=RequestLimits(max_concurrent_requests=8)) as (_, channel, metrics):
        predict = channel.unary_unary(PREDICT)
        running = [predict.future(request_of(), timeout=60) for _ in range(2500)]
        statuses = Counter(status_of(call) for call in running)
    assert set(statuses) <= {"OK", "RESOURCE_EXHAUSTED"}
    assert metrics.requests == {("Predict", status): number for status, number in statuses.items()}


def test_clients_that_call_without_pause_lose_nothing_when_the_server_stops(counting_folder):
    seen: Counter[str] = Counter()

    def ask(target: str) -> None:
        # Without retries, a connection for each client, and without a pause: the hardest case for a stop.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(target, options) as channel:
            predict = channel.unary_unary(PREDICT)
            while "UNAVAILABLE" not in seen:
                seen[status_of(predict.with_call(request_of(), timeout=60)[1])] += 1

    def ask_until_refused(target: str) -> str:
        try:
            ask(target)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    for _ in range(3):
        with ThreadPoolExecutor(16) as pool, counting_server(counting_folder) as (server, _, metrics):
            before = seen["OK"]
            ends = [pool.submit(ask_until_refused, f"127.0.0.1:{server.port}") for _ in range(16)]
            wait_until(lambda: metrics.requests["Predict", "OK"] > 100)
            server.stop(grace=30).wait()
            # Refused connections, and no call that the server had accepted.
            assert Counter(end.result(timeout=60) for end in ends) == {"UNAVAILABLE": 16}
            assert metrics.requests == {("Predict", "OK"): seen["OK"] - before}


def test_answers_are_sent_after_the_stop_is_announced(counting_folder):
    """Then a client knows of the stop before it can send another call."""
    batching = BatchingParameters(batch_timeout_micros=300_000)
    with counting_server(counting_folder, batching=batching) as (server, channel, _):
        states: list[grpc.ChannelConnectivity] = []
        running = channel.unary_unary(PREDICT).future(request_of(), timeout=60)
        wait_until(lambda: server.api._running == 1)
        channel.subscribe(states.append)
        stopped = server.stop(grace=30)
        assert status_of(running) == "OK"
        assert stopped.wait(30)
        wait_until(lambda: grpc.ChannelConnectivity.IDLE in states)


@pytest.mark.parametrize("model", ["counting", "unknown"])
def test_an_answer_is_not_held_until_its_deadline(counting_folder, model):
    """With steady traffic, answers were held for half a second, and calls with a shorter deadline were lost."""
    with counting_server(counting_folder) as (server, channel, metrics):
        predict = channel.unary_unary(PREDICT)
        server._running._grpc._calls.hold_answers()
        patient = predict.future(request_of(model), timeout=60)
        expected = "OK" if model == "counting" else "NOT_FOUND"
        wait_until(lambda: metrics.requests["Predict", expected] == 1)
        assert status_of(predict.future(request_of(model), timeout=4)) == expected  # nobody calls send_answers
        assert not patient.done()
        server.stop(grace=30)
        assert status_of(patient) == expected


def test_a_refusal_is_not_held_until_its_deadline(counting_folder):
    with counting_server(counting_folder) as (server, channel, _):
        server._running._grpc._calls.hold_answers()
        refused = channel.unary_unary("/tensorflow.serving.PredictionService/Classify").future(b"", timeout=4)
        assert status_of(refused) == "UNIMPLEMENTED"


def test_a_call_counts_from_its_headers_on(counting_folder):
    """A message that arrives slowly takes a place, else many of them would fill the memory."""
    sent = threading.Event()

    def slowly() -> Iterator[bytes]:
        sent.wait(60)
        yield request_of()

    limits = RequestLimits(max_concurrent_requests=1)
    with counting_server(counting_folder, limits=limits) as (server, channel, metrics):
        for status in ("OK", "CANCELLED"):
            slow = channel.stream_unary(PREDICT).future(slowly(), timeout=60)
            wait_until(lambda: server.api._running == 1)
            refused = channel.unary_unary(PREDICT).future(request_of(), timeout=60)
            assert status_of(refused) == "RESOURCE_EXHAUSTED" and "(max_concurrent_requests)" in refused.details()
            sent.set() if status == "OK" else slow.cancel()
            assert status_of(slow) == status
            wait_until(lambda: server.api._running == 0)
            sent.clear()
        sent.set()
        wait_until(lambda: set(metrics.requests.values()) == {1, 2})
    assert {code for _, code in metrics.requests} == {"OK", "CANCELLED", "RESOURCE_EXHAUSTED"}


def never(until: threading.Event) -> Iterator[bytes]:
    """A caller's message that does not arrive."""
    until.wait(60)
    yield from ()


@pytest.mark.parametrize("path", [PREDICT, STATUS])
def test_a_call_whose_message_does_not_arrive_in_time_is_ended(counting_folder, monkeypatch, path):
    """Each of them holds what has arrived of its message in memory, up to max_message_bytes."""
    monkeypatch.setattr(calls, "MESSAGE_SECONDS", 0.3)
    monkeypatch.setattr(calls, "MAX_OTHER_CALLS", 3)
    ended = threading.Event()
    limits = RequestLimits(max_concurrent_requests=3)
    with counting_server(counting_folder, limits=limits) as (server, channel, metrics):
        for _ in range(2):  # the second time, because the first ones have given their places back
            late = [channel.stream_unary(path).future(never(ended), timeout=60) for _ in range(3)]
            assert [status_of(call) for call in late] == ["DEADLINE_EXCEEDED"] * 3
            assert late[0].details() == "The message of the call had not arrived after 0.3 seconds."
        monkeypatch.setattr(calls, "MESSAGE_SECONDS", 60.0)
        assert status_of(channel.unary_unary(PREDICT).future(request_of(), timeout=60)) == "OK"
        assert server.api._running == 0 and server._running._grpc._calls._n_others == 0
        ended.set()
    assert metrics.requests.total() == 7 and metrics.requests[path.split("/")[-1], "DEADLINE_EXCEEDED"] == 6


def test_methods_that_are_not_predict_have_places_of_their_own(counting_folder, monkeypatch):
    monkeypatch.setattr(calls, "MAX_OTHER_CALLS", 1)
    ended = threading.Event()
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "counting"
    with counting_server(counting_folder) as (server, channel, metrics):
        status, others = channel.unary_unary(STATUS), server._running._grpc._calls
        slow = channel.stream_unary(STATUS).future(never(ended), timeout=60)
        wait_until(lambda: others._n_others == 1)
        refused = status.future(request.SerializeToString(), timeout=60)
        assert (
            status_of(refused) == "RESOURCE_EXHAUSTED"
            and "at most 1 requests of methods that are not Predict" in refused.details()
        )
        assert status_of(channel.unary_unary(PREDICT).future(request_of(), timeout=60)) == "OK"
        ended.set()
        assert status_of(slow) == "INVALID_ARGUMENT"  # a stream without a message
        wait_until(lambda: others._n_others == 0)
        assert status_of(status.future(request.SerializeToString(), timeout=60)) == "OK"
        request.model_spec.name = "x" * 2**20
        large = status.future(request.SerializeToString(), timeout=60)
        assert status_of(large) == "RESOURCE_EXHAUSTED" and "may have at most 1048576 bytes" in large.details()


def test_what_no_method_sees_is_counted(counting_folder, caplog):
    caplog.set_level("INFO", "laclrec_tf.serving.access")
    with counting_server(counting_folder, limits=RequestLimits(max_message_bytes=1000)) as (_, channel, metrics):
        answers = [
            channel.unary_unary(path).future(message, timeout=60)
            for path, message in (
                (PREDICT, bytes(2000)),
                ("/tensorflow.serving.PredictionService/Classify", b""),
                ("/made.up/Name", b""),
            )
        ]
        assert [status_of(answer) for answer in answers] == ["RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "UNIMPLEMENTED"]
        assert answers[1].details() == (
            "No method /tensorflow.serving.PredictionService/Classify. "
            "There are: Predict, GetModelMetadata, GetModelStatus, HandleReloadConfigRequest."
        )
        wait_until(lambda: metrics.requests.total() == 3)
    assert metrics.requests == {
        ("Predict", "CANCELLED"): 1,
        ("Classify", "UNIMPLEMENTED"): 1,
        ("other", "UNIMPLEMENTED"): 1,
    }
    assert "larger than max_message_bytes" in caplog.text and "No method /made.up/Name" in caplog.text


def test_a_long_message_of_an_error_arrives(counting_folder, caplog):
    """gRPC's clients refuse headers of more than 8 KB, and the status would be lost."""
    caplog.set_level("INFO", "laclrec_tf.serving.access")
    with counting_server(counting_folder) as (_, channel, _):
        answer = channel.unary_unary(PREDICT).future(request_of("é" * 20_000), timeout=60)
        assert status_of(answer) == "NOT_FOUND"
        assert max(map(len, caplog.messages)) < 2000
        assert len(answer.details()) == 600 and answer.details().endswith("Served here: counting, version 1.")


# ---- futures of other threads ------------------------------------------------------------------------------
def test_every_waiter_wakes_up():
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
        await asyncio.sleep(0)  # a delivery after the wait was cancelled
        return future

    assert asyncio.run(cancel()).cancelled()
