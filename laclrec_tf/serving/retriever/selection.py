"""The best items that a row may get: what is excluded never comes, what is allowed alone comes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.serving.retriever.exact_index import ExactIndex

MOST_COMPARISONS = 2.0**20


def is_listed(item_ids: tf.Tensor, lists: tf.Tensor) -> tf.Tensor:
    """Say which ids are in their row's list.

    Short lists are compared with all ids at once. Long ones are sorted: then the cost grows with `(C + E) log E` in
    place of `C E`.

    Args:
        item_ids: `[B, C]` int32.
        lists: `[B, E]` int32, or `[1, E]` for one list for all rows; any `E`. PAD lists nothing.

    Returns:
        `[B, C]` bool, True = the id is in the list.

    Example:
        >>> is_listed(tf.constant([[3, 1], [4, 0]]), tf.constant([[1, 7, 0]])).numpy().tolist()
        [[False, True], [False, False]]
    """

    def compare() -> tf.Tensor:
        return tf.reduce_any(tf.equal(item_ids[:, :, tf.newaxis], lists[:, tf.newaxis, :]), axis=-1)

    def search() -> tf.Tensor:
        # One list is searched for all rows at once: copied to the batch it could take gigabytes.
        asked = tf.cond(tf.equal(tf.shape(lists)[0], 1), lambda: tf.reshape(item_ids, [1, -1]), lambda: item_ids)
        in_order = tf.sort(lists, axis=-1)
        places = tf.minimum(tf.searchsorted(in_order, asked), tf.shape(in_order)[1] - 1)
        return tf.reshape(tf.equal(tf.gather(in_order, places, batch_dims=1), asked), tf.shape(item_ids))

    # In floats, because the product could overflow.
    comparisons = tf.cast(tf.size(item_ids), tf.float32) * tf.cast(tf.shape(lists)[1], tf.float32)
    found = tf.cond(comparisons <= MOST_COMPARISONS, compare, search)
    return tf.logical_and(found, tf.not_equal(item_ids, PAD_ID))


def without_repeats(item_ids: tf.Tensor) -> tf.Tensor:
    """Replace an id that its row already holds by PAD.

    Args:
        item_ids: `[B, A]` int32.

    Returns:
        `[B, A]` int32, each row's ids in ascending order.

    Example:
        >>> without_repeats(tf.constant([[4, 2, 4, 0]])).numpy().tolist()
        [[0, 2, 4, 0]]
    """
    in_order = tf.sort(item_ids, axis=-1)
    before = tf.pad(in_order[:, :-1], [[0, 0], [1, 0]], constant_values=PAD_ID)
    return tf.where(tf.equal(in_order, before[:, : tf.shape(in_order)[1]]), PAD_ID, in_order)


def listed_scores(vectors: tf.Tensor, table: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
    """Score the listed items of each row.

    Args:
        vectors: `[B, D]` float32.
        table: `[N + 3, D]` float32, row `i` is item `i`.
        item_ids: `[B, C]` int32, or `[1, C]` for the same items in every row.

    Returns:
        `[B, C]` float32 dot products, PAD's too.

    Example:
        >>> table = tf.constant([[0.0], [1.0], [3.0], [0.0], [0.0]])
        >>> listed_scores(tf.constant([[1.0], [2.0]]), table, tf.constant([[2, 1]])).numpy().tolist()
        [[3.0, 1.0], [6.0, 2.0]]
    """

    def one_list_for_all() -> tf.Tensor:
        return tf.matmul(vectors, tf.gather(table, item_ids[0]), transpose_b=True)

    def a_list_for_each() -> tf.Tensor:
        # Row by row: the vectors of all lists at once could take gigabytes.
        return tf.map_fn(
            lambda row: tf.linalg.matvec(tf.gather(table, row[1]), row[0]),
            (vectors, item_ids),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
        )

    rows = tf.shape(item_ids)[0]
    return tf.case(
        [
            (tf.equal(rows, 1), one_list_for_all),
            (tf.equal(rows, 0), lambda: tf.zeros(tf.shape(item_ids))),
        ],
        default=a_list_for_each,
    )


class ItemIndex(Protocol):
    """Finds the items that score high for a user vector."""

    scores_are_exact: bool

    def search(self, vectors: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return `(scores [B, k'], item_ids [B, k'])`, best first, `-inf` where no item is; any `k'`."""


