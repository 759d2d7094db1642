"""The matrix products of a training step, counted, and how fast this machine multiplies."""

from __future__ import annotations

import time
from typing import Any

import tensorflow as tf

from laclrec_tf.masking import history_lengths
from laclrec_tf.models import LACLRec

FORWARD_AND_BACKWARD = 3  # a product forward, and one each for the gradients of its two factors


def matrix_peak(dtype: str = "float32", size: int = 4096, repeats: int = 6) -> float:
    """Measure the rate of a large square matrix product.

    Args:
        dtype: Default: "float32".
        size: rows and columns. Default: 4096.
        repeats: the best of so many counts. Default: 6.

    Returns:
        Floating-point operations a second, two for a multiplication with its addition.
    """
    left, right = (tf.cast(tf.random.stateless_normal([size, size], [0, seed]), dtype) for seed in (0, 1))

    @tf.function
    def product() -> tf.Tensor:
        return tf.matmul(left, right)[0, 0]

    seconds = []
    for _ in range(repeats + 1):  # the first one traces
        started = time.perf_counter()
        product().numpy()
        seconds.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(seconds[1:])


def operations_of(model: LACLRec, batch: dict[str, Any]) -> float:
    """Count the floating-point operations in the matrix products of one training step.

    Attention's, the dense layers', the softmax's and the augmenter's products count, padding included where it is
    multiplied; what is not a matrix product does not count, so a fraction of the peak made with it is a lower bound.

    Args:
        model: the model.
        batch: one training batch.

    Returns:
        Operations, two for a multiplication with its addition.
    """
    target = batch["target"]
    n_users, length = (int(size) for size in target.shape)
    blocks = model.n_encoder_blocks + model.n_recommender_blocks
    both = FORWARD_AND_BACKWARD
    total = both * blocks * _block(model.width, n_users, length)
    if model.static_shapes:
        total += both * _softmax(model, n_users * length)
    else:
        total += both * _softmax(model, int(tf.reduce_sum(history_lengths(target))))
    if model.n_random_views:
        random = batch["random_view"]
        n_views = int(random.shape[0])
        widths = [int(tf.reduce_max(history_lengths(random)))]
        if model.n_random_views == 2:
            widths.append(int(tf.reduce_max(history_lengths(batch["random_view_2"]))))
        else:
            edits = model.edit(batch["history"])
            widths.append(int(tf.reduce_max(history_lengths(edits.edited))))
            n_inserting = float(tf.math.count_nonzero(edits.operations == 2))
            total += model.n_encoder_blocks * _block(model.width, n_users, length)
            steps = model.max_insertions
            total += steps * (_block(model.width, n_inserting, steps) + _softmax(model, n_inserting))
        total += sum(both * blocks * _block(model.width, n_views, width) for width in widths)
        if model.gamma:
            total += both * _softmax(model, 2 * n_views)
    if model.term_weights.get("augmenter_loss"):
        corrupted = batch["corrupted"]
        total += both * model.n_encoder_blocks * _block(model.width, n_users, int(corrupted.shape[1]))
        n_inserting = float(tf.math.count_nonzero(batch["operations"] == 2))
        total += both * _block(model.width, n_inserting, model.max_insertions)
        total += both * _softmax(model, float(tf.math.count_nonzero(batch["insertions"])))
    return total


def _block(width: int, rows: float, length: int) -> float:
    """Count a transformer block's forward pass: four projections, two layers of 4 D, scores and their average."""
    return 2.0 * rows * length * (12 * width**2 + 2 * length * width)


def _softmax(model: LACLRec, positions: float) -> float:
    return 2.0 * positions * (model.n_negatives or model.n_items) * model.width
