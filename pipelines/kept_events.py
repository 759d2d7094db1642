"""Drop from TensorBoard's logs the epochs that are trained once more."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

_COUNTS_STEPS = "vs_iterations"


def keep_events(folder: Path, epochs: int, steps_per_epoch: int) -> None:
    """Rewrite the event files below a folder without those of later epochs; a file without any other goes.

    An event cut off by a kill, the last one of its file, is dropped too.

    Args:
        folder: of one part of a training; may be missing.
        epochs: how many stay.
        steps_per_epoch: for Keras's curves over optimizer steps.
    """
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        if file.suffix == ".partial":  # of a process that was killed here
            file.unlink()
            continue
        partial = file.with_name(f"{file.name}.partial")
        anything = False
        with tf.io.TFRecordWriter(str(partial)) as out:
            for record in RawEventFileLoader(str(file)).Load():
                event = Event.FromString(record)
                values = [value for value in event.summary.value]
                limit = epochs * steps_per_epoch + 1 if _counts_steps(event) else epochs
                if not values or event.step < limit:
                    out.write(record)
                    anything |= bool(values)
        if anything:
            partial.rename(file)
        else:
            partial.unlink()
            file.unlink()


def _counts_steps(event: Event) -> bool:
    return any(_COUNTS_STEPS in value.tag for value in event.summary.value)
