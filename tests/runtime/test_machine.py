"""Memory of a process, now and over time."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from laclrec_tf.runtime.machine import MemoryWatch, resident_megabytes

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system has no /proc")


def test_larger_memory_is_measured_as_larger():
    script = "import sys; held = bytearray(int(sys.argv[1])); held[::4096] = b'x' * len(held[::4096]); input()"
    sizes = []
    for held in (0, 100_000_000):
        process = subprocess.Popen([sys.executable, "-c", script + "", str(held)], stdin=subprocess.PIPE)
        end, largest = time.monotonic() + 10, 0.0
        while time.monotonic() < end and largest < (held or 1) / 1e6:
            largest = max(largest, resident_megabytes(process.pid) or 0.0)
        sizes.append(largest)
        process.communicate(b"\n")
        assert resident_megabytes(process.pid) is None, "the process has ended"
    assert sizes[1] >= 100 > sizes[0] > 0


def test_memory_is_recorded_at_the_start_and_at_the_end():
    with MemoryWatch(os.getpid(), every=60) as watch:
        pass
    (first, size), (last, _) = watch.notes
    assert 0 <= first <= last
    assert size > 1


def test_without_a_process_nothing_is_recorded():
    with MemoryWatch(None) as watch:
        pass
    assert watch.notes == []
