"""Train one preset as one of two workers, or alone on their batches side by side, and print what came; see the test."""

import json
import os
import sys
from typing import Any

import tensorflow as tf

preset, task, *ports = sys.argv[1:]
if task != "alone":
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": int(task)}})
    strategy: Any = tf.distribute.MultiWorkerMirroredStrategy()
else:
    strategy = tf.distribute.get_strategy()

import keras  # noqa: E402
import numpy as np  # noqa: E402

from laclrec_tf.data.batches import evaluation_dataset, training_dataset  # noqa: E402
from laclrec_tf.lazy_adam import LazyAdam  # noqa: E402
from laclrec_tf.models import build_preset  # noqa: E402
from laclrec_tf.training.workers import WorkerGroup  # noqa: E402

STEPS, EPOCHS = 3, 2
HISTORIES = [np.random.default_rng(n).integers(1, 31, 2 + n % 11).astype(np.int32) for n in range(60)]


def trained_on(worker: int, requirements: dict[str, Any]) -> tf.data.Dataset:
    """Return a worker's batches of all epochs, one after another."""
    position = tf.Variable([0, 0], dtype=tf.int64, trainable=False)
    return training_dataset(
        HISTORIES[worker::2], targets_per_batch=30, seed=3 + worker, position=position, steps=STEPS, **requirements
    )


def evaluated_on(worker: int) -> tf.data.Dataset:
    """Return a worker's validation, the same number of batches on each."""
    mine = HISTORIES[worker::2]
    pairs = [history[:-1] for history in mine], np.array([history[-1] for history in mine])
    return evaluation_dataset(*pairs, n_batches=2).repeat()


def side_by_side(first: tf.data.Dataset, second: tf.data.Dataset) -> tf.data.Dataset:
    """Put the rows of two batches into one, padded alike."""

    def joined(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        width = tf.maximum(tf.shape(one), tf.shape(other))[1:]

        def padded(rows: tf.Tensor) -> tf.Tensor:
            more = tf.concat([[0], width - tf.shape(rows)[1:]], axis=0)
            return tf.pad(rows, tf.stack([tf.zeros_like(more), more], axis=1))

        return tf.concat([padded(one), padded(other)], axis=0) if one.shape.rank > 1 else tf.concat([one, other], 0)

    return tf.data.Dataset.zip(first, second).map(lambda a, b: {name: joined(a[name], b[name]) for name in a})


keras.utils.set_random_seed(1)
with strategy.scope():
    model = build_preset(
        preset,
        30,
        max_length=12,
        max_edited_length=24,
        max_insertions=1,
        width=8,
        n_recommender_blocks=0,
        dropout=0.0,
        seed=2,
    )
    model.compile(LazyAdam(1e-2, use_ema=True, ema_momentum=0.9))
needs = model.batch_requirements
if task == "alone":
    batches = side_by_side(trained_on(0, needs), trained_on(1, needs))
    validation = side_by_side(evaluated_on(0), evaluated_on(1))
else:
    workers = WorkerGroup(len(ports), int(task), strategy)
    batches = workers.distribute(lambda: trained_on(int(task), needs))
    validation = workers.distribute(lambda: evaluated_on(int(task)))
log = model.fit(
    batches,
    epochs=EPOCHS,
    steps_per_epoch=STEPS,
    validation_data=validation,
    validation_steps=2,
    shuffle=False,
    verbose=0,
)
weights = [float(np.abs(np.asarray(weight)).sum()) for weight in model.trainable_variables]
print("RESULT" + json.dumps({"log": log.history, "weights": weights}))
