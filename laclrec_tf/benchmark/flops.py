"""Count the floating-point operations of a training step's matrix products, and measure the machine's peak rate."""

from __future__ import annotations

import time
from typing import Any

import tensorflow as tf

from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import INSERT
from laclrec_tf.ops.masking import take_prefixes, trim_padding

FORWARD_AND_BACKWARD = 3  # one product forward, and one for the gradient of each factor


def operations_of(model: LACLRec, batch: dict[str, Any]) -> float:
    """Count the floating-point operations in the matrix products of one training step.

    The products of attention, dense layers, softmax and augmenter count, including padding where it is multiplied.
    Dot products of views and operations that are no matrix products do not count, so a fraction of the peak rate that
    is made from this number is a lower bound. The batch is edited as training edits it.

    Args:
        model: The model.
        batch: One training batch.

    Returns:
        Number of operations; a multiplication and its addition count as two.
    """
    n_users, length = (int(size) for size in batch["target"].shape)
    width, static = model.width, model.static_shapes
    n_blocks = model.n_encoder_blocks + model.n_recommender_blocks
    # The loss scores a vector against the catalogue or a sample of it.
    n_scored = model.n_negatives or model.n_items

    forward = 0.0  # without a gradient
    trained = n_blocks * _block(width, n_users, length)
    for name, n_vectors in catalogue_losses(model, batch).items():
        trained += _scores(width, n_vectors, n_scored + (name == "insertions"))  # EOS is a candidate
    if model.n_random_views:
        n_views = int(batch["random_view"].shape[0])
        lengths = [length if static else _longest(batch["random_view"])]
        if model.n_random_views == 2:
            lengths.append(length if static else _longest(batch["random_view_2"]))
        else:
            prefixes = take_prefixes(batch["history"], batch["prefix_lengths"])
            if model.positions == "end":  # the raw prefixes are encoded as well
                lengths.append(length if static else _longest(prefixes))
            edits = model.learned_edits(prefixes)
            max_edited = min(model.max_edited_length, length * (model.max_insertions + 1))
            lengths.append(max_edited if static else _longest(edits.edited))
            n_candidates = model.n_negatives + n_views * length if model.n_negatives else model.n_items
            forward += model.n_encoder_blocks * _block(width, n_views, length)
            for step in range(model.max_insertions):
                # With static shapes every position is decoded, otherwise the runs that have not ended.
                n_runs = n_views * length if static else _count(edits.insertions[..., step] > 0)
                forward += _block(width, n_runs, step + 1)
                forward += _scores(width, n_runs, n_candidates + 1)  # EOS is a candidate
        trained += sum(n_blocks * _block(width, n_views, each) for each in lengths)
    if model.term_weights.get("augmenter_loss"):
        n_positions = n_users * batch["corrupted"].shape[1]
        inserting = min(n_users * (length + 1), n_positions) if static else _count(batch["operations"] == INSERT)
        trained += model.n_encoder_blocks * _block(width, n_users, batch["corrupted"].shape[1])
        trained += _block(width, inserting, model.max_insertions)
    return forward + FORWARD_AND_BACKWARD * trained


def catalogue_losses(model: LACLRec, batch: dict[str, Any]) -> dict[str, int]:
    """Count the vectors that each cross-entropy over the catalogue scores in one training step.

    Args:
        model: The model.
        batch: One training batch.

    Returns:
        Numbers of vectors: "next_item", and if the model has these terms "views" and "insertions".
    """
    n_users, length = (int(size) for size in batch["target"].shape)
    static = model.static_shapes
    n_vectors = {"next_item": n_users * length if static else _count(batch["target"] > 0)}
    if model.n_random_views and model.gamma:
        n_vectors["views"] = 2 * int(batch["random_view"].shape[0])
    if model.term_weights.get("augmenter_loss"):
        max_targets = min(n_users * (length + 1), batch["corrupted"].shape[1] * n_users * model.max_insertions)
        n_vectors["insertions"] = max_targets if static else _count(batch["insertions"] > 0)
    return n_vectors


def _block(width: int, rows: int, length: int) -> float:
    """Count a transformer block's forward pass: four projections, two layers of 4 D, scores and their average."""
    return 2.0 * rows * length * (12 * width**2 + 2 * length * width)


def _scores(width: int, vectors: int, candidates: int) -> float:
    return 2.0 * vectors * candidates * width


def _count(mask: tf.Tensor) -> int:
    return int(tf.math.count_nonzero(mask))


def _longest(item_ids: tf.Tensor) -> int:
    return int(trim_padding(item_ids).shape[1])


def matrix_peak(dtype: str = "float32", size: int = 4096, repeats: int = 6) -> float:
    """Measure the rate of a large square matrix product.

    Args:
        dtype: Data type of the matrices. Default: "float32".
        size: Number of rows and columns. Default: 4096.
        repeats: Number of products; the fastest counts. Default: 6.

    Returns:
        Floating-point operations per second; a multiplication and its addition count as two.

    Example:
        >>> matrix_peak(size=64, repeats=1) > 0
        True
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
