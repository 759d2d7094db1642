"""Checks of the arguments and inputs of `LACLRec`, and what its batches must hold."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
import tensorflow as tf
from keras import KerasTensor

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.losses.contrastive import SIMILARITIES
from laclrec_tf.ops.masking import is_item, pad_histories

CONTRAST_VIEWS = ("random-learned", "random-random")


def batch_requirements(model: Any) -> dict[str, Any]:
    """Return the arguments of `laclrec_tf.data.training_dataset` that make the batches of a model.

    The probabilities of corruption are the paper's. Corruption leaves out what the augmenter may not repair.

    Args:
        model: A `LACLRec`.

    Returns:
        By name: the sizes of the model, the number of random views, whether histories are corrupted, and the settings
        of both.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> batch_requirements(build_preset("laclrec", n_items=20, width=8))["corruption"]
        True
    """
    p_keep, p_delete = 0.40, 0.45
    if not model.can_delete:
        p_keep, p_delete = 0.55, 0.45  # no random items, so there is nothing to delete
    if not model.can_insert:
        p_keep, p_delete = 0.85, 0.0  # no dropped items, so there is nothing to insert
    return {
        "n_items": model.n_items,
        "max_length": model.max_length,
        "n_random_views": model.n_random_views,
        "corruption": model.has_augmenter,
        "p_keep": p_keep,
        "p_delete": p_delete,
        "max_insertions": model.max_insertions,
        "max_edited_length": model.max_edited_length,
    }


def check_batch(model: Any, batch: Any) -> None:
    """Refuse a training batch that lacks a tensor of the model's objective, or is too long or not right-padded.

    Args:
        model: A `LACLRec`.
        batch: Dict of tensors, see `LACLRec.losses_of`.

    Raises:
        ValueError: a key is missing, or in eager mode `history` is no right-padded history of the model's items.
        tf.errors.InvalidArgumentError: `history` is longer than `max_length`, or in a graph not right-padded.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> batch = {"history": tf.constant([[5, 6, 0]]), "target": tf.constant([[6, 7, 0]])}
        >>> check_batch(build_preset("sasrec", n_items=20, width=8), batch)
    """
    needed: list[str] = []
    if model.objective == "full":
        needed += ["history", "target"]
        if model.n_random_views:
            needed += ["prefix_lengths", "random_view", "random_view_2"][: 1 + model.n_random_views]
    if model.term_weights.get("augmenter_loss"):
        needed += ["corrupted", "operations", "insertions"]
    held = sorted(batch) if isinstance(batch, dict) else []
    if not set(needed) <= set(held):
        received = ", ".join(held) if held else f"a {type(batch).__name__}"
        raise ValueError(
            f"Argument `batch` must be a dict with {', '.join(needed)} for this objective. Received: {received}. "
            "Make batches with `training_dataset(histories, **model.batch_requirements)`."
        )
    if "history" not in batch:
        return
    history = tf.convert_to_tensor(batch["history"])
    remedy = "Make batches with `training_dataset(histories, **model.batch_requirements)`, which"
    tf.debugging.assert_less_equal(
        tf.shape(history)[1],
        model.max_length,
        f"A training batch must have histories of at most {model.max_length} items. {remedy} cuts them.",
    )
    # Targets are aligned with the history, so neither can be packed here.
    is_packed = tf.reduce_all(is_item(history)[:, :-1] | ~is_item(history)[:, 1:])
    problem = f"A training batch must be right-padded: no 0 before an item in `history`. {remedy} leaves padding out."
    if not tf.executing_eagerly():
        tf.debugging.Assert(is_packed, [problem])
    elif not is_packed:
        raise ValueError(problem)
    else:
        as_history(batch, model.n_items)


def default_label_smoothing(n_negatives: int) -> float:
    """Return the default of `label_smoothing`.

    Args:
        n_negatives: Number of sampled negatives. Labels can be smoothed only over the whole catalogue, 0.

    Example:
        >>> default_label_smoothing(0), default_label_smoothing(256)
        (0.2, 0.0)
    """
    return 0.0 if n_negatives else 0.2


def default_dropout(n_events: int, n_items: int, *, width: int = 64, n_blocks: int = 2) -> float:
    """Return the dropout rate for data of a size: with many events for each weight the model overfits less.

    The weights are those of the item table and of the blocks, 12 times `width` squared in each. Chosen on validation
    items of six data sets, see `docs/own-data.md`.

    Args:
        n_events: Number of events.
        n_items: Catalogue size `N`.
        width: Size of item embeddings. Default: 64.
        n_blocks: Number of blocks of the recommender. Default: 2.

    Returns:
        0.1 from 0.6 events a weight on, else 0.3.

    Example:
        >>> default_dropout(200_000, 10_000), default_dropout(2_000_000, 10_000)
        (0.3, 0.1)
    """
    return 0.1 if n_events >= 0.6 * (width * n_items + 12 * n_blocks * width**2) else 0.3


def default_max_edited_length(max_length: int) -> int:
    """Return the default of `max_edited_length`: the paper's 60, or a fifth more than `max_length`.

    Args:
        max_length: Max length of a history.

    Example:
        >>> default_max_edited_length(50), default_max_edited_length(100)
        (60, 120)
    """
    return max(60, -(-max_length * 6 // 5))


def check_arguments(**settings: Any) -> None:
    """Refuse arguments of `LACLRec` that are out of range.

    Args:
        **settings: The constructor's arguments.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> check_arguments(n_items="20")
        Traceback (most recent call last):
        ValueError: Argument `n_items` must be a whole number. Received: n_items='20'.
    """
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"Argument `{name}` must be a finite number. Received: {name}={value}.")
    counts = ("n_items", "max_length", "max_insertions", "width", "n_heads", "max_edited_length", "n_negatives")
    for name in (*counts, "n_encoder_blocks", "n_recommender_blocks"):
        if not isinstance(settings[name], Integral):
            raise ValueError(f"Argument `{name}` must be a whole number. Received: {name}={settings[name]!r}.")
    for name in ("n_items", "max_length", "max_insertions", "width", "n_heads"):
        if settings[name] < 1:
            raise ValueError(f"Argument `{name}` must be at least 1. Received: {name}={settings[name]}.")
    for name in ("n_encoder_blocks", "n_recommender_blocks", "alpha", "beta", "lambda_aug", "gamma", "n_negatives"):
        if settings[name] < 0:
            raise ValueError(f"Argument `{name}` must be 0 or above. Received: {name}={settings[name]}.")
    for name in ("dropout", "label_smoothing"):
        if not 0 <= settings[name] < 1:
            raise ValueError(f"Argument `{name}` must be in [0, 1). Received: {name}={settings[name]}.")
    if settings["label_smoothing"] and settings["n_negatives"]:
        raise ValueError(
            "Argument `label_smoothing` needs the whole catalogue, so `n_negatives` must be 0. Received: "
            f"label_smoothing={settings['label_smoothing']}, n_negatives={settings['n_negatives']}."
        )
    if settings["max_edited_length"] < settings["max_length"]:
        raise ValueError(
            "Argument `max_edited_length` must be at least `max_length`. Received: "
            f"max_edited_length={settings['max_edited_length']}, max_length={settings['max_length']}."
        )
    if settings["temperature"] <= 0:
        raise ValueError(f"Argument `temperature` must be above 0. Received: temperature={settings['temperature']}.")
    for name, choices in (("contrast_views", CONTRAST_VIEWS), ("similarity", SIMILARITIES)):
        if settings[name] not in choices:
            raise ValueError(
                f"Argument `{name}` must be one of {', '.join(choices)}. Received: {name}={settings[name]!r}."
            )
    if not (settings["can_delete"] or settings["can_insert"]):
        raise ValueError(
            "Arguments `can_delete` and `can_insert` must not both be False: the augmenter could change nothing. "
            "To train without an augmenter use contrast_views='random-random' and lambda_aug=0."
        )


def as_history(inputs: Any, n_items: int) -> Any:
    """Convert histories to a tensor `[B, L]`; rows of different lengths are padded with PAD.

    Args:
        inputs: Integer ids as a tensor or array `[B, L]`, as a ragged tensor, or as a list of lists, which may have
            different lengths; or a batch, a dict with one of these as `history`.
        n_items: Catalogue size `N`.

    Returns:
        An int32 or int64 tensor. A symbolic `KerasTensor` is returned as it is.

    Raises:
        ValueError: `inputs` are not histories of this catalogue's items. Ids are checked in eager mode only.

    Example:
        >>> as_history([[5, 6, 7], [9]], n_items=20).numpy().tolist()
        [[5, 6, 7], [9, 0, 0]]
    """
    if isinstance(inputs, dict):
        if "history" not in inputs:
            raise ValueError(f"Argument `inputs` must have the key `history`. Received: {', '.join(map(str, inputs))}.")
        inputs = inputs["history"]
    if isinstance(inputs, tf.RaggedTensor):
        inputs = inputs.to_tensor(PAD_ID)
    elif isinstance(inputs, (list, tuple)):
        rows = [np.asarray(row) for row in inputs]
        wrong = next((row for row in rows if row.ndim != 1 or (row.size and row.dtype.kind not in "iu")), None)
        if wrong is not None:
            raise ValueError(
                "Argument `inputs` must be a list of histories, each a list of integer item ids, e.g. [[5, 6, 7], [9]]."
                f" Received: {wrong.tolist()!r} as a history."
            )
        if filled := [row for row in rows if row.size]:
            item_ids = np.concatenate(filled)
            _check_range(item_ids.min(), item_ids.max(), n_items)
        inputs = pad_histories(rows)
    elif not (hasattr(inputs, "shape") and hasattr(inputs, "dtype")):
        raise ValueError(
            f"Argument `inputs` must be item ids of shape [B, L]. Received: a {type(inputs).__name__}. Give an array, "
            "or a list of histories, each a list of integer item ids; `laclrec_tf.load(...)` reads tables of events."
        )
    check_history(inputs)
    if isinstance(inputs, KerasTensor):
        return inputs
    history = tf.convert_to_tensor(inputs)
    if tf.executing_eagerly() and tf.size(history):
        _check_range(tf.reduce_min(history), tf.reduce_max(history), n_items)
    if history.dtype in (tf.int32, tf.int64):
        return history
    return tf.cast(history, tf.int32 if history.dtype.size < 4 else tf.int64)


def _check_range(lowest: Any, highest: Any, n_items: int) -> None:
    if lowest < PAD_ID or highest > n_items + 2:
        raise ValueError(
            f"Argument `inputs` must be ids of this model's items, 1 to {n_items}, and 0 for padding. "
            f"Received: {int(lowest if lowest < PAD_ID else highest)}."
        )


def check_history(history: Any, max_positions: int | None = None) -> None:
    """Refuse histories of a wrong rank or dtype or of too many positions, as far as the shape is known.

    Args:
        history: `[B, L]` integer ids.
        max_positions: Max number of positions. Default: None, any number.

    Raises:
        ValueError: `history` has another rank or dtype, or is longer.

    Example:
        >>> check_history(tf.zeros([1, 70], tf.int32), 60)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: Argument `inputs` must be item ids of shape [B, L] with L at most 60. Received: shape (1, 70). ...
    """
    shape = tf.TensorShape(history.shape)
    limit = "" if max_positions is None else f" with L at most {max_positions}"
    is_long = max_positions is not None and shape.rank == 2 and (shape[1] or 0) > max_positions
    if (shape.rank is not None and shape.rank != 2) or is_long:
        raise ValueError(
            f"Argument `inputs` must be item ids of shape [B, L]{limit}. Received: shape {shape}. "
            "Give one row for each history and cut it to its last items, or build the model with a larger `max_length`."
        )
    dtype = tf.as_dtype(history.dtype)
    if not dtype.is_integer:
        raise ValueError(f"Argument `inputs` must be integer item ids. Received: dtype {dtype.name}.")
