"""The best items that a row may get: never an excluded one, and only allowed ones where there is an allow-list."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.serving.retriever.exact_index import ExactIndex, top_items

MAX_COMPARISONS = 2.0**20
# The score of an answer where there is no item: below all others, and finite, because JSON has no infinity.
NO_SCORE = -1e30


class ItemIndex(Protocol):
    """Finds items with high scores for a user vector."""

    scores_are_exact: bool

    def search(self, vectors: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return `(scores [B, k'], item_ids [B, k'])`, best first, `-inf` in a slot without an item; any `k'`."""


class ItemSelection(tf.Module):
    """Selects the `k` best eligible items of each row, or all eligible ones if there are fewer.

    The index finds the `k` best items plus as many as are excluded; then the excluded ones are dropped. An approximate
    index may leave slots of a row open; then all items are searched for that row. If the scores of the index are not
    exact, the scores of the items it found are computed again. An allow-list needs no index: only its items are
    scored. The result for a row does not depend on the other rows of its batch.

    Args:
        exact: index that finds the best items exactly.
        popularity: `[N + 3]` float32 scores for rows without a user vector, `-inf` for what is never recommended.
        index: index that is searched first. Default: `exact`.

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
        """Select each row's items.

        Args:
            vectors: `[B, D]` float32 user vectors.
            has_vector: `[B]` bool, False for a row that gets items by popularity.
            k: `[B]` int32, number of items.
            width: int32 scalar, slots of a row, 1 to `N` and at least the largest `k`.
            excluded: lists of ids that are never selected, each `[B, E]` or `[1, E]` int32.
            allowed: `[B, A]` or `[1, A]` int32, the only ids that may be selected, PAD anywhere. Default: all ids.
            is_restricted: with `allowed`: `[B]` or `[1]` bool, False for a row in which every item is allowed.

        Returns:
            `(scores, item_ids)` `[B, width]`; PAD and `NO_SCORE` in a slot that no eligible item fills.
        """

        def of_all() -> tuple[tf.Tensor, tf.Tensor]:
            return self._best_of_all(vectors, has_vector, k, width, excluded)

        def of_allowed() -> tuple[tf.Tensor, tf.Tensor]:
            listed = without_repeats(allowed)
            scores = self.scores(vectors, has_vector, listed)
            item_ids = tf.broadcast_to(listed, tf.shape(scores))
            return top_items(drop_listed(scores, item_ids, excluded), item_ids, width)

        def nothing() -> tuple[tf.Tensor, tf.Tensor]:
            shape = tf.stack([tf.shape(vectors)[0], width])
            return tf.fill(shape, -np.inf), tf.fill(shape, PAD_ID)

        if allowed is None:
            return fill_slots(*of_all(), k, width)
        restricted = tf.cond(tf.reduce_any(is_restricted), of_allowed, nothing)
        unrestricted = tf.cond(tf.reduce_all(is_restricted), nothing, of_all)
        return fill_slots(*_where(is_restricted, restricted, unrestricted), k, width)

    def scores(self, vectors: tf.Tensor, has_vector: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
        """Score listed items.

        Args:
            vectors: `[B, D]` float32 user vectors.
            has_vector: `[B]` bool, False for a row that is scored by popularity.
            item_ids: `[B, C]` or `[1, C]` int32.

        Returns:
            `[B, C]` float32; `-inf` for PAD and for a retired item.
        """
        scores = listed_scores(vectors, tf.convert_to_tensor(self.exact.item_vectors()), item_ids)
        popular = tf.gather(self.popularity, item_ids)
        scores = tf.where(has_vector[:, tf.newaxis], scores, popular)
        return tf.where(tf.math.is_inf(popular), -np.inf, scores)

    def _best_of_all(
        self, vectors: tf.Tensor, has_vector: tf.Tensor, k: tf.Tensor, width: tf.Tensor, excluded: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        n_excluded = tf.add_n([tf.shape(ids)[1] for ids in excluded])
        # Subtracted, because a sum could overflow.
        n_searched = width + tf.minimum(n_excluded, self.n_items - width)

        def popular() -> tuple[tf.Tensor, tf.Tensor]:
            item_ids = tf.repeat(self.by_popularity[tf.newaxis, :n_searched], tf.shape(vectors)[0], axis=0)
            scores = tf.gather(self.popularity, item_ids)
            return top_items(drop_listed(scores, item_ids, excluded), item_ids, width)

        scores, item_ids = self.index.search(vectors, n_searched)
        if not self.index.scores_are_exact:
            # Other rows' longer lists add candidates. A row must not use more than it needs by itself.
            needed = sum((_n_listed(ids) for ids in excluded), start=k)
            item_ids = tf.where(tf.sequence_mask(needed, tf.shape(scores)[1]), item_ids, PAD_ID)
            found = tf.where(tf.math.is_inf(scores), PAD_ID, item_ids)
            scores = self.scores(vectors, tf.ones_like(has_vector), found)
        best = top_items(drop_listed(scores, item_ids, excluded), item_ids, width)
        if self.index is not self.exact:
            open_slots = tf.logical_and(tf.math.is_inf(best[0]), tf.sequence_mask(k, width))
            is_open = tf.logical_and(has_vector, tf.reduce_any(open_slots, axis=1))
            approximate = best
            best = tf.cond(
                tf.reduce_any(is_open),
                lambda: self._search_open_rows(is_open, approximate, vectors, n_searched, width, excluded),
                lambda: approximate,
            )
        return tf.cond(tf.reduce_all(has_vector), lambda: best, lambda: _where(has_vector, best, popular()))

    def _search_open_rows(
        self,
        is_open: tf.Tensor,
        answer: tuple[tf.Tensor, tf.Tensor],
        vectors: tf.Tensor,
        n_searched: tf.Tensor,
        width: tf.Tensor,
        excluded: list[tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Search all items for the rows `[B]` that have open slots; keep the answer of the other rows."""
        rows = tf.where(is_open)  # [R, 1]

        def of_these_rows(ids: tf.Tensor) -> tf.Tensor:
            one_for_all = tf.equal(tf.shape(ids)[0], 1)
            return tf.cond(one_for_all, lambda: ids, lambda: tf.gather_nd(ids, rows))

        scores, item_ids = self.exact.search(tf.gather_nd(vectors, rows), n_searched)
        scores = drop_listed(scores, item_ids, [of_these_rows(ids) for ids in excluded])
        scores, item_ids = top_items(scores, item_ids, width)
        return (
            tf.tensor_scatter_nd_update(answer[0], rows, scores),
            tf.tensor_scatter_nd_update(answer[1], rows, item_ids),
        )


