"""When the next checkpoint is due."""

from __future__ import annotations

from laclrec_tf.training.checkpoints import CheckpointTimer


def test_it_is_due_when_the_minutes_have_passed_since_the_last_one():
    now = 100.0
    timer = CheckpointTimer(2, clock=lambda: now)
    assert not timer.is_due
    now = 219.0
    assert not timer.is_due
    now = 220.0
    assert timer.is_due
    timer.restart()
    assert not timer.is_due


def test_with_no_minutes_it_is_always_due():
    timer = CheckpointTimer(0, clock=lambda: 1.0)
    timer.restart()
    assert timer.is_due
