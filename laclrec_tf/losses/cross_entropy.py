"""Cross-entropies: of the next item over the whole catalogue, with label smoothing, and of the augmenter's operations.

The losses over the catalogue are written in TensorFlow, not in `keras.ops`, because they need `tf.while_loop`.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import KerasTensor, ops

from laclrec_tf.ops.item_table import sliced_rows
from laclrec_tf.ops.replicas import share_of_mean

SLICE_ELEMENTS = 2**21
# A slice of positions adds to the gradient of every item. With fewer positions that costs more than it saves.
MIN_POSITIONS = 48
# A smaller share has lost digits or is 0.
MIN_SHARE = 1e-30


def next_item_loss(
    vectors: KerasTensor,
    item_table: KerasTensor,
    targets: KerasTensor,
    *,
    weights: KerasTensor | None = None,
    eos_allowed: bool = False,
) -> KerasTensor:
    """Return the mean cross-entropy of the targets over the whole catalogue.

    Leave padding out where shapes may change: each padded position costs a row of logits.

    Args:
        vectors: `[P, D]` float, one for each position that has a target.
        item_table: `[N + 3, D]` float.
        targets: `[P]` integer ids, PAD only where the weight is 0.
        weights: `[P]` float, 0 for a position that does not count. Default: 1 each.
        eos_allowed: Whether EOS is a candidate. Default: False.

    Returns:
        Scalar float32, 0 when there are no positions; inside a replica its share of the mean over all replicas.

    Example:
        >>> table = ops.zeros([7, 2])  # four items
        >>> round(float(next_item_loss(ops.ones([1, 2]), table, ops.array([3]))), 4)  # log 4
        1.3863

    Reference: SASRec's task with a full softmax; LACLRec (arXiv 2503.20232), next-item prediction.
    """
    return catalogue_cross_entropy(vectors, item_table, targets, specials=(1, 1 if eos_allowed else 2), weights=weights)


def label_smoothing_term(
    vectors: KerasTensor, item_table: KerasTensor, targets: KerasTensor, *, weights: KerasTensor | None = None
) -> KerasTensor:
    """Return the mean difference between the target's logit and the mean logit of the catalogue.

    The cross-entropy plus `e` times this term is the cross-entropy against smoothed labels: `1 - e` for the target, and
    `e` spread evenly over the catalogue. The mean logit equals the logit of the mean item vector, so the catalogue is
    not scored again.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float: PAD, items, EOS, MASK.
        targets: `[P]` integer ids, PAD only where the weight is 0.
        weights: `[P]` float, 0 for a position that does not count. Default: 1 each.

    Returns:
        Scalar float32, 0 when there are no positions; inside a replica its share of the mean over all replicas.

    Example:
        >>> table = ops.array([[0.0], [1.0], [2.0], [0.0], [0.0]])  # two items
        >>> float(label_smoothing_term(ops.ones([1, 1]), table, ops.array([2])))  # 2 - (1 + 2) / 2
        0.5

    Reference: Szegedy et al., "Rethinking the Inception Architecture", 2016 (arXiv 1512.00567), section 7.
    """
    weights = ops.ones_like(targets, "float32") if weights is None else ops.cast(weights, "float32")
    table = ops.convert_to_tensor(item_table)
    leads = ops.take(table, targets, axis=0) - ops.mean(table[1:-2], axis=0)
    leads = ops.sum(ops.cast(vectors, "float32") * ops.cast(leads, "float32"), axis=1)
    return share_of_mean(ops.sum(weights * leads), ops.sum(weights))


def catalogue_logits(vectors: KerasTensor, item_table: KerasTensor, *, eos_allowed: bool = False) -> KerasTensor:
    """Return the scores of vectors against every item, without the special tokens.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float: PAD, items, EOS, MASK.
        eos_allowed: Whether EOS is a candidate, as for the reverse generator. Default: False.

    Returns:
        `[P, N]` float32, column `i` for the id `i + 1`; with `eos_allowed` `[P, N + 1]`, EOS last.

    Example:
        >>> catalogue_logits(ops.ones([1, 2]), ops.ones([5, 2])).numpy().tolist()
        [[2.0, 2.0]]
    """
    candidates = ops.convert_to_tensor(item_table)[1 : -1 if eos_allowed else -2]
    candidates = ops.cast(candidates, vectors.dtype)
    return ops.cast(ops.matmul(vectors, ops.transpose(candidates)), "float32")


def log_normalisers(vectors: KerasTensor, item_table: KerasTensor) -> KerasTensor:
    """Return `logsumexp` of each vector's scores over all items: the log-normaliser of its softmax. No gradient flows.

    Args:
        vectors: `[P, D]` float.
        item_table: `[N + 3, D]` float: PAD, items, EOS, MASK.

    Returns:
        `[P]` float32. Only a slice of the scores is in memory at a time.

    Example:
        >>> round(float(log_normalisers(ops.ones([1, 2]), ops.zeros([7, 2]))[0]), 4)  # log 4
        1.3863
    """
    vectors = tf.stop_gradient(tf.cast(vectors, tf.float32))
    candidates = tf.stop_gradient(tf.convert_to_tensor(item_table))[1:-2]
    return _normalisers(vectors, *_slices_of_items(candidates, SLICE_ELEMENTS // tf.maximum(tf.shape(vectors)[0], 1)))


def operation_loss(logits: KerasTensor, operations: KerasTensor, mask: KerasTensor) -> KerasTensor:
    """Return the mean cross-entropy of KEEP, DELETE and INSERT over real positions.

    Args:
        logits: `[B, M, 3]` float.
        operations: `[B, M]` integer labels.
        mask: `[B, M]` bool, True for a real position.

    Returns:
        Scalar float, 0 when no position is real; inside a replica its share of the mean over all replicas.

    Example:
        >>> logits = ops.zeros([1, 2, 3])
        >>> round(float(operation_loss(logits, ops.array([[0, 2]]), ops.array([[True, False]]))), 4)  # log 3
        1.0986

    Reference: LACLRec (arXiv 2503.20232), training of the augmenter.
    """
    losses = keras.losses.sparse_categorical_crossentropy(operations, logits, from_logits=True)
    weights = ops.cast(mask, losses.dtype)
    return share_of_mean(ops.sum(losses * weights), ops.sum(weights))


def catalogue_cross_entropy(
    vectors: tf.Tensor,
    table: tf.Tensor,
    targets: tf.Tensor,
    specials: tuple[int, int] = (0, 0),
    weights: tf.Tensor | None = None,
    slice_elements: int = SLICE_ELEMENTS,
) -> tf.Tensor:
    """Return the weighted mean over positions of `logsumexp(v C') - v c_target`, `C` the table without its specials.

    The plain loss writes a `[P, C]` tensor of logits several times a step. On a CPU these writes cost more than the
    products. Here only one slice of the logits exists at a time, small enough for the processor's cache.

    - A small catalogue is sliced by positions: a slice covers every item, so its softmax is complete and its gradient
      is computed at once.
    - A large catalogue is sliced by items, twice: first with a running maximum and sum, then from the normalisers for
      the gradients.

    Both compute the gradients with the value. One of them has the size of the table; other memory does not grow with
    the catalogue. All slices have one size, so XLA can compile the loops.

    Args:
        vectors: `[P, D]` float.
        table: `[R, D]` float; the products are made in the dtype of `vectors`.
        targets: `[P]` integer rows of `table`, none of them special where the weight is not 0.
        specials: Number of rows at the start and at the end of the table that are no candidates. Default: (0, 0).
        weights: `[P]` float, 0 for a position that does not count. Default: 1 each.
        slice_elements: Max number of logits in memory at a time. Default: 2**21, 8 MB.

    Returns:
        Scalar float32, 0 when there are no positions; inside a replica of `tf.distribute` its share of the mean
        over all replicas.

    Example:
        >>> loss = catalogue_cross_entropy(tf.ones([1, 2]), tf.zeros([4, 2]), tf.constant([3]))
        >>> round(float(loss), 4)  # log 4
        1.3863

    Reference: the gradient made in the forward pass is Liger Kernel's (arXiv 2410.10989), the running
    logsumexp is Milakov and Gimelshein's (arXiv 1805.02867).
    """
    vectors = tf.convert_to_tensor(vectors)
    table = tf.cast(tf.convert_to_tensor(table), vectors.dtype)
    targets = tf.cast(targets, tf.int32)
    weights = tf.ones_like(targets, tf.float32) if weights is None else tf.cast(weights, tf.float32)
    first, last = specials
    n_candidates = None if table.shape[0] is None else table.shape[0] - first - last
    by_positions = n_candidates is not None and n_candidates * MIN_POSITIONS <= slice_elements

    # The specials are removed and the targets read from tensors without gradient: TensorFlow's own gradient of either
    # would write another tensor as large as the table.
    some, whole = tf.stop_gradient(vectors), tf.stop_gradient(table)
    candidates = tf.ensure_shape(whole[first : tf.shape(whole)[0] - last], [n_candidates, whole.shape[1]])
    of_targets = tf.cast(tf.gather(whole, targets), tf.float32)  # [P, D]
    if by_positions:
        total, to_vectors, to_candidates = _slices_of_positions(
            some, candidates, targets - first, weights, slice_elements
        )
    else:
        items = _slices_of_items(candidates, slice_elements // tf.maximum(tf.shape(some)[0], 1))
        normalisers = _normalisers(some, *items)
        scores = tf.reduce_sum(tf.cast(some, tf.float32) * of_targets, axis=1)
        # Rounded as the products of the normalisers are, or the loss of a certain target would not be 0.
        scores = tf.cast(tf.cast(scores, some.dtype), tf.float32)
        total = tf.reduce_sum(weights * (normalisers - scores))
        to_vectors, to_candidates = _gradients(some, *items, normalisers, weights)
    to_table = tf.pad(to_candidates[: tf.shape(candidates)[0]], [[first, last], [0, 0]])
    to_table = tf.tensor_scatter_nd_sub(
        to_table, targets[:, tf.newaxis], tf.cast(some, tf.float32) * weights[:, tf.newaxis]
    )
    to_vectors -= of_targets * weights[:, tf.newaxis]
    summed = _with_gradients(total, (vectors, to_vectors), (table, to_table))
    return share_of_mean(summed, tf.reduce_sum(weights))


def _with_gradients(value: tf.Tensor, *gradients: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Give a scalar these gradients, which must be finite.

    `tf.custom_gradient` would keep every graph that it was traced in, and with it each model's training step, until the
    process ends.
    """
    linear = tf.add_n([tf.reduce_sum(tf.cast(to, tf.float32) * tf.stop_gradient(by)) for to, by in gradients])
    return tf.stop_gradient(value) + (linear - tf.stop_gradient(linear))