def fill_slots(scores: tf.Tensor, item_ids: tf.Tensor, k: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Empty the slots behind a row's `k`, and those without a score: `NO_SCORE` and PAD.

    Args:
        scores: `[B, width]` float32, best first.
        item_ids: `[B, width]` int32.
        k: `[B]` int32.
        width: int32 scalar.
    """
    fills = tf.logical_and(scores > -np.inf, tf.sequence_mask(k, width))  # False for NaN too
    return tf.where(fills, scores, NO_SCORE), tf.where(fills, item_ids, PAD_ID)


def drop_listed(scores: tf.Tensor, item_ids: tf.Tensor, excluded: list[tf.Tensor]) -> tf.Tensor:
    """Return `scores`, `-inf` for ids that are in one of the lists; for shapes see `is_listed`."""
    for ids in excluded:
        scores = tf.where(is_listed(item_ids, ids), -np.inf, scores)
    return scores


def is_listed(item_ids: tf.Tensor, lists: tf.Tensor) -> tf.Tensor:
    """Return which ids are in their row's list.

    Short lists are compared with all ids at once. Long ones are sorted and searched: the cost grows with
    `(C + E) log E` instead of `C E`.

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
        # One list is searched for all rows at once: a copy for each row could take gigabytes.
        queries = tf.cond(tf.equal(tf.shape(lists)[0], 1), lambda: tf.reshape(item_ids, [1, -1]), lambda: item_ids)
        in_order = tf.sort(lists, axis=-1)
        places = tf.minimum(tf.searchsorted(in_order, queries), tf.shape(in_order)[1] - 1)
        return tf.reshape(tf.equal(tf.gather(in_order, places, batch_dims=1), queries), tf.shape(item_ids))

    # As floats, because the product could overflow.
    comparisons = tf.cast(tf.size(item_ids), tf.float32) * tf.cast(tf.shape(lists)[1], tf.float32)
    found = tf.cond(comparisons <= MAX_COMPARISONS, compare, search)
    return tf.logical_and(found, tf.not_equal(item_ids, PAD_ID))


def without_repeats(item_ids: tf.Tensor) -> tf.Tensor:
    """Replace repeated ids of a row by PAD.

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
        `[B, C]` float32 dot products, also for PAD.

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


def _n_listed(item_ids: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.not_equal(item_ids, PAD_ID), tf.int32), axis=1)


def _where(
    condition: tf.Tensor, chosen: tuple[tf.Tensor, tf.Tensor], other: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    rows = condition[:, tf.newaxis]
    return tf.where(rows, chosen[0], other[0]), tf.where(rows, chosen[1], other[1])
