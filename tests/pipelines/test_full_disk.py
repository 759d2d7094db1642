"""A full disk, of which TensorFlow tells as it does of memory that ran out."""

from __future__ import annotations

import errno
import os

import pytest
import tensorflow as tf

from laclrec_tf.training.train import full_disk_told
from laclrec_tf.training.workers import WorkerGroup, lost_workers_named


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_the_operating_systems_error(code):
    with pytest.raises(OSError, match=os.strerror(code)) as raised, full_disk_told():
        raise tf.errors.ResourceExhaustedError(None, None, f"run/events.out.v2; {os.strerror(code)} [Op:FlushWriter]")
    assert (raised.value.errno, raised.value.filename) == (code, None)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]"),
        tf.errors.UnavailableError(None, None, "Connection reset by peer"),
        ValueError("No space left on device"),
    ],
)
def test_all_else_passes_as_it_is(error):
    with pytest.raises(type(error)) as raised, full_disk_told():
        raise error
    assert raised.value is error


def test_it_is_no_other_workers():
    with pytest.raises(OSError, match="No space left"), lost_workers_named(WorkerGroup(2, 1)), full_disk_told():
        raise tf.errors.ResourceExhaustedError(None, None, "run/events.out.v2; No space left on device")
