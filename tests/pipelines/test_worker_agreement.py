"""Workers that end together: what one of them refuses, the others are told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import pytest
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.training.workers import WorkerGroup, agreed, lost_workers_named


@dataclass(frozen=True)
class TwoThreads(WorkerGroup):
    """Two workers of one process, who tell each other their values in a list."""

    told: tuple = ()
    barrier: Barrier | None = None

    def _all(self, value):
        self.told[self.index].append(value)
        self.barrier.wait(timeout=10)
        return [values[-1] for values in self.told]


@pytest.fixture
def two():
    told, barrier = ([], []), Barrier(2)
    return [TwoThreads(2, index, told=told, barrier=barrier) for index in range(2)]


def refuse_at(worker, refusing):
    with agreed(worker):
        if worker.index in refusing:
            raise InputError(f"no data at {worker.index}")
    return "went on"


@pytest.mark.parametrize(
    ("refusing", "expected"),
    [
        ((), ["went on", "went on"]),
        ((1,), ["Worker 1 of 2 refuses to train; its log says why.", "no data at 1"]),
        ((0,), ["no data at 0", "Worker 0 of 2 refuses to train; its log says why."]),
        ((0, 1), ["no data at 0", "no data at 1"]),
    ],
)
def test_none_goes_on_when_one_refuses(two, refusing, expected):
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(refuse_at, worker, refusing) for worker in two]
    assert [str(end.exception() or end.result()) for end in ends] == expected


def test_alone_a_refusal_is_ones_own():
    with pytest.raises(InputError, match="no data at 0"):
        refuse_at(WorkerGroup(), (0,))


def test_a_worker_that_is_gone_is_told_in_a_line(two):
    lost = tf.errors.UnavailableError(None, None, "Connection reset\n by peer")
    with (
        pytest.raises(InputError, match=r"Worker 1 of 2 lost touch .*\(Connection reset by peer\)"),
        lost_workers_named(two[1]),
    ):
        raise lost
    with pytest.raises(tf.errors.UnavailableError), lost_workers_named(WorkerGroup()):
        raise lost