def _slices_of_positions(
    vectors: tf.Tensor, candidates: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, slice_elements: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the weighted sum of losses, and the gradients of the weighted sum of logsumexps, in float32."""
    count, width = tf.shape(vectors)[0], vectors.shape[1]
    some_vectors, n_slices, size = sliced_rows(vectors, tf.maximum(slice_elements // tf.shape(candidates)[0], 1))
    some_weights, *_ = sliced_rows(weights[:, tf.newaxis], size)
    # A position that does not count may have no target among the candidates.
    some_targets, *_ = sliced_rows(tf.clip_by_value(targets, 0, tf.shape(candidates)[0] - 1)[:, tf.newaxis], size)
    columns = tf.transpose(candidates)

    def add(index: tf.Tensor, total: tf.Tensor, to_vectors: tf.Tensor, to_columns: tf.Tensor) -> tuple[tf.Tensor, ...]:
        some, weight = tf.gather(some_vectors, index), tf.gather(some_weights, index)
        target = tf.gather(some_targets, index)
        logits = tf.cast(tf.matmul(some, columns), tf.float32)
        shares = tf.nn.softmax(logits)
        losses = _losses(logits, shares, target)
        shares = tf.cast(shares, vectors.dtype)
        to_some = tf.cast(tf.matmul(shares, candidates), tf.float32) * weight
        # The sums over slices stay in float32 whatever the products are made in.
        to_columns += tf.cast(tf.matmul(some * tf.cast(weight, some.dtype), shares, transpose_a=True), tf.float32)
        return (
            index + 1,
            total + tf.reduce_sum(losses * weight),
            tf.tensor_scatter_nd_update(to_vectors, [[index]], to_some[tf.newaxis]),
            to_columns,
        )

    first = [tf.constant(0), tf.constant(0.0), tf.zeros_like(some_vectors, tf.float32)]
    first.append(tf.zeros_like(columns, tf.float32))
    _, total, to_vectors, to_columns = tf.while_loop(lambda index, *_: index < n_slices, add, first)
    return total, tf.reshape(to_vectors, [n_slices * size, width])[:count], tf.transpose(to_columns)


def _losses(logits: tf.Tensor, shares: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return `-log(share of the target)`, `[P, 1]` float32, without one more pass over the logits."""
    of_targets = tf.gather(shares, targets, batch_dims=1)

    def exact() -> tf.Tensor:
        # The likeliest item's share is at least 1 / C, so its logarithm is safe.
        normalisers = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(shares, axis=1))
        return normalisers[:, tf.newaxis] - tf.gather(logits, targets, batch_dims=1)

    return tf.cond(tf.reduce_all(of_targets > MIN_SHARE), lambda: -tf.math.log(of_targets), exact)


