"""Train presets for two epochs on one and on two virtual processors and print the losses; see the test beside it."""

import json
import sys
from typing import Any

import tensorflow as tf

# Virtual processors must be made before TensorFlow starts.
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

# The step runs a few times: rewriting its graph costs more than it saves.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

import keras  # noqa: E402
import numpy as np  # noqa: E402

from laclrec_tf.data.batches import training_dataset  # noqa: E402
from laclrec_tf.lazy_adam import LazyAdam  # noqa: E402
from laclrec_tf.models import build_preset  # noqa: E402


def trained(strategy: tf.distribute.Strategy, preset: str, n_negatives: int) -> dict[str, Any]:
    """Return the log of the losses and each weight's sum."""
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = build_preset(
            preset,
            30,
            max_length=12,
            max_edited_length=24,
            width=8,
            n_recommender_blocks=0,
            dropout=0.0,
            seed=2,
            n_negatives=n_negatives,
        )
        model.compile(LazyAdam(1e-2, use_ema=not n_negatives, ema_momentum=0.9))
    histories = [np.random.default_rng(n).integers(1, 31, 2 + n % 11).astype(np.int32) for n in range(38)]
    batches = training_dataset(histories, targets_per_batch=40, seed=3, **model.batch_requirements)
    log = model.fit(batches, epochs=2, shuffle=False, verbose=0)
    weights = [float(np.abs(part).sum()) for part in model.get_weights() if part.dtype == np.float32]
    return {"log": log.history, "weights": weights}


strategies = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
asked = [(preset, int(n_negatives)) for preset, _, n_negatives in (each.partition(":") for each in sys.argv[1:])]
print("RESULT" + json.dumps([[trained(strategy, *each) for strategy in strategies] for each in asked]))
