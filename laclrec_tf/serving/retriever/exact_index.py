"""The items with the highest scores for a user vector, found exactly and in constant memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# The best scores are searched in the best blocks only; finding these takes a plain maximum, which is fast.
BLOCK = 128
# Number of scores held at once: 32 MB, whatever the size of catalogue and batch.
TILE_SCORES = 2**23
# Larger tiles are no faster.
TILE_ITEMS = 2**18
# Up to this many items are scored at once, without a loop, whatever the batch.
ONE_TILE = 2**14
# A typical search needs about 60 blocks: ten items and those of the history; see `best_of_blocks`.
ONE_TILE_BLOCK = 32


class ExactIndex(tf.Module):
    """Computes dot products with the vectors of all items, some thousand items at a time.

    Args:
        item_vectors: function that returns the table `[N + 3, D]` float32; row `i` is item `i`, the first and the last
            two rows are PAD, EOS and MASK. Each search calls it.
        n_items: `N`.
        active: `[N]` bool, False for an item that is never found. Default: all are active.

    Example:
        >>> table = tf.constant([[9.0], [1.0], [3.0], [2.0], [9.0], [9.0]])
        >>> scores, item_ids = ExactIndex(lambda: table, 3).search(tf.constant([[1.0], [-1.0]]), tf.constant(2))
        >>> item_ids.numpy().tolist(), scores.numpy().tolist()
        ([[2, 3], [1, 3]], [[3.0, 2.0], [-1.0, -2.0]])
    """

    def __init__(self, item_vectors: Callable[[], tf.Tensor], n_items: int, active: np.ndarray | None = None) -> None:
        """Keep the source of the vectors."""
        super().__init__(name="exact_index")
        self.item_vectors = item_vectors
        self.n_items = n_items
        self.scores_are_exact = True
        self._penalty: tf.Variable | None = None
        if active is not None and not active.all():
            # One row of the table each: PAD, the items, EOS and MASK.
            penalty = np.pad(np.where(active, 0.0, -np.inf), (1, 2), constant_values=-np.inf)
            self._penalty = tf.Variable(penalty, trainable=False, dtype=tf.float32, name="retired")

    def search(self, vectors: tf.Tensor, k: tf.Tensor, cosine: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Find the `k` best items of each vector.

        Args:
            vectors: `[B, D]` float32.
            k: int32 scalar, at least 1; more than `N` is the same as `N`.
            cosine: score by the cosine instead of the dot product. Default: False.

        Returns:
            `(scores [B, min(k, N)] float32, item_ids [B, min(k, N)] int32)`, best first; equal scores in any order.
            A slot that no active item fills has `-inf`.
        """
        table = tf.convert_to_tensor(self.item_vectors())
        k = tf.minimum(k, self.n_items)
        if cosine:
            vectors = tf.math.l2_normalize(vectors, axis=-1)

        one_tile = self.n_items <= ONE_TILE

        def best_of_tile(first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = table[first:last]
            products = tf.matmul(vectors, rows, transpose_b=True)  # [B, T]
            if cosine:
                products *= tf.math.rsqrt(tf.maximum(tf.reduce_sum(rows * rows, axis=-1), 1e-30))
            if self._penalty is not None:
                products += self._penalty[first:last]
            best, places = best_of_blocks(products, k, ONE_TILE_BLOCK if one_tile else BLOCK)
            return best, first + places

        if one_tile:
            return best_of_tile(1, self.n_items + 1)
        batch = tf.shape(vectors)[0]
        tile = tf.clip_by_value(TILE_SCORES // tf.maximum(batch, 1), 16 * BLOCK, TILE_ITEMS)
        tile = tile // BLOCK * BLOCK

        def add_tile(first: tf.Tensor, scores: tf.Tensor, item_ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
            last = tf.minimum(first + tile, self.n_items + 1)
            best, best_ids = best_of_tile(first, last)
            scores = tf.concat([scores, best], axis=1)
            item_ids = tf.concat([item_ids, best_ids], axis=1)
            return last, *top_items(scores, item_ids, tf.minimum(k, tf.shape(scores)[1]))

        _, scores, item_ids = tf.while_loop(
            lambda first, *_: first <= self.n_items,
            add_tile,
            [tf.constant(1), tf.zeros([batch, 0]), tf.zeros([batch, 0], tf.int32)],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, None]), tf.TensorShape([None, None])],
            parallel_iterations=1,  # several tiles at once would need the memory of several
        )
        return scores, item_ids


def best_of_blocks(scores: tf.Tensor, k: tf.Tensor, block: int = BLOCK) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the best scores of each row and their places.

    All of them are in the `k` blocks with the largest maxima, so only these blocks are searched.

    Args:
        scores: `[B, T]` float32.
        k: int32 scalar, at least 1.
        block: number of scores in a block; about the square root of `T / k` reads the fewest. Default: 128.

    Returns:
        `(scores [B, min(k, T)] float32, places [B, min(k, T)] int32)`, best first; equal scores in any order.
        The place of a score of `-inf` is arbitrary, but valid.

    Example:
        >>> scores, places = best_of_blocks(tf.constant([[1.0, 3.0, 2.0]]), tf.constant(2))
        >>> places.numpy().tolist(), scores.numpy().tolist()
        ([[1, 2]], [[3.0, 2.0]])
    """
    batch, width = tf.shape(scores)[0], tf.shape(scores)[1]
    n_blocks = (width + block - 1) // block
    padded = tf.pad(scores, [[0, 0], [0, n_blocks * block - width]], constant_values=-np.inf)
    blocks = tf.reshape(padded, [batch, n_blocks, block])
    _, chosen = tf.math.top_k(tf.reduce_max(blocks, axis=-1), tf.minimum(k, n_blocks))
    candidates = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [batch, tf.shape(chosen)[1] * block])
    best, places = tf.math.top_k(candidates, tf.minimum(k, width))
    places = tf.gather(chosen, places // block, batch_dims=1) * block + places % block
    # A score of -inf ties with the padding, which has no place in the row.
    return best, tf.minimum(places, width - 1)


def top_items(scores: tf.Tensor, item_ids: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sort each row's items by score and keep the best.

    Args:
        scores: `[B, C]` float32.
        item_ids: `[B, C]` int32.
        width: int32 scalar, number of items to keep.

    Returns:
        `(scores [B, width], item_ids [B, width])`, best first; `-inf` and PAD where `C` is less than `width`.

    Example:
        >>> scores, item_ids = top_items(tf.constant([[1.0, 3.0]]), tf.constant([[7, 9]]), tf.constant(3))
        >>> item_ids.numpy().tolist(), scores.numpy().tolist()
        ([[9, 7, 0]], [[3.0, 1.0, -inf]])
    """
    missing = tf.maximum(width - tf.shape(scores)[1], 0)
    scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=-np.inf)
    scores, places = tf.math.top_k(scores, width)
    return scores, tf.gather(tf.pad(item_ids, [[0, 0], [0, missing]]), places, batch_dims=1)
