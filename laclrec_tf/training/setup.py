"""Build a run's model, batches and optimizer from its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.data.batches import training_dataset
from laclrec_tf.data.buckets import count_batches
from laclrec_tf.data.item_vectors import cooccurrence_vectors
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.random_views import similar_items
from laclrec_tf.data.splits import Window
from laclrec_tf.errors import InputError
from laclrec_tf.lazy_adam import LazyAdam
from laclrec_tf.models import LACLRec, build_preset, preset_arguments
from laclrec_tf.models.arguments import default_dropout
from laclrec_tf.training.config import TrainConfig, dependent_default, setting_names


def new_model(config: TrainConfig, n_items: int, max_length: int) -> LACLRec:
    """Build the untrained model.

    Args:
        config: settings.
        n_items: catalogue size `N`.
        max_length: length of the longest history in the data.

    Returns:
        A `LACLRec` that is not compiled.

    Raises:
        InputError: the settings do not fit the data, or the preset is counted.
    """
    sizes: dict[str, Any] = {"max_length": max_length, "seed": config.seed, "dtype": config.precision}
    try:
        return build_preset(config.preset, n_items, **(sizes | config.model))
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from None


class Derived(NamedTuple):
    """A setting that follows from the data.

    Args:
        name: name of the setting.
        value: its value.
        reason: what in the data it follows from, for people.
    """

    name: str
    value: Any
    reason: str


def settings_of_data(config: TrainConfig, data: PreparedData) -> list[Derived]:
    """Return the settings that follow from the data where neither the user nor the preset gives them.

    `exclude_history`: False if more than 5 % of the users' test items are in the history before them, or as `prepare`
    was told. `dropout`, see `default_dropout`; counted presets have none.

    Args:
        config: settings.
        data: prepared data.

    Example:
        >>> data = PreparedData.open("groceries")  # doctest: +SKIP
        >>> [each[:2] for each in settings_of_data(TrainConfig(), data)]  # doctest: +SKIP
        [('exclude_history', False), ('dropout', 0.3)]
    """
    given = preset_arguments(config.preset) | config.model
    repeated = f"{data.repeated_targets:.1%} of the test items are in the history before"
    told = "exclude_history" in data.settings
    derived = [Derived("exclude_history", data.exclude_history, "`prepare` was told so" if told else repeated)]
    if not config.is_counted:
        events, items = data.counts["events"], data.counts["items"]
        sizes = setting_names() | given
        blocks = sizes["n_encoder_blocks"] + sizes["n_recommender_blocks"]
        rate = default_dropout(events, items, width=sizes["width"], n_blocks=blocks)
        derived.append(Derived("dropout", rate, f"{events:,} events of {items:,} items"))
    return [each for each in derived if each.name not in given]


def config_for_data(config: TrainConfig, data: PreparedData) -> TrainConfig:
    """Return the settings with those that follow from the data, if they differ from the defaults.

    Args:
        config: settings.
        data: prepared data.
    """
    defaults = setting_names(config.preset)
    derived = {each.name: each.value for each in settings_of_data(config, data) if each.value != defaults[each.name]}
    return replace(config, model=config.model | derived)


def initialise_items(config: TrainConfig, model: LACLRec, training: list[np.ndarray]) -> None:
    """Initialise the model's item table with co-occurrence vectors, if the settings say so.

    Args:
        config: settings.
        model: a new model.
        training: per user `[n]` int32 ids to train on, oldest first.
    """
    kind = config.item_initialisation or dependent_default("item_initialisation", model.n_negatives)
    if kind == "cooccurrence":
        model.initialise_items(cooccurrence_vectors(training, model.n_items, model.width, seed=config.seed))


def training_batches(
    config: TrainConfig,
    model: LACLRec,
    training: list[np.ndarray],
    *,
    position: tf.Variable | None = None,
    steps: int | None = None,
    targets_per_batch: int | None = None,
    seed: int | None = None,
    window: Window = "last",
) -> tf.data.Dataset:
    """Make the batches that the model needs.

    Args:
        config: settings.
        model: the model to train.
        training: per user `[n]` int32 ids to train on, oldest first.
        position: position at which an epoch starts, see `laclrec_tf.data.batches.training_dataset`. Default: None.
        steps: with `position`, max number of batches of an epoch, see there. Default: None.
        targets_per_batch: number of targets of a batch. Default: that of the settings.
        seed: seed of batch order, views and corruptions. Default: that of the settings.
        window: what is used of histories longer than the model reads, see there. Default: "last".

    Returns:
        See `laclrec_tf.data.batches.training_dataset`.

    Raises:
        InputError: no history has two items, an input and a target.
    """
    if all(len(history) < 2 for history in training):
        raise InputError(
            "Without the held-out items no history has two events left, so there is none to train on. "
            "Prepare users of four or more events."
        )
    needs = model.batch_requirements
    substitutes = None
    if "substitute" in config.random_kinds and needs["n_random_views"]:
        substitutes = similar_items(training, needs["n_items"])
    batches = training_dataset(
        training,
        window=window,
        targets_per_batch=targets_per_batch or config.targets_per_batch,
        random_kinds=config.random_kinds,
        similar_items=substitutes,
        corruption_noise=config.corruption_noise,
        prefix_share=config.prefix_share,
        static_shapes=config.jit_compile,
        seed=config.seed if seed is None else seed,
        position=position,
        steps=steps,
        **needs,
    )
    if position is not None and steps is None:
        # Keras takes the length of the first epoch for that of all, and the first one after a resume is short.
        n_batches = count_batches(training, targets_per_batch or config.targets_per_batch, model.max_length, window)
        batches.cardinality = lambda: tf.constant(n_batches, tf.int64)
    return batches


def compile_model(config: TrainConfig, model: LACLRec, steps_per_epoch: int, objective: str = "full") -> bool:
    """Compile the model with its optimizer.

    Args:
        config: settings.
        model: the model.
        steps_per_epoch: number of batches of an epoch.
        objective: "full", or "augmenter" for its losses alone. Default: "full".

    Returns:
        Whether the optimizer maintains a running average of the weights.
    """
    epochs = config.averaging_epochs
    if epochs is None:
        epochs = dependent_default("averaging_epochs", model.n_negatives)
    steps = epochs * steps_per_epoch
    averaged = objective == "full" and steps > 1
    optimizer = LazyAdam(
        learning_rate(config, steps_per_epoch), use_ema=averaged, ema_momentum=1 - 1 / steps if averaged else 0.0
    )
    model.compile(
        optimizer,
        objective=objective,
        jit_compile=config.jit_compile,
        steps_per_execution=config.steps_per_execution,
    )
    return averaged


def learning_rate(config: TrainConfig, steps_per_epoch: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate, or its schedule over the steps of `config.epochs`.

    Args:
        config: settings.
        steps_per_epoch: number of batches of an epoch.

    Example:
        >>> rate = learning_rate(TrainConfig(learning_rate=0.01, warmup_epochs=2), steps_per_epoch=5)
        >>> [round(float(rate(step)), 4) for step in (0, 5, 10, 50)]
        [0.0, 0.005, 0.01, 0.01]
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    cosine = config.learning_rate_schedule == "cosine"
    if not warmup and not cosine:
        return config.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=max(1, config.epochs * steps_per_epoch - warmup),
        alpha=0.0 if cosine else 1.0,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
