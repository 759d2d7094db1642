"""The queue: which requests are merged, run alone, refused, or fail."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError

import grpc
import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.batching import BatchingParameters, RequestBatcher
from laclrec_tf.serving.server.merging import Merging


class Model:
    """Doubles `x`; keeps its inputs, and waits while `gate` is closed."""

    def __init__(self) -> None:
        self.inputs: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Event()

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.inputs.append(inputs["x"].tolist())
        self.entered.set()
        assert self.gate.wait(30)
        if (inputs["x"] < 0).any():
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "below zero")
        if (inputs["x"] == 13).any():
            raise ZeroDivisionError("a bug")
        return {"y": 2 * inputs["x"]}


@pytest.fixture
def model():
    model = Model()
    yield model
    model.gate.set()


def batcher_of(**parameters) -> RequestBatcher:
    return RequestBatcher(BatchingParameters(**{"num_batch_threads": 1, **parameters}))


def submit(batcher, model, *x: int, key: str = "shop", merging=Merging.PADDED, **more):
    return batcher.submit("shop", key, model, {"x": np.array(x), **more.pop("inputs", {})}, merging, **more)


def busy(batcher, model):
    """Give the only thread something to do, so that what follows has to wait."""
    first = submit(batcher, model, 0)
    assert model.entered.wait(30)
    return first


def test_what_waits_is_run_together_up_to_the_largest_batch(model):
    batcher = batcher_of(max_batch_size=4)
    first = busy(batcher, model)
    answers = [submit(batcher, model, x) for x in (1, 2)] + [submit(batcher, model, 3, 4), submit(batcher, model, 5)]
    model.gate.set()
    assert first.result(30)["y"].tolist() == [0]
    assert [answer.result(30)["y"].tolist() for answer in answers] == [[2], [4], [6, 8], [10]]
    assert model.inputs == [[0], [1, 2, 3, 4], [5]]
    batcher.close()


def test_what_does_not_belong_together_runs_apart(model):
    batcher = batcher_of()
    busy(batcher, model)
    scalar = {"k": np.array(2)}
    answers = [
        submit(batcher, model, 1),
        submit(batcher, model, 2, key="another version"),
        submit(batcher, model, 3, inputs=scalar),
        submit(batcher, model, 4, merging=Merging.NEVER),
        submit(batcher, model, 5, merging=Merging.NEVER),
        submit(batcher, model, 6),
    ]
    model.gate.set()
    assert [answer.result(30)["y"].tolist() for answer in answers] == [[2], [4], [6], [8], [10], [12]]
    assert model.inputs == [[0], [1, 6], [2], [3], [4], [5]]
    batcher.close()


def test_batches_of_one_are_no_batches(model):
    batcher = batcher_of(max_batch_size=1)
    busy(batcher, model)
    answers = [submit(batcher, model, 1), submit(batcher, model, 2, 3)]
    model.gate.set()
    assert [answer.result(30)["y"].tolist() for answer in answers] == [[2], [4, 6]]
    assert model.inputs == [[0], [1], [2, 3]]
    batcher.close()


def test_a_bad_request_fails_alone(model):
    batcher = batcher_of()
    busy(batcher, model)
    answers = [submit(batcher, model, x) for x in (1, -1, 2)]
    model.gate.set()
    assert answers[0].result(30)["y"].tolist() == [2]
    with pytest.raises(ServingError, match="below zero"):
        answers[1].result(30)
    assert answers[2].result(30)["y"].tolist() == [4]
    batcher.close()


def test_a_bug_does_not_end_the_thread(model, caplog):
    batcher = batcher_of()
    busy(batcher, model)
    answers = [submit(batcher, model, x) for x in (13, 1)]
    model.gate.set()
    with pytest.raises(ZeroDivisionError):
        answers[0].result(30)
    assert answers[1].result(30)["y"].tolist() == [2]
    assert submit(batcher, model, 3).result(30)["y"].tolist() == [6]
    assert "a merged run of shop failed" in caplog.text
    batcher.close()


def test_a_late_or_cancelled_request_is_not_run(model):
    batcher = batcher_of()
    busy(batcher, model)
    late = submit(batcher, model, 1, deadline=time.monotonic() - 1)
    cancelled = submit(batcher, model, 2)
    in_time = submit(batcher, model, 3, deadline=time.monotonic() + 60)
    assert cancelled.cancel()
    model.gate.set()
    with pytest.raises(ServingError) as caught:
        late.result(30)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(CancelledError):
        cancelled.result(30)
    assert in_time.result(30)["y"].tolist() == [6]
    assert model.inputs == [[0], [3]]
    batcher.close()


def test_a_full_queue(model):
    batcher = batcher_of(max_batch_size=2, max_enqueued_batches=1)
    busy(batcher, model)
    answers = [submit(batcher, model, 1), submit(batcher, model, 2)]
    with pytest.raises(ServingError, match=r"1 batches \(max_enqueued_batches\) are waiting") as caught:
        submit(batcher, model, 3)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    model.gate.set()
    assert [answer.result(30)["y"].tolist() for answer in answers] == [[2], [4]]
    assert submit(batcher, model, *range(10)).result(30)["y"].tolist() == list(range(0, 20, 2))  # larger than the queue
    batcher.close()


def test_waiting_for_others(model):
    model.gate.set()
    batcher = batcher_of(max_batch_size=3, batch_timeout_micros=60_000_000)
    answers = [submit(batcher, model, x) for x in (1, 2, 3)]
    assert [answer.result(30)["y"].tolist() for answer in answers] == [[2], [4], [6]]
    assert model.inputs == [[1, 2, 3]]
    lonely = submit(batcher, model, 4)
    full = [submit(batcher, model, x, key="other") for x in (5, 6, 7)]
    assert [answer.result(30)["y"].tolist() for answer in full] == [
        [10],
        [12],
        [14],
    ]  # not delayed by `lonely`
    assert not lonely.done()
    batcher.close()  # a closed batcher waits for no others
    assert lonely.result(30)["y"].tolist() == [8]


def test_a_timeout_that_passes(model):
    model.gate.set()
    batcher = batcher_of(batch_timeout_micros=1000)
    assert submit(batcher, model, 1).result(30)["y"].tolist() == [2]
    batcher.close()


def test_closed(model):
    model.gate.set()
    batcher = batcher_of()
    batcher.close()
    with pytest.raises(ServingError, match="The server is stopping"):
        submit(batcher, model, 1)


def test_batches_are_counted(model):
    counted = []
    batcher = RequestBatcher(BatchingParameters(num_batch_threads=1), lambda name, rows: counted.append((name, rows)))
    busy(batcher, model)
    answers = [submit(batcher, model, 1), submit(batcher, model, 2, 3)]
    model.gate.set()
    for answer in answers:
        answer.result(30)
    assert counted == [("shop", 1), ("shop", 3)]
    batcher.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_batch_size", 0), ("batch_timeout_micros", -1), ("max_enqueued_batches", 0), ("num_batch_threads", 0)],
)
def test_parameters_out_of_range(name, value):
    with pytest.raises(InputError, match=f"Argument `{name}` must be at least .*Received: {name}={value}"):
        BatchingParameters(**{name: value})
