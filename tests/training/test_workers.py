"""Workers read from the environment, and their agreement. Two real ones: tests/models/test_worker_training.py."""

from __future__ import annotations

import json
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import pytest
import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

from laclrec_tf.errors import InputError
from laclrec_tf.training.workers import WorkerGroup, agreed, join_workers, lost_worker_as_input_error, meet

ONE = {"cluster": {"workerpool0": ["10.0.0.1:2222"]}, "task": {"type": "workerpool0", "index": 0}}


@dataclass(frozen=True)
class TwoThreads(WorkerGroup):
    """Two workers of one process, which exchange their values in a list."""

    exchanged: tuple = ()
    barrier: Barrier | None = None

    def _all(self, value):
        self.exchanged[self.index].append(value)
        self.barrier.wait(timeout=10)
        return [values[-1] for values in self.exchanged]


@pytest.fixture
def two():
    exchanged, barrier = ([], []), Barrier(2)
    return [TwoThreads(2, index, exchanged=exchanged, barrier=barrier) for index in range(2)]


def refuse_at(worker, refusing):
    with agreed(worker):
        if worker.index in refusing:
            raise InputError(f"no data at {worker.index}")
    return "continued"


@pytest.mark.parametrize(
    ("refusing", "expected"),
    [
        ((), ["continued", "continued"]),
        ((1,), ["Worker 1 of 2 refuses to train. Its log says why.", "no data at 1"]),
        ((0,), ["no data at 0", "Worker 0 of 2 refuses to train. Its log says why."]),
        ((0, 1), ["no data at 0", "no data at 1"]),
    ],
)
def test_none_continues_when_one_refuses(two, refusing, expected):
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(refuse_at, worker, refusing) for worker in two]
    assert [str(end.exception() or end.result()) for end in ends] == expected


def test_alone_only_an_own_refusal_counts():
    with pytest.raises(InputError, match="no data at 0"):
        refuse_at(WorkerGroup(), (0,))


def test_a_lost_worker_is_reported_in_one_line(two):
    lost = tf.errors.UnavailableError(None, None, "Connection reset\n by peer")
    with (
        pytest.raises(InputError, match=r"Worker 1 of 2 lost its connection .*\(Connection reset by peer\)"),
        lost_worker_as_input_error(two[1]),
    ):
        raise lost
    with pytest.raises(tf.errors.UnavailableError), lost_worker_as_input_error(WorkerGroup()):
        raise lost


@pytest.fixture
def addresses() -> list[str]:
    """Return three addresses on which no process listens yet."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return [f"127.0.0.1:{port}" for port in ports]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_all_continue_when_the_last_one_has_started(addresses, order):
    with ThreadPoolExecutor(3) as pool:
        first, second = (pool.submit(meet, addresses, index, 20.0) for index in order[:2])
        with pytest.raises(TimeoutError):
            second.result(timeout=0.5)
        assert not first.done()
        meet(addresses, order[2], 20.0)
        first.result(timeout=5)
        second.result(timeout=5)


def test_a_worker_that_never_starts_is_named(addresses):
    other = threading.Thread(target=lambda: pytest.raises(InputError, meet, addresses, 1, 0.6))
    other.start()
    with pytest.raises(InputError, match=f"waited 0.5 s without an answer from worker 2: {addresses[2]}"):
        meet(addresses, 0, 0.5)
    other.join()


def test_a_chief_that_never_starts_is_named(addresses):
    with pytest.raises(InputError, match=f"Worker 1 of 3 waited 0.3 s without an answer from worker 0: {addresses[0]}"):
        meet(addresses, 1, 0.3)


def test_another_client_is_not_counted_as_a_worker(addresses):
    def connect() -> None:
        host, _, port = addresses[0].rpartition(":")
        for message in (b"GET / HTTP/1.1", b"7", b"0"):
            while True:
                try:
                    with socket.create_connection((host, int(port))) as chief:
                        chief.sendall(message)
                    break
                except ConnectionRefusedError:
                    continue

    client = threading.Thread(target=connect)
    client.start()
    with pytest.raises(InputError, match="without an answer from worker 1, 2"):
        meet(addresses, 0, 1.0)
    client.join()


def test_an_address_is_host_and_port():
    with pytest.raises(InputError, match="must be HOST:PORT"):
        meet(["nowhere", "nobody:1"], 1, 0.1)


@pytest.mark.parametrize("address", ["b", "b:", ":1", "b:0", "b:65536", "b:x"])
def test_every_address_is_checked(address):
    with pytest.raises(InputError, match=f"must be HOST:PORT. Received: '{address}'"):
        meet(["127.0.0.1:2222", address], 0, 0.1)


def test_a_connection_that_is_reset_stops_nobody(addresses):
    """A port scan ends its connection by a reset."""

    def reset() -> None:
        host, _, port = addresses[0].rpartition(":")
        while True:
            try:
                client = socket.create_connection((host, int(port)))
            except ConnectionRefusedError:
                continue
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            return

    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(meet, addresses, 0, 20.0)
        reset()
        others = [pool.submit(meet, addresses, index, 20.0) for index in (1, 2)]
        # None of them refuses.
        assert [each.exception(timeout=20) for each in (chief, *others)] == [None] * 3


@pytest.mark.parametrize(
    "environment",
    [{}, {"TF_CONFIG": ""}, {"TF_CONFIG": "{}"}, {"CLUSTER_SPEC": json.dumps(ONE)}],
)
def test_without_others_one_trains_alone(environment):
    group = join_workers(environment)
    assert (group.count, group.index, group.is_chief, group.is_alone) == (1, 0, True, True)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("no json", "must be JSON like"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "must be JSON like"),
        ('{"cluster": [1]}', "must be JSON like"),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            "it has no worker 2, which it says this process is",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
            "but it has ps",
        ),
    ],
)
def test_what_cannot_be_joined_is_named(value, match):
    for name in ("TF_CONFIG", "CLUSTER_SPEC"):
        with pytest.raises(InputError, match=match):
            join_workers({name: value})


def test_alone_the_smallest_and_the_largest_value_are_the_own_one():
    group = WorkerGroup()
    assert (group.smallest(3), group.largest(3)) == (3, 3)
    assert group.distribute(lambda: "batches") == "batches"


def test_the_data_of_a_worker_with_one_device_have_no_second_iterator(monkeypatch):
    """tf.data tunes that one, whatever the options are; its end took up to a minute when all cores were busy."""

    def never(*args, **kwargs):
        raise AssertionError("a second iterator")

    monkeypatch.setattr(multi_device_iterator_ops.OwnedMultiDeviceIterator, "__init__", never)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    batches = iter(WorkerGroup(2, 1, strategy).distribute(lambda: tf.data.Dataset.range(4).batch(2)))
    assert [next(batches).numpy().tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(StopIteration):
        next(batches)
