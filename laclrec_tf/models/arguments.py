"""Checks of the arguments and inputs of `LACLRec`, and what its batches must hold."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from laclrec_tf.losses.contrastive import SIMILARITIES

CONTRAST_VIEWS = ("random-learned", "random-random")


def batch_requirements(model: Any) -> dict[str, Any]:
    """Return the arguments of `laclrec_tf.data.training_dataset` that make the batches of a model.

    The probabilities of corruption are the paper's. Corruption leaves out what the augmenter may not repair.

    Args:
        model: A `LACLRec`.

    Returns:
        By name: the number of random views, whether histories are corrupted, and the settings of both.

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
        "n_random_views": model.n_random_views,
        "corruption": model.has_augmenter,
        "p_keep": p_keep,
        "p_delete": p_delete,
        "max_insertions": model.max_insertions,
        "max_edited_length": model.max_edited_length,
    }


def check_batch(model: Any, batch: Any) -> None:
    """Refuse a training batch that lacks a tensor of the model's objective.

    Args:
        model: A `LACLRec`.
        batch: Dict of tensors, see `LACLRec.losses_of`.

    Raises:
        ValueError: a key is missing.

    Example:
        >>> from laclrec_tf.models import build_preset
        >>> check_batch(build_preset("sasrec", n_items=20, width=8), {"history": None, "target": None})
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


def default_label_smoothing(n_negatives: int) -> float:
    """Return the default of `label_smoothing`.

    Args:
        n_negatives: Number of sampled negatives. Labels can be smoothed only over the whole catalogue, 0.

    Example:
        >>> default_label_smoothing(0), default_label_smoothing(256)
        (0.2, 0.0)
    """
    return 0.0 if n_negatives else 0.2


def check_arguments(**settings: Any) -> None:
    """Refuse arguments of `LACLRec` that are out of range.

    Args:
        **settings: The constructor's arguments.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> check_arguments(n_items=0)
        Traceback (most recent call last):
        ValueError: Argument `n_items` must be at least 1. Received: n_items=0.
    """
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"Argument `{name}` must be a finite number. Received: {name}={value}.")
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


def check_history(history: Any, max_positions: int) -> None:
    """Refuse histories of a wrong rank or of more positions than the encoder has, as far as the shape is known.

    Args:
        history: `[B, L]` integer ids.
        max_positions: Max number of positions.

    Raises:
        ValueError: `history` has another rank or is longer.

    Example:
        >>> check_history(tf.zeros([1, 70], tf.int32), 60)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: Argument `inputs` must be item ids of shape [B, L] with L at most 60. Received: shape (1, 70). ...
    """
    shape = tf.TensorShape(history.shape)
    if shape.rank is not None and (shape.rank != 2 or (shape[1] or 0) > max_positions):
        raise ValueError(
            f"Argument `inputs` must be item ids of shape [B, L] with L at most {max_positions}. "
            f"Received: shape {shape}. "
            "Give one row for each history and cut it to its last items, or build the model with a larger `max_length`."
        )