class ItemSelection(tf.Module):
    """Picks the `k` best eligible items, exactly as many as there are.

    A user vector's `k` best items and as many more as are excluded are looked for, then the excluded ones are dropped.
    An approximate index may leave a row's slots open in that way; then all items are searched for that row. Where its
    scores are not exact, those of the items it found are worked out anew. An allow-list needs no index: its items are
    scored, and no others. What a row gets does not depend on the other rows of its batch.

    Args:
        exact: finds the best items exactly.
        index: finds them in the first place. Default: `exact` does.
        popularity: `[N + 3]` float32 scores for rows without a user vector, `-inf` for what never comes out.

    Example:
        >>> table = tf.constant([[0.0], [1.0], [3.0], [2.0], [0.0], [0.0]])
        >>> popularity = np.array([-np.inf, 0.2, 0.5, 0.3, -np.inf, -np.inf], np.float32)
        >>> selection = ItemSelection(ExactIndex(lambda: table, 3), popularity)
        >>> scores, item_ids = selection.best(
        ...     tf.ones([1, 1]), tf.constant([True]), tf.constant([2]), tf.constant(2),
        ...     excluded=[tf.constant([[2]])]
        ... )
        >>> item_ids.numpy().tolist()
        [[3, 1]]
    """

    def __init__(self, exact: ExactIndex, popularity: np.ndarray, index: ItemIndex | None = None) -> None:
        """Sort the items by popularity."""
        super().__init__(name="item_selection")
        self.exact = exact
        self.index: ItemIndex = index or exact
        self.n_items = exact.n_items
        self.popularity = tf.Variable(popularity, trainable=False, dtype=tf.float32, name="popularity")
        order = np.argsort(-popularity[1:-2], kind="stable") + 1
        self.by_popularity = tf.Variable(order, trainable=False, dtype=tf.int32, name="by_popularity")

    def best(
        self,
        vectors: tf.Tensor,
        has_vector: tf.Tensor,
        k: tf.Tensor,
        width: tf.Tensor,
        excluded: list[tf.Tensor],
        allowed: tf.Tensor | None = None,
        is_restricted: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Pick each row's items.

        Args:
            vectors: `[B, D]` float32 user vectors.
            has_vector: `[B]` bool, False for a row that popularity must serve.
            k: `[B]` int32, how many items.
            width: int32 scalar, slots of a row, 1 to `N` and at least the largest `k` of them.
            excluded: lists of ids that never come, each `[B, E]` or `[1, E]` int32.
            allowed: `[B, A]` or `[1, A]` int32, the ids that alone may come, PAD anywhere. Default: all may come.
            is_restricted: with `allowed`: `[B]` or `[1]` bool, False for a row in which every item is allowed.

        Returns:
            `(scores, item_ids)` `[B, width]`; PAD and `-inf` in a slot that no eligible item fills.
        """
        if allowed is None:
            scores, item_ids = self._of_all(vectors, has_vector, k, width, excluded)
        else:
            scores, item_ids = self._of_some(vectors, has_vector, k, width, excluded, allowed, is_restricted)
        fills = tf.logical_and(scores > -np.inf, tf.sequence_mask(k, width))  # False for NaN too
        return tf.where(fills, scores, -np.inf), tf.where(fills, item_ids, PAD_ID)

    def _of_some(
        self,
        vectors: tf.Tensor,
        has_vector: tf.Tensor,
        k: tf.Tensor,
        width: tf.Tensor,
        excluded: list[tf.Tensor],
        allowed: tf.Tensor,
        is_restricted: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        def nothing() -> tuple[tf.Tensor, tf.Tensor]:
            shape = tf.stack([tf.shape(vectors)[0], width])
            return tf.fill(shape, -np.inf), tf.fill(shape, PAD_ID)

        of_all = tf.cond(
            tf.reduce_all(is_restricted), nothing, lambda: self._of_all(vectors, has_vector, k, width, excluded)
        )
        of_allowed = tf.cond(
            tf.reduce_any(is_restricted),
            lambda: self._of_allowed(vectors, has_vector, width, excluded, allowed),
            lambda: of_all,
        )
        return _where(is_restricted, of_allowed, of_all)

    def _of_all(
        self,
        vectors: tf.Tensor,
        has_vector: tf.Tensor,
        k: tf.Tensor,
        width: tf.Tensor,
        excluded: list[tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        n_excluded = tf.add_n([tf.shape(ids)[1] for ids in excluded])
        # Subtracted, because a sum could overflow.
        most = width + tf.minimum(n_excluded, self.n_items - width)

        def popular() -> tuple[tf.Tensor, tf.Tensor]:
            item_ids = tf.repeat(self.by_popularity[tf.newaxis, :most], tf.shape(vectors)[0], axis=0)
            scores = tf.gather(self.popularity, item_ids)
            return _top(_drop(scores, item_ids, excluded), item_ids, width)

        scores, item_ids = self.index.search(vectors, most)
        if not self.index.scores_are_exact:
            # Beyond what a row asks for itself come candidates that the longer lists of other rows let in.
            wanted = sum((_n_listed(ids) for ids in excluded), start=k)
            item_ids = tf.where(tf.sequence_mask(wanted, tf.shape(scores)[1]), item_ids, PAD_ID)
            found = tf.where(tf.math.is_inf(scores), PAD_ID, item_ids)
            scores = self.scores(vectors, tf.ones_like(has_vector), found)
        scores, item_ids = _top(_drop(scores, item_ids, excluded), item_ids, width)
        if self.index is not self.exact:
            open_slots = tf.logical_and(tf.math.is_inf(scores), tf.sequence_mask(k, width))
            is_open = tf.logical_and(has_vector, tf.reduce_any(open_slots, axis=1))
            answer = scores, item_ids
            scores, item_ids = tf.cond(
                tf.reduce_any(is_open),
                lambda: self._searched_anew(is_open, answer, vectors, most, width, excluded),
                lambda: answer,
            )
        return tf.cond(
            tf.reduce_all(has_vector),
            lambda: (scores, item_ids),
            lambda: _where(has_vector, (scores, item_ids), popular()),
        )

    def _searched_anew(
        self,
        is_open: tf.Tensor,
        answer: tuple[tf.Tensor, tf.Tensor],
        vectors: tf.Tensor,
        most: tf.Tensor,
        width: tf.Tensor,
        excluded: list[tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Search all items for the rows `[B]` that have open slots, and leave the other rows' answer."""
        rows = tf.where(is_open)  # [R, 1]

        def of_these_rows(ids: tf.Tensor) -> tf.Tensor:
            one_for_all = tf.equal(tf.shape(ids)[0], 1)
            return tf.cond(one_for_all, lambda: ids, lambda: tf.gather_nd(ids, rows))

        scores, item_ids = self.exact.search(tf.gather_nd(vectors, rows), most)
        scores = _drop(scores, item_ids, [of_these_rows(ids) for ids in excluded])
        scores, item_ids = _top(scores, item_ids, width)
        return (
            tf.tensor_scatter_nd_update(answer[0], rows, scores),
            tf.tensor_scatter_nd_update(answer[1], rows, item_ids),
        )

    def _of_allowed(
        self,
        vectors: tf.Tensor,
        has_vector: tf.Tensor,
        width: tf.Tensor,
        excluded: list[tf.Tensor],
        allowed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        listed = without_repeats(allowed)
        scores = self.scores(vectors, has_vector, listed)
        item_ids = tf.broadcast_to(listed, tf.shape(scores))
        missing = tf.maximum(width - tf.shape(scores)[1], 0)
        scores = tf.pad(_drop(scores, item_ids, excluded), [[0, 0], [0, missing]], constant_values=-np.inf)
        return _top(scores, tf.pad(item_ids, [[0, 0], [0, missing]]), width)

    def scores(self, vectors: tf.Tensor, has_vector: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
        """Score listed items.

        Args:
            vectors: `[B, D]` float32 user vectors.
            has_vector: `[B]` bool, False for a row that popularity must serve.
            item_ids: `[B, C]` or `[1, C]` int32.

        Returns:
            `[B, C]` float32; `-inf` for PAD and for a retired item.
        """
        scores = listed_scores(vectors, tf.convert_to_tensor(self.exact.item_vectors()), item_ids)
        popular = tf.gather(self.popularity, item_ids)
        scores = tf.where(has_vector[:, tf.newaxis], scores, popular)
        return tf.where(tf.math.is_inf(popular), -np.inf, scores)


def _n_listed(item_ids: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.not_equal(item_ids, PAD_ID), tf.int32), axis=1)


def _drop(scores: tf.Tensor, item_ids: tf.Tensor, excluded: list[tf.Tensor]) -> tf.Tensor:
    for ids in excluded:
        scores = tf.where(is_listed(item_ids, ids), -np.inf, scores)
    return scores


def _top(scores: tf.Tensor, item_ids: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    missing = tf.maximum(width - tf.shape(scores)[1], 0)  # an approximate index may give fewer
    scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=-np.inf)
    scores, places = tf.math.top_k(scores, width)
    return scores, tf.gather(tf.pad(item_ids, [[0, 0], [0, missing]]), places, batch_dims=1)


def _where(
    condition: tf.Tensor, chosen: tuple[tf.Tensor, tf.Tensor], other: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    rows = condition[:, tf.newaxis]
    return tf.where(rows, chosen[0], other[0]), tf.where(rows, chosen[1], other[1])
