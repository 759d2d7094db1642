"""Cross-entropy over a catalogue without the table of logits: a custom gradient over slices.

The plain loss writes a `[P, C]` tensor of logits several times a step; on a CPU those writes, not the products,
are what it costs. Here one slice of it exists at a time, small enough for the processor's cache. A small
catalogue is sliced by positions: a slice sees every item, so its softmax is whole and its gradient is made at once.
A large one is sliced by items: forward with a running maximum and sum, backward once more from the saved
normaliser; memory does not grow with the catalogue. Written in TensorFlow, not `keras.ops`, for
`tf.custom_gradient` and `tf.while_loop`.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

SLICE_ELEMENTS = 2**21
# Each slice of positions adds to the gradient of every item; below so many positions that costs more than it saves.
FEWEST_POSITIONS = 48


def catalogue_cross_entropy(
    vectors: tf.Tensor,
    table: tf.Tensor,
    targets: tf.Tensor,
    specials: tuple[int, int] = (0, 0),
    slice_elements: int = SLICE_ELEMENTS,
) -> tf.Tensor:
    """Return the mean over positions of `logsumexp(v C') - v c_target`, `C` the table without its specials.

    Args:
        vectors: `[P, D]` float.
        table: `[R, D]` float of the same dtype.
        targets: `[P]` integer rows of `table`, none of them special.
        specials: how many rows at the start and at the end of the table are no candidates. Default: (0, 0).
        slice_elements: most logits held at a time. Default: 2**21, 8 MB.

    Returns:
        Scalar float32, 0 when there are no positions.

    Example:
        >>> loss = catalogue_cross_entropy(tf.ones([1, 2]), tf.zeros([4, 2]), tf.constant([3]))
        >>> round(float(loss), 4)  # log 4
        1.3863

    Reference: the gradient made in the forward pass is Liger Kernel's (arXiv 2410.10989), the running
    logsumexp is Milakov and Gimelshein's (arXiv 1805.02867).
    """
    vectors, table = tf.convert_to_tensor(vectors), tf.convert_to_tensor(table)
    targets = tf.cast(targets, tf.int32)
    first, last = specials
    n_candidates = None if table.shape[0] is None else table.shape[0] - first - last
    by_positions = n_candidates is not None and n_candidates * FEWEST_POSITIONS <= slice_elements

    # The table is cut in here, because the gradient of a slice costs as much as a matrix product.
    @tf.custom_gradient
    def summed_normalisers(vectors: tf.Tensor, table: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        candidates = table[first : tf.shape(table)[0] - last]
        candidates = tf.ensure_shape(candidates, [n_candidates, table.shape[1]])
        if by_positions:
            total, to_vectors, to_candidates = _slices_of_positions(vectors, candidates, slice_elements)
        else:
            n_items = tf.maximum(slice_elements // tf.maximum(tf.shape(vectors)[0], 1), 1)
            normalisers = _normalisers(vectors, candidates, n_items)
            total = tf.reduce_sum(normalisers)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if by_positions:
                gradients = to_vectors, to_candidates
            else:
                gradients = _slices_of_items(vectors, candidates, normalisers, n_items)
            upstream = tf.cast(upstream, vectors.dtype)
            return gradients[0] * upstream, tf.pad(gradients[1] * upstream, [[first, last], [0, 0]])

        return total, gradient

    of_targets = tf.gather(table, targets)  # [P, D]
    summed = summed_normalisers(vectors, table) - tf.reduce_sum(tf.cast(vectors * of_targets, tf.float32))
    return summed / tf.maximum(tf.cast(tf.shape(vectors)[0], tf.float32), 1.0)


def _slices_of_positions(
    vectors: tf.Tensor, candidates: tf.Tensor, slice_elements: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the sum of logsumexps and its gradients."""
    size = tf.maximum(slice_elements // tf.shape(candidates)[0], 1)
    n_slices = tf.maximum((tf.shape(vectors)[0] + size - 1) // size, 1)
    columns = tf.transpose(candidates)

    def add(index: tf.Tensor, total: tf.Tensor, to_vectors: tf.TensorArray, to_candidates: tf.Tensor) -> tuple:
        some = vectors[index * size : (index + 1) * size]
        logits = tf.cast(tf.matmul(some, columns), tf.float32)
        shares = tf.nn.softmax(logits)
        # The likeliest item's share is at least 1 / C, so its logarithm is safe.
        total += tf.reduce_sum(tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(shares, axis=1)))
        shares = tf.cast(shares, vectors.dtype)
        to_vectors = to_vectors.write(index, tf.matmul(shares, candidates))
        return index + 1, total, to_vectors, to_candidates + tf.matmul(shares, some, transpose_a=True)

    slices = tf.TensorArray(vectors.dtype, n_slices, infer_shape=False, element_shape=[None, vectors.shape[1]])
    first = [tf.constant(0), tf.constant(0.0), slices, tf.zeros_like(candidates)]
    _, total, slices, to_candidates = tf.while_loop(lambda index, *_: index < n_slices, add, first)
    return total, slices.concat(), to_candidates


def _normalisers(vectors: tf.Tensor, candidates: tf.Tensor, n_items: tf.Tensor) -> tf.Tensor:
    """Return each position's logsumexp over all candidates, `[P]` float32."""

    def add(start: tf.Tensor, highest: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits = _logits(vectors, candidates[start : start + n_items])
        new_highest = tf.maximum(highest, tf.reduce_max(logits, axis=1))
        total *= tf.exp(highest - new_highest)
        total += tf.reduce_sum(tf.exp(logits - new_highest[:, tf.newaxis]), axis=1)
        return start + n_items, new_highest, total

    size = tf.shape(vectors)[0]
    first = [tf.constant(0), tf.fill([size], tf.float32.min), tf.zeros([size])]
    _, highest, total = tf.while_loop(lambda start, *_: start < tf.shape(candidates)[0], add, first)
    return highest + tf.math.log(total)


def _slices_of_items(
    vectors: tf.Tensor, candidates: tf.Tensor, normalisers: tf.Tensor, n_items: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of the sum of logsumexps, scoring each slice of items once more."""
    count = tf.shape(candidates)[0]

    def add(start: tf.Tensor, to_vectors: tf.Tensor, to_slices: tf.TensorArray) -> tuple:
        items = candidates[start : start + n_items]
        shares = tf.exp(_logits(vectors, items) - normalisers[:, tf.newaxis])
        shares = tf.cast(shares, vectors.dtype)
        to_slices = to_slices.write(start // n_items, tf.matmul(shares, vectors, transpose_a=True))
        return start + n_items, to_vectors + tf.matmul(shares, items), to_slices

    n_slices = (count + n_items - 1) // n_items
    slices = tf.TensorArray(vectors.dtype, n_slices, infer_shape=False, element_shape=[None, vectors.shape[1]])
    first = [tf.constant(0), tf.zeros_like(vectors), slices]
    _, to_vectors, slices = tf.while_loop(lambda start, *_: start < count, add, first)
    return to_vectors, slices.concat()


def _logits(vectors: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.matmul(vectors, items, transpose_b=True), tf.float32)