def _slices_of_items(candidates: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the candidates by slices `[S, C / S, D]`, their number, and 0 or -inf `[S, C / S]` for the padding."""
    slices, n_slices, size = sliced_rows(candidates, tf.maximum(size, 1))
    place = tf.reshape(tf.range(n_slices * size), [n_slices, size])
    return slices, n_slices, tf.where(place < tf.shape(candidates)[0], 0.0, float("-inf"))


def _normalisers(vectors: tf.Tensor, slices: tf.Tensor, n_slices: tf.Tensor, padding: tf.Tensor) -> tf.Tensor:
    """Return each position's logsumexp over all candidates, `[P]` float32."""

    def add(index: tf.Tensor, highest: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits = _logits(vectors, tf.gather(slices, index)) + tf.gather(padding, index)
        new_highest = tf.maximum(highest, tf.reduce_max(logits, axis=1))
        total *= tf.exp(highest - new_highest)
        total += tf.reduce_sum(tf.exp(logits - new_highest[:, tf.newaxis]), axis=1)
        return index + 1, new_highest, total

    size = tf.shape(vectors)[0]
    first = [tf.constant(0), tf.fill([size], tf.float32.min), tf.zeros([size])]
    _, highest, total = tf.while_loop(lambda index, *_: index < n_slices, add, first)
    return highest + tf.math.log(total)


def _gradients(
    vectors: tf.Tensor,
    slices: tf.Tensor,
    n_slices: tf.Tensor,
    padding: tf.Tensor,
    normalisers: tf.Tensor,
    weights: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of the weighted sum of logsumexps in float32, scoring each slice of items once more."""
    weighted = vectors * tf.cast(weights, vectors.dtype)[:, tf.newaxis]

    def add(index: tf.Tensor, to_vectors: tf.Tensor, to_slices: tf.Tensor) -> tuple[tf.Tensor, ...]:
        items = tf.gather(slices, index)
        shares = _logits(vectors, items) + tf.gather(padding, index) - normalisers[:, tf.newaxis]
        # This product may round otherwise than the one of the normalisers. No share is above 1.
        shares = tf.cast(tf.exp(tf.minimum(shares, 0.0)), vectors.dtype)
        to_items = tf.cast(tf.matmul(shares, weighted, transpose_a=True), tf.float32)
        to_slices = tf.tensor_scatter_nd_update(to_slices, [[index]], to_items[tf.newaxis])
        return index + 1, to_vectors + tf.cast(tf.matmul(shares, items), tf.float32), to_slices

    first = [tf.constant(0), tf.zeros_like(vectors, tf.float32), tf.zeros_like(slices, tf.float32)]
    _, to_vectors, to_slices = tf.while_loop(lambda index, *_: index < n_slices, add, first)
    return to_vectors * weights[:, tf.newaxis], tf.reshape(to_slices, [-1, vectors.shape[1]])


def _logits(vectors: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.matmul(vectors, items, transpose_b=True), tf.float32)
