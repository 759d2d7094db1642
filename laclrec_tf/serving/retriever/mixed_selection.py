"""The best items that a row may get, where a whole history is scored: over its edits, or by a counted model.

`MixedSelection` scores all items, `MixedSearch` those that an approximate index finds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.serving.retriever.exact_index import BLOCK, ONE_TILE, ONE_TILE_BLOCK, best_of_blocks, top_items
from laclrec_tf.serving.retriever.selection import ItemIndex, drop_listed, fill_slots, without_repeats
from laclrec_tf.serving.retriever.signatures import RetrievalModel

# Number of scores held at once, those of the variants of some histories: 128 MB, and a few copies.
CHUNK_SCORES = 2**25
# Of `MixedSearch`: the best items whose scores are summed exactly, and the sample that stands for the others.
N_BEST, N_SAMPLED = 256, 2048
ROUNDING = 1e-4  # by which a product may differ between an index and the sample
N_MIXED = 4  # versions of a history that are mixed, see `laclrec_tf.layers.EditMixture`
CHUNK_VALUES = 2**25  # numbers in the vectors of the candidates of the rows that are searched at once


class MixedSelection(tf.Module):
    """Selects items as `ItemSelection` does, by probabilities for whole histories in place of user vectors.

    The mixture needs the probabilities of all items, so each item is scored, some histories at a time, and no index is
    used.

    Args:
        probabilities_of: function from histories `[B, L]` of int32 ids to the probabilities `[B, N]` float32 of the
            items, or any other scores. Each call of a signature calls it.
        popularity: `[N + 3]` float32 scores for rows without a known item, `-inf` for what is never recommended.
        values_a_row: number of values that the function holds for a history. Default: `4 * N`, for the four versions
            of a history that are mixed.

    Example:
        >>> never = -np.inf
        >>> popularity = np.array([never, 0.5, 0.3, 0.2, never, never], np.float32)
        >>> selection = MixedSelection(lambda ids: tf.constant([[0.1, 0.7, 0.2]]), popularity)
        >>> scores, item_ids = selection.best(
        ...     tf.constant([[3]]), tf.constant([True]), tf.constant([2]), tf.constant(2), [tf.constant([[2]])]
        ... )
        >>> item_ids.numpy().tolist()
        [[3, 1]]
    """

    def __init__(
        self,
        probabilities_of: Callable[[tf.Tensor], tf.Tensor],
        popularity: np.ndarray,
        values_a_row: int | None = None,
    ) -> None:
        """Keep the source of the probabilities."""
        super().__init__(name="mixed_selection")
        self._probabilities_of = probabilities_of
        shares = popularity[1:-2]
        self.n_items = len(shares)
        self.popularity = tf.Variable(shares, trainable=False, dtype=tf.float32, name="popularity")
        self._has_retired = bool(np.isinf(shares).any())
        self._rows_at_once = max(1, CHUNK_SCORES // (values_a_row or self.n_items * N_MIXED))
        self._block = ONE_TILE_BLOCK if self.n_items <= ONE_TILE else BLOCK

    def best(
        self,
        history: tf.Tensor,
        has_item: tf.Tensor,
        k: tf.Tensor,
        width: tf.Tensor,
        excluded: list[tf.Tensor],
        allowed: tf.Tensor | None = None,
        is_restricted: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Select each row's items; see `ItemSelection.best`, `history` is `[B, L]` int32 ids, right-padded."""
        batch = tf.shape(history)[0]
        excluded = [tf.broadcast_to(ids, [batch, tf.shape(ids)[1]]) for ids in excluded]
        limits = None
        if allowed is not None:
            limits = tf.broadcast_to(allowed, [batch, tf.shape(allowed)[1]]), tf.broadcast_to(is_restricted, [batch])

        def of_rows(rows: slice) -> tuple[tf.Tensor, tf.Tensor]:
            scores = self._scores_of(history[rows], has_item[rows])
            for ids in excluded:
                places = _places(ids[rows])
                scores = tf.tensor_scatter_nd_update(scores, places, tf.fill([tf.shape(places)[0]], -np.inf))
            if limits is not None:
                listed, has_limit = (each[rows] for each in limits)
                scores = tf.cond(tf.reduce_any(has_limit), lambda: _limited(scores, listed, has_limit), lambda: scores)
            scores, places = best_of_blocks(scores, width, self._block)
            return scores, places + 1

        scores, item_ids = _in_chunks(batch, self._rows_at_once, of_rows, [tf.float32, tf.int32])
        return fill_slots(scores, item_ids, k, width)

    def scores(self, history: tf.Tensor, has_item: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
        """Score listed items; see `ItemSelection.scores`, `history` is `[B, L]` int32 ids, right-padded."""
        batch = tf.shape(history)[0]
        item_ids = tf.broadcast_to(item_ids, [batch, tf.shape(item_ids)[1]])

        def of_rows(rows: slice) -> tuple[tf.Tensor]:
            scores = self._scores_of(history[rows], has_item[rows])
            places = tf.clip_by_value(item_ids[rows] - 1, 0, self.n_items - 1)
            return (tf.where(item_ids[rows] == PAD_ID, -np.inf, tf.gather(scores, places, batch_dims=1)),)

        return _in_chunks(batch, self._rows_at_once, of_rows, [tf.float32])[0]

    def _scores_of(self, history: tf.Tensor, has_item: tf.Tensor) -> tf.Tensor:
        """Return `[B, N]`, `-inf` for a retired item."""
        scores = self._probabilities_of(history)
        popularity = tf.convert_to_tensor(self.popularity)
        scores = tf.cond(
            tf.reduce_all(has_item), lambda: scores, lambda: tf.where(has_item[:, tf.newaxis], scores, popularity)
        )
        return tf.where(tf.math.is_inf(self.popularity), -np.inf, scores) if self._has_retired else scores


class MixedSearch(tf.Module):
    """Selects items as `MixedSelection` does, but scores only what an index finds for each version of a history.

    The probability of an item needs the sum of the exponentials of all scores. It is estimated from the best items,
    which the index finds, and from a sample of the others: some percent too much or too little, for all items of a row
    alike. All items are scored for a row that has an allow-list, no known item or a long list of exclusions, and where
    the index leaves places open.

    Args:
        exact: selection that scores all items.
        model: model with `edit_vectors` and a `mixture`.
        edits: "uniform" or "learned".
        index: finds items with high scores.
        sample: `[S]` ids of the sampled items, each at most once. Default: 2,048 of them, always the same.
    """

    def __init__(
        self,
        exact: MixedSelection,
        model: RetrievalModel,
        edits: str,
        index: ItemIndex,
        sample: np.ndarray | None = None,
    ) -> None:
        """Keep the sources of the vectors and weights: functions, because a Keras model would be saved as a whole."""
        super().__init__(name="mixed_search")
        self.exact = exact
        self.n_items = exact.n_items
        self.index = index
        self._vectors_of: Any = lambda item_ids: model.edit_vectors(item_ids, edits)
        self._weights_of: Any = lambda of_mixed, events, *of_history: model.mixture.weights_of(
            model.mixture.log_probabilities(of_mixed, events), *of_history, edits
        )
        self._last_events: Any = lambda item_ids: model.mixture.last_events(item_ids)
        self._item_vectors: Any = lambda: tf.convert_to_tensor(model.item_vectors)
        if sample is None:
            sample = np.random.default_rng(0).permutation(self.n_items)[:N_SAMPLED] + 1
        # Beyond this many items for each version, scoring all items is cheaper.
        self._max_searched = max(self.n_items // N_MIXED, 1)
        self._values_an_item = N_MIXED * int(model.item_vectors.shape[1])
        self._sample = tf.Variable(sample, trainable=False, dtype=tf.int32, name="sample")

    def best(
        self,
        history: tf.Tensor,
        has_item: tf.Tensor,
        k: tf.Tensor,
        width: tf.Tensor,
        excluded: list[tf.Tensor],
        allowed: tf.Tensor | None = None,
        is_restricted: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Select each row's items; see `MixedSelection.best`. A row's result does not depend on the other rows."""
        batch = tf.shape(history)[0]
        lists = [tf.broadcast_to(ids, [batch, tf.shape(ids)[1]]) for ids in excluded]
        needed = sum((tf.math.count_nonzero(ids, axis=1, dtype=tf.int32) for ids in lists), start=k)  # [B]
        all_scored = tf.logical_or(~has_item, needed > self._max_searched)
        limits: list[tf.Tensor] = []
        if allowed is not None:
            limits = [tf.broadcast_to(allowed, [batch, tf.shape(allowed)[1]]), tf.broadcast_to(is_restricted, [batch])]
            all_scored = tf.logical_or(all_scored, limits[1])

        n_searched = tf.reduce_max(tf.where(all_scored, 0, needed))
        n_searched = tf.clip_by_value(n_searched, min(N_BEST, self.n_items), self._max_searched)

        def of_rows(rows: slice) -> tuple[tf.Tensor, tf.Tensor]:
            return self._search(history[rows], needed[rows], n_searched, width, [ids[rows] for ids in lists])

        def of_index() -> tuple[tf.Tensor, ...]:
            rows_at_once = tf.maximum(CHUNK_VALUES // self._values_an_item // n_searched, 1)
            return _in_chunks(batch, rows_at_once, of_rows, [tf.float32, tf.int32])

        def nothing() -> tuple[tf.Tensor, ...]:
            return tf.fill([batch, width], -np.inf), tf.fill([batch, width], PAD_ID)

        found = tf.cond(tf.reduce_all(all_scored), nothing, of_index)
        is_open = tf.logical_and(tf.math.is_inf(found[0]), tf.sequence_mask(k, width))
        rows = tf.where(tf.logical_or(all_scored, tf.reduce_any(is_open, axis=1)))[:, 0]
        found = fill_slots(found[0], found[1], k, width)

        def with_exact_rows() -> tuple[tf.Tensor, ...]:
            def of(values: tf.Tensor) -> tf.Tensor:
                return tf.gather(values, rows)

            exact = self.exact.best(of(history), of(has_item), of(k), width, list(map(of, lists)), *map(of, limits))
            places = rows[:, tf.newaxis]
            return tuple(tf.tensor_scatter_nd_update(*each) for each in zip(found, [places] * 2, exact, strict=True))

        return tf.cond(tf.size(rows) > 0, with_exact_rows, lambda: found)

    def scores(self, history: tf.Tensor, has_item: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
        """Score listed items exactly; see `MixedSelection.scores`."""
        return self.exact.scores(history, has_item, item_ids)

    def _search(
        self, history: tf.Tensor, needed: tf.Tensor, n_searched: tf.Tensor, width: tf.Tensor, excluded: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        vectors, noise_level = self._vectors_of(history)
        vectors = tf.cast(vectors, tf.float32)  # [B, V, D]
        table = self._item_vectors()
        events = tf.einsum("bvd,bed->bve", vectors, tf.gather(table, self._last_events(history)))
        batch, vectors = tf.shape(vectors)[0], vectors[:, :N_MIXED]
        scores, found = self.index.search(tf.reshape(vectors, [-1, vectors.shape[2]]), n_searched)
        scores, found = (tf.reshape(each, [batch, N_MIXED, -1]) for each in (scores, found))
        log_sums = self._log_sums(vectors, scores[..., :N_BEST])
        of_mixed = events[:, :N_MIXED] - log_sums[..., tf.newaxis]
        weights = self._weights_of(of_mixed, events, history, noise_level)
        # Other rows' longer lists add candidates. A row must not use more than it needs by itself.
        own = tf.sequence_mask(tf.maximum(needed, N_BEST), tf.shape(scores)[2])[:, tf.newaxis]
        found = tf.where(own & ~tf.math.is_inf(scores), found, PAD_ID)
        candidates = without_repeats(tf.reshape(found, [batch, -1]))  # [B, C]
        logits = tf.einsum("bvd,bcd->bvc", vectors, tf.gather(table, candidates))
        exponents = logits + (tf.math.log(weights) - log_sums)[..., tf.newaxis]
        mixed = tf.where(tf.equal(candidates, PAD_ID), -np.inf, tf.reduce_sum(tf.exp(exponents), axis=1))
        return top_items(drop_listed(mixed, candidates, excluded), candidates, width)

    def _log_sums(self, vectors: tf.Tensor, best: tf.Tensor) -> tf.Tensor:
        """Estimate the logarithms `[B, V]` of the sums of the exponentials of all items' scores.

        Args:
            vectors: `[B, V, D]` float32.
            best: `[B, V, K]` float32, the best scores, best first, `-inf` where there is none.
        """
        lowest = tf.reduce_min(tf.where(tf.math.is_inf(best), np.inf, best), axis=2, keepdims=True)
        n_others = self.n_items - tf.math.count_nonzero(~tf.math.is_inf(best), axis=2, dtype=tf.int32)
        rows = tf.gather(self._item_vectors(), self._sample)
        sampled = tf.einsum("bvd,sd->bvs", vectors, rows)
        is_other = sampled < lowest - ROUNDING  # the rest of the sample is among the best
        counted = tf.maximum(tf.math.count_nonzero(is_other, axis=2, dtype=tf.int32), 1)
        others = tf.reduce_logsumexp(tf.where(is_other, sampled, -1e30), axis=2)
        others += tf.math.log(tf.maximum(tf.cast(n_others / counted, tf.float32), 1e-30))
        return tf.reduce_logsumexp(tf.concat([best, others[..., tf.newaxis]], axis=2), axis=2)


def _in_chunks(
    batch: tf.Tensor,
    rows_at_once: int | tf.Tensor,
    of_rows: Callable[[slice], tuple[tf.Tensor, ...]],
    dtypes: list[tf.DType],
) -> tuple[tf.Tensor, ...]:
    """Return `of_rows` for all rows, `[B, W]` each, some rows at a time."""
    end = tf.maximum(batch, 1)  # one pass even without rows, for the width of the result

    def add_chunk(first: tf.Tensor, *found: tf.Tensor) -> tuple[tf.Tensor, ...]:
        last = tf.minimum(first + rows_at_once, end)
        more = of_rows(slice(first, last))
        first_ones = tf.equal(first, 0)
        return last, *(
            tf.cond(first_ones, lambda new=new: new, lambda old=old, new=new: tf.concat([old, new], axis=0))
            for old, new in zip(found, more, strict=True)
        )

    nothing = [tf.zeros([0, 0], dtype) for dtype in dtypes]
    shapes = [tf.TensorShape([]), *[tf.TensorShape([None, None])] * len(dtypes)]
    _, *found = tf.while_loop(
        lambda first, *_: first < end,
        add_chunk,
        [tf.constant(0), *nothing],
        shape_invariants=shapes,
        parallel_iterations=1,
    )
    return tuple(found)


def _places(item_ids: tf.Tensor) -> tf.Tensor:
    """Return the rows and columns `[P, 2]` of the scores of ids `[B, E]`; PAD has none."""
    places = tf.where(tf.not_equal(item_ids, PAD_ID))
    columns = tf.cast(tf.gather_nd(item_ids, places), tf.int64) - 1
    return tf.stack([places[:, 0], columns], axis=1)


def _limited(scores: tf.Tensor, allowed: tf.Tensor, has_limit: tf.Tensor) -> tf.Tensor:
    """Return `scores` `[B, N]`, `-inf` for what is not in a row's list `[B, A]`, in the rows that have a limit."""
    places = _places(allowed)
    listed = tf.tensor_scatter_nd_update(tf.fill(tf.shape(scores), -np.inf), places, tf.gather_nd(scores, places))
    return tf.where(has_limit[:, tf.newaxis], listed, scores)
