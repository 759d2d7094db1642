"""Which arguments `LACLRec` can be built and called with."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from laclrec_tf.losses.contrastive import SIMILARITIES

CONTRAST_VIEWS = ("random-learned", "random-random")


def default_label_smoothing(n_negatives: int) -> float:
    """Return `LACLRec`'s `label_smoothing` where none is given.

    Args:
        n_negatives: 0 for the softmax over the whole catalogue; a sample of it is no catalogue to spread over.

    Example:
        >>> default_label_smoothing(0), default_label_smoothing(256)
        (0.2, 0.0)
    """
    return 0.0 if n_negatives else 0.2


def check_arguments(**settings: Any) -> None:
    """Refuse what `LACLRec` cannot be built with.

    Args:
        **settings: the constructor's arguments.

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


def check_history(history: Any, longest: int) -> None:
    """Refuse histories that the encoder has no positions for, as far as their shape is known.

    Args:
        history: `[B, L]` integer ids.
        longest: the most positions.

    Raises:
        ValueError: `history` has another rank, or is longer.

    Example:
        >>> check_history(tf.zeros([1, 70], tf.int32), 60)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: Argument `inputs` must be item ids of shape [B, L] with L at most 60. Received: shape (1, 70). ...
    """
    shape = tf.TensorShape(history.shape)
    if shape.rank is not None and (shape.rank != 2 or (shape[1] or 0) > longest):
        raise ValueError(
            f"Argument `inputs` must be item ids of shape [B, L] with L at most {longest}. Received: shape {shape}. "
            "Give one row for each history and cut it to its last items, or build the model with a larger `max_length`."
        )
