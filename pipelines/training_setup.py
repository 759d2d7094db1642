"""A run's model, batches and optimizer, as its settings say."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.data.input_pipeline import training_dataset
from laclrec_tf.data.similar_items import similar_items
from laclrec_tf.errors import InputError
from laclrec_tf.lazy_adam import LazyAdam
from laclrec_tf.models import LACLRec, build_preset
from pipelines.config import TrainConfig


def new_model(config: TrainConfig, n_items: int, max_length: int) -> LACLRec:
    """Build the untrained model.

    Args:
        config: settings.
        n_items: catalogue size `N`.
        max_length: longest history, from the data.

    Returns:
        A `LACLRec`, not compiled.

    Raises:
        InputError: the settings do not fit the data.
    """
    sizes: dict[str, Any] = {"max_length": max_length, "seed": config.seed, "dtype": config.precision}
    if max_length > 60:
        sizes["max_edited_length"] = -(-max_length * 6 // 5)  # the paper's 60 for 50
    try:
        return build_preset(config.preset, n_items, **(sizes | config.model))
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from None


def training_batches(config: TrainConfig, model: LACLRec, training: list[np.ndarray]) -> tf.data.Dataset:
    """Make the batches the model asks for.

    Args:
        config: settings.
        model: what they are for.
        training: per user `[n]` int32 ids, oldest first.

    Returns:
        See `laclrec_tf.data.input_pipeline.training_dataset`.

    Raises:
        InputError: no history has two items, one to see and one to predict.
    """
    if all(len(history) < 2 for history in training):
        raise InputError(
            "Without the held-out items no history has two events left, so none to train on. "
            "Prepare users of four or more events."
        )
    needs = model.batch_requirements
    substitutes = None
    if "substitute" in config.random_kinds and needs["n_random_views"]:
        substitutes = similar_items(training, needs["n_items"])
    return training_dataset(
        training,
        targets_per_batch=config.targets_per_batch,
        random_kinds=config.random_kinds,
        similar_items=substitutes,
        prefix_share=config.prefix_share,
        static_shapes=config.jit_compile,
        seed=config.seed,
        **needs,
    )


def compile_model(config: TrainConfig, model: LACLRec, steps_per_epoch: int, objective: str = "full") -> bool:
    """Give the model its optimizer.

    Args:
        config: settings.
        model: the model.
        steps_per_epoch: batches an epoch.
        objective: "full" or "augmenter". Default: "full".

    Returns:
        Whether the optimizer keeps a running average of the weights.
    """
    epochs = config.averaging_epochs
    if epochs is None:
        epochs = 0 if model.n_negatives else 1
    steps = epochs * steps_per_epoch
    averaged = objective == "full" and steps > 1
    optimizer = LazyAdam(config.learning_rate, use_ema=averaged, ema_momentum=1 - 1 / steps if averaged else 0.0)
    model.compile(
        optimizer,
        objective=objective,
        jit_compile=config.jit_compile,
        steps_per_execution=config.steps_per_execution,
    )
    return averaged
