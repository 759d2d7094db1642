"""The matrix products of a training step, counted, and how fast this machine multiplies."""

from __future__ import annotations

import time
from typing import Any

import tensorflow as tf

from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import INSERT
from laclrec_tf.ops.masking import take_prefixes, trim_padding

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

    @tf.function(autograph=False)
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
    Nor do the dot products of views with each other, or statistics. The batch is edited as training edits it.

    Args:
        model: the model.
        batch: one training batch.

    Returns:
        Operations, two for a multiplication with its addition.
    """
    target = batch["target"]
    n_users, length = (int(size) for size in target.shape)
    blocks = model.n_encoder_blocks + model.n_recommender_blocks
    # What a position is scored against: the catalogue, or the sample of it.
    n_scored = model.n_negatives or model.n_items
    both = FORWARD_AND_BACKWARD
    static = model.static_shapes

    n_targets = n_users * length if static else _count(target > 0)
    total = both * (blocks * _block(model.width, n_users, length) + _scores(model.width, n_targets, n_scored))
    if model.n_random_views:
        n_views = int(batch["random_view"].shape[0])
        widths = [length if static else _longest(batch["random_view"])]
        if model.n_random_views == 2:
            widths.append(length if static else _longest(batch["random_view_2"]))
        else:
            prefixes = take_prefixes(batch["history"], batch["prefix_lengths"])
            if model.positions == "end":  # the raw prefixes are encoded too
                widths.append(length if static else _longest(prefixes))
            edits = model.learned_edits(prefixes)
            most = min(model.max_edited_length, length * (model.max_insertions + 1))
            widths.append(most if static else _longest(edits.edited))
            n_candidates = model.n_negatives + n_views * length if model.n_negatives else model.n_items
            total += model.n_encoder_blocks * _block(model.width, n_views, length)
            for step in range(model.max_insertions):
                # With static shapes every position is decoded, else the runs that have not ended.
                n_runs = n_views * length if static else _count(edits.insertions[..., step] > 0)
                total += _block(model.width, n_runs, step + 1)
                total += _scores(model.width, n_runs, n_candidates + 1)  # EOS may come too
        total += sum(both * blocks * _block(model.width, n_views, width) for width in widths)
        if model.gamma:
            total += both * _scores(model.width, 2 * n_views, n_scored)
    if model.term_weights.get("augmenter_loss"):
        most = n_users * length + n_users
        positions, n_targets = batch["corrupted"].shape[1] * n_users, _count(batch["insertions"] > 0)
        n_inserting = min(most, positions) if static else _count(batch["operations"] == INSERT)
        n_targets = min(most, n_inserting * model.max_insertions) if static else n_targets
        total += both * model.n_encoder_blocks * _block(model.width, n_users, batch["corrupted"].shape[1])
        total += both * _block(model.width, n_inserting, model.max_insertions)
        total += both * _scores(model.width, n_targets, n_scored + 1)
    return total


def _block(width: int, rows: int, length: int) -> float:
    """Count a transformer block's forward pass: four projections, two layers of 4 D, scores and their average."""
    return 2.0 * rows * length * (12 * width**2 + 2 * length * width)


def _scores(width: int, vectors: int, candidates: int) -> float:
    return 2.0 * vectors * candidates * width


def _count(mask: tf.Tensor) -> int:
    return int(tf.math.count_nonzero(mask))


def _longest(item_ids: tf.Tensor) -> int:
    return int(trim_padding(item_ids).shape[1])
