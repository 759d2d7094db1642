"""The model of the baselines that are counted, not trained: popular items, newest items, and followers of items."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from laclrec_tf.models.arguments import as_history
from laclrec_tf.models.catalogue import Catalogue
from laclrec_tf.ops.masking import history_lengths, is_item, pack_histories

# Popularity decides between items of equal score. It weighs as much as float32 needs to tell the items' places apart.
TIE_WEIGHT = 1e-3


@keras.saving.register_keras_serializable(package="laclrec_tf")
class CountModel(keras.Model):
    """Scores items by how often they followed the last items of a history in the training data.

    `score(j) = sum over the last items i of (1 + age)^-decay * weight(i, j) + popularity(j)`. The newest item has the
    age 0; of an item that a history has twice, the newest event counts. `weight(i, j)` is the number of times that `j`
    followed `i`, a follower at distance `d` counting `1 / d`, over `n(i)^0.5 * n(j)^discount`, `n` the number of events
    of an item. `popularity` is so small that it decides between items of equal score only; no two items have the same.
    There are no user vectors and no item vectors. `laclrec_tf.training.counting.count_model` counts such a model.

    Args:
        n_items: Catalogue size `N`.
        max_length: Max length of a history. Default: 50.
        n_last: Number of the last items that are read; 0 for none, so that popularity alone decides. Default: None, all
            items of the history.
        decay: Exponent of the decay with age, 0 for none. Default: 1.
        max_distance: Max distance of a follower that counts, at least 1; 0 scores the items of the history themselves.
            Default: 10.
        n_neighbours: Max number of followers kept for each item, those with the largest weights. Default: 100.
        discount: Exponent of the popularity that a follower's count is divided by. Default: 0.25.
        exclude_history: Whether the items of a history are not to be recommended. Validation, `recommend` and an export
            follow it. Default: True.
        **kwargs: Passed on to `keras.Model`.

    Call arguments:
        inputs: `[B, L]` integer histories, as of `LACLRec`.

    Returns:
        `[B, N + 3]` float32 scores; PAD, EOS and MASK have `-inf`.

    Raises:
        ValueError: an argument is out of its range; in a call, `inputs` are not integer histories.

    Example:
        >>> model = CountModel(n_items=3, n_last=1, n_neighbours=1)
        >>> model.set_counts(np.array([1, 2, 3]), np.array([[3], [1], [0]]), np.array([[0.7], [0.2], [0.0]]))
        >>> model.recommend([[2, 1]], k=2, exclude_history=False)[0].numpy().tolist()
        [[3, 1]]
    """

    has_augmenter: ClassVar = False

    def __init__(
        self,
        n_items: int,
        *,
        max_length: int = 50,
        n_last: int | None = None,
        decay: float = 1.0,
        max_distance: int = 10,
        n_neighbours: int = 100,
        discount: float = 0.25,
        exclude_history: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.n_items = n_items
        self.max_length = max_length
        self.n_last = n_last
        self.decay = decay
        self.max_distance = max_distance
        self.n_neighbours = n_neighbours
        self.discount = discount
        self.exclude_history = exclude_history
        _check(self.arguments)
        rows = n_items + 3
        self.popularity = self.add_weight(shape=(rows,), initializer="zeros", trainable=False, name="popularity")
        if self.has_neighbours:
            table: dict[str, Any] = {"shape": (rows, n_neighbours), "initializer": "zeros", "trainable": False}
            self.neighbours = self.add_weight(dtype="int32", name="neighbours", **table)
            self.neighbour_weights = self.add_weight(dtype="float32", name="neighbour_weights", **table)
        self.built = True

    def set_counts(
        self, by_popularity: np.ndarray, neighbours: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> None:
        """Set what was counted.

        Args:
            by_popularity: `[N]` ids of all items, the most popular one first.
            neighbours: `[N, n_neighbours]` integer ids of each item's followers, item 1 first, 0 for none. Default:
                None, for a model without followers.
            weights: `[N, n_neighbours]` their weights, 0 for none. Default: None, for a model without followers.
        """
        popularity = np.zeros(self.n_items + 3, np.float32)
        popularity[by_popularity] = np.arange(self.n_items, 0, -1) / self.n_items
        self.popularity.assign(popularity * (1.0 if self.n_last == 0 else TIE_WEIGHT))
        if neighbours is not None and weights is not None:
            self.neighbours.assign(np.pad(neighbours, ((1, 2), (0, 0))))
            self.neighbour_weights.assign(np.pad(weights, ((1, 2), (0, 0))))

    @property
    def has_neighbours(self) -> bool:
        """Whether scores need the followers of items."""
        return self.n_last != 0 and self.max_distance > 0

    @property
    def values_a_row(self) -> int:
        """Number of values that scoring one history holds at a time, about."""
        n_read = self.max_length if self.n_last is None else min(self.n_last, self.max_length)
        return 4 * (self.n_items + n_read * (self.n_neighbours if self.has_neighbours else 1))

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        """Convert histories to a tensor, then call the model. Keras itself takes neither lists nor ragged tensors."""
        return super().__call__(as_history(inputs, self.n_items), *args, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the scores `[B, N + 3]` of histories."""
        return self.scores_of(inputs)

    def score(self, scores: tf.Tensor) -> tf.Tensor:
        """Return the scores that a call returned: there are no user vectors in between."""
        return scores

    def scores_of(self, history: tf.Tensor, edits: str = "none") -> tf.Tensor:
        """Return catalogue scores `[B, N + 3]` of histories `[B, L]`; PAD, EOS and MASK have `-inf`.

        Args:
            history: `[B, L]` integer ids, PAD anywhere.
            edits: "none" or "chosen", which is the same here: nothing is mixed.

        Raises:
            ValueError: `edits` is something else.
        """
        if edits not in ("none", "chosen"):
            raise ValueError(f"Argument `edits` must be 'none': the model is counted. Received: edits={edits!r}.")
        return tf.pad(self.item_scores(history), [[0, 0], [1, 2]], constant_values=-np.inf)

    def item_scores(self, history: tf.Tensor) -> tf.Tensor:
        """Return the scores `[B, N]` of the items for histories `[B, L]`, PAD anywhere; item 1 first."""
        n_last = self.max_length if self.n_last is None else min(self.n_last, self.max_length)
        popularity = tf.convert_to_tensor(self.popularity)[tf.newaxis]
        batch, width = tf.shape(history)[0], self.n_items + 3
        if not n_last:
            return tf.tile(popularity, [batch, 1])[:, 1:-2]
        item_ids = pack_histories(tf.cast(history, tf.int32), n_last)  # [B, W]
        places = item_ids + tf.range(batch)[:, tf.newaxis] * width  # in the flat scores
        ages = history_lengths(item_ids)[:, tf.newaxis] - 1 - tf.range(tf.shape(item_ids)[1])
        weights = tf.pow(tf.cast(1 + tf.maximum(ages, 0), tf.float32), -self.decay)
        weights = tf.where(is_item(item_ids), weights, 0.0)
        newest = tf.math.unsorted_segment_max(
            tf.where(is_item(item_ids), -ages, -self.max_length), places, batch * width
        )
        weights = tf.where(tf.equal(tf.gather(newest, places), -ages), weights, 0.0)
        if self.has_neighbours:
            followers = tf.gather(tf.convert_to_tensor(self.neighbours), item_ids)  # [B, W, M]
            places = followers + tf.range(batch)[:, tf.newaxis, tf.newaxis] * width
            weights = weights[..., tf.newaxis] * tf.gather(tf.convert_to_tensor(self.neighbour_weights), item_ids)
        counted = tf.math.unsorted_segment_sum(weights, places, batch * width)
        return (tf.reshape(counted, [batch, width]) + popularity)[:, 1:-2]

    def recommend(
        self, history: Any, k: int = 10, exclude_history: bool | None = None, edits: str = "none"
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Recommend the next items, see `EditAwareModel.recommend`. `edits` must be "none" or "chosen"."""
        history = as_history(history, self.n_items)
        exclude_history = self.exclude_history if exclude_history is None else exclude_history
        return Catalogue.best_of(self.scores_of(history, edits), k, exclude=history if exclude_history else None)

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments by name, with the values in force."""
        names = ("n_items", "max_length", "n_last", "decay", "max_distance", "n_neighbours", "discount")
        return {name: getattr(self, name) for name in (*names, "exclude_history")}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, with the name."""
        return {"name": self.name, **self.arguments}

    def __repr__(self) -> str:
        """Show the arguments."""
        return f"CountModel({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def _check(arguments: dict[str, Any]) -> None:
    lowest = {
        "n_items": 1,
        "max_length": 1,
        "n_last": 0,
        "max_distance": 0,
        "n_neighbours": 1,
        "decay": 0,
        "discount": 0,
    }
    for name, value in arguments.items():
        if name == "exclude_history" or (name == "n_last" and value is None):
            continue
        if name not in ("decay", "discount") and not isinstance(value, Integral):
            raise ValueError(f"Argument `{name}` must be a whole number. Received: {name}={value!r}.")
        if not lowest[name] <= value < float("inf"):
            raise ValueError(
                f"Argument `{name}` must be {lowest[name]} or above, and finite. Received: {name}={value}."
            )
