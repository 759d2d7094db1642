"""Which processes train together, read from the environment. Two real ones: tests/models/test_worker_training.py."""

from __future__ import annotations

import json

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.training.workers import WorkerGroup, join_workers

ONE = {"cluster": {"workerpool0": ["10.0.0.1:2222"]}, "task": {"type": "workerpool0", "index": 0}}


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
            "There is no worker 2 in its cluster",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
            "There is ps in it",
        ),
    ],
)
def test_what_cannot_be_joined_is_told(value, match):
    for name in ("TF_CONFIG", "CLUSTER_SPEC"):
        with pytest.raises(InputError, match=match):
            join_workers({name: value})


def test_alone_the_smallest_and_the_largest_are_ones_own():
    group = WorkerGroup()
    assert (group.smallest(3), group.largest(3)) == (3, 3)
    assert group.distribute(lambda: "batches") == "batches"
