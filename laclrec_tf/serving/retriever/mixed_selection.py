"""The best items that a row may get, where predictions are mixed over the edits of its history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from laclrec_tf.serving.retriever.exact_index import best_of_blocks
from laclrec_tf.serving.retriever.selection import fill_slots

# Number of scores held at once, those of the variants of some histories: 128 MB, and a few copies.
CHUNK_SCORES = 2**25
MAX_VARIANTS = 6  # of a history, see `laclrec_tf.layers.EditMixture`


class MixedSelection(tf.Module):
    """Selects items as `ItemSelection` does, by scores of whole histories in place of user vectors.

    The mixture needs the probabilities of all items, so each item is scored, some histories at a time, and no index is
    used.

    Args:
        scores_of: function from histories `[B, L]` of int32 ids to scores `[B, N + 3]` float32, `-inf` for PAD, EOS and
            MASK. Each call of a signature calls it.
        popularity: `[N + 3]` float32 scores for rows without a known item, `-inf` for what is never recommended.

    Example:
        >>> never = -np.inf
        >>> popularity = np.array([never, 0.5, 0.3, 0.2, never, never], np.float32)
        >>> selection = MixedSelection(lambda ids: tf.constant([[never, 0.1, 0.7, 0.2, never, never]]), popularity)
        >>> scores, item_ids = selection.best(
        ...     tf.constant([[3]]), tf.constant([True]), tf.constant([2]), tf.constant(2), [tf.constant([[2]])]
        ... )
        >>> item_ids.numpy().tolist()
        [[3, 1]]
    """

    def __init__(self, scores_of: Callable[[tf.Tensor], tf.Tensor], popularity: np.ndarray) -> None:
        """Keep the source of the scores."""
        super().__init__(name="mixed_selection")
        self._scores_of = scores_of
        self.n_items = len(popularity) - 3
        self.popularity = tf.Variable(popularity, trainable=False, dtype=tf.float32, name="popularity")
        self._rows_at_once = max(1, CHUNK_SCORES // (self.n_items * MAX_VARIANTS))

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
            scores = self._all_scores(history[rows], has_item[rows])
            for ids in excluded:
                scores = tf.where(_is_listed(ids[rows], self.n_items), -np.inf, scores)
            if limits is not None:
                listed, has_limit = (each[rows] for each in limits)
                may = tf.logical_or(~has_limit[:, tf.newaxis], _is_listed(listed, self.n_items))
                scores = tf.where(may, scores, -np.inf)
            return best_of_blocks(scores, width)

        scores, item_ids = self._for_chunks(batch, of_rows, [tf.float32, tf.int32])
        return fill_slots(scores, item_ids, k, width)

    def scores(self, history: tf.Tensor, has_item: tf.Tensor, item_ids: tf.Tensor) -> tf.Tensor:
        """Score listed items; see `ItemSelection.scores`, `history` is `[B, L]` int32 ids, right-padded."""
        batch = tf.shape(history)[0]
        item_ids = tf.broadcast_to(item_ids, [batch, tf.shape(item_ids)[1]])

        def of_rows(rows: slice) -> tuple[tf.Tensor]:
            return (tf.gather(self._all_scores(history[rows], has_item[rows]), item_ids[rows], batch_dims=1),)

        return self._for_chunks(batch, of_rows, [tf.float32])[0]

    def _all_scores(self, history: tf.Tensor, has_item: tf.Tensor) -> tf.Tensor:
        """Return `[B, N + 3]`, `-inf` for what is never recommended."""
        scores = tf.where(has_item[:, tf.newaxis], self._scores_of(history), self.popularity)
        return tf.where(tf.math.is_inf(self.popularity), -np.inf, scores)

    def _for_chunks(
        self, batch: tf.Tensor, of_rows: Callable[[slice], tuple[tf.Tensor, ...]], dtypes: list[tf.DType]
    ) -> tuple[tf.Tensor, ...]:
        """Return `of_rows` for all rows, `[B, W]` each, some rows at a time."""
        end = tf.maximum(batch, 1)  # one pass even without rows, for the width of the result

        def add_chunk(first: tf.Tensor, *found: tf.Tensor) -> tuple[tf.Tensor, ...]:
            last = tf.minimum(first + self._rows_at_once, end)
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


def _is_listed(item_ids: tf.Tensor, n_items: int) -> tf.Tensor:
    """Return which ids are in each row's list: `[B, E]` int32 to `[B, N + 3]` bool; PAD lists nothing that matters."""
    batch, count = tf.unstack(tf.shape(item_ids))
    rows = tf.repeat(tf.range(batch), count)
    places = tf.stack([rows, tf.reshape(item_ids, [-1])], axis=1)
    marks = tf.scatter_nd(places, tf.ones_like(rows), [batch, n_items + 3])
    return marks > 0
