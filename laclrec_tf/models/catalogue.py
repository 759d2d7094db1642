"""The catalogue: the item vectors that score user vectors, their loss, the best items, and adding items later."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import KerasTensor, ops

from laclrec_tf.item_vocabulary import PAD_ID
from laclrec_tf.layers.item_embedding import ItemEmbedding
from laclrec_tf.losses.cross_entropy import (
    catalogue_logits,
    label_smoothing_term,
    log_normalisers,
    next_item_loss,
)
from laclrec_tf.losses.sampled_softmax import draw_negatives, sampled_softmax_loss
from laclrec_tf.ops.masking import is_item

if TYPE_CHECKING:
    from laclrec_tf.models.laclrec import LACLRec


@keras.saving.register_keras_serializable(package="laclrec_tf")
class Catalogue(keras.layers.Layer):
    """The items of an embedding as candidates: scores, the best items, and the loss over them.

    The layer adds no weights. It reads the table of `item_embedding`, so an item has one vector for input and output.

    Args:
        item_embedding: Embedding of `N + 3` ids: PAD, items, EOS, MASK.
        n_negatives: Number of sampled items that the loss compares a target with. Default: 0, the whole catalogue.
        seed: Seed of the sampled negatives, or a `keras.random.SeedGenerator`. Default: None, a random seed.
        **kwargs: Passed on to `keras.layers.Layer`.

    Call arguments:
        user_vectors: `[B, D]` float.

    Returns:
        `[B, N + 3]` float32 scores: dot products, and `-inf` for PAD, EOS and MASK.

    Example:
        >>> catalogue = Catalogue(ItemEmbedding(n_rows=23, width=8))
        >>> catalogue(ops.ones([2, 8])).shape
        TensorShape([2, 23])
        >>> item_ids, scores = catalogue.best_of(catalogue(ops.ones([2, 8])), k=5)
        >>> item_ids.shape
        TensorShape([2, 5])
    """

    def __init__(
        self,
        item_embedding: ItemEmbedding,
        n_negatives: int = 0,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.item_embedding = item_embedding
        self.n_negatives = n_negatives
        is_seed = seed is None or isinstance(seed, int)
        self.seed_generator: keras.random.SeedGenerator = keras.random.SeedGenerator(seed) if is_seed else seed

    @property
    def n_items(self) -> int:
        """The number of items, `N`."""
        return self.item_embedding.n_rows - 3

    @property
    def item_table(self) -> keras.Variable:
        """The `[N + 3, D]` float32 variable of item vectors; row `i` belongs to id `i`."""
        return self.item_embedding.embeddings

    def build(self, user_vectors_shape: tuple[int | None, ...] = (None, None)) -> None:
        """Create the item table if the embedding has none yet."""
        if not self.item_embedding.built:
            self.item_embedding.build()
        self.built = True

    def initialise(self, vectors: np.ndarray) -> None:
        """Set the vectors of the items; PAD, EOS and MASK keep theirs.

        Args:
            vectors: `[N, D]` float, the vector of item 1 first.

        Raises:
            ValueError: `vectors` has another shape.
        """
        expected = (self.n_items, self.item_table.shape[1])
        if tuple(vectors.shape) != expected:
            raise ValueError(f"Argument `vectors` must have the shape {expected}. Received: {tuple(vectors.shape)}.")
        self.item_table.value[1:-2].assign(ops.cast(vectors, "float32"))

    def call(self, user_vectors: KerasTensor) -> KerasTensor:
        """Return scores `[B, N + 3]`."""
        scores = catalogue_logits(ops.cast(user_vectors, "float32"), self.item_table)
        return ops.pad(scores, [[0, 0], [1, 2]], constant_values=-float("inf"))

    @staticmethod
    def best_of(scores: KerasTensor, k: int, exclude: KerasTensor | None = None) -> tuple[KerasTensor, KerasTensor]:
        """Return the `k` items with the highest scores.

        Args:
            scores: `[B, N + 3]` float32, `-inf` for PAD, EOS and MASK.
            k: Number of items; at most `N` are returned.
            exclude: `[B, E]` integer ids that are not returned, such as each user's history, 0 for none. Default:
                None.

        Returns:
            `(item_ids [B, k], scores [B, k])`, best first: int32 and float32. If fewer than `k` items are left for a
            row, the places behind them hold PAD (0) and `-inf`.

        Raises:
            ValueError: `k` is no integer or below 1.
        """
        try:
            k = operator.index(k)
        except TypeError:
            raise ValueError(f"Argument `k` must be a whole number. Received: k={k!r}.") from None
        if k < 1:
            raise ValueError(f"Argument `k` must be at least 1. Received: k={k}.")
        if exclude is not None:
            rows = ops.broadcast_to(ops.arange(ops.shape(exclude)[0], dtype="int32")[:, None], ops.shape(exclude))
            places = ops.stack([ops.reshape(rows, (-1,)), ops.cast(ops.reshape(exclude, (-1,)), "int32")], axis=-1)
            scores = ops.scatter_update(scores, places, ops.full((ops.size(exclude),), -float("inf"), "float32"))
        scores, item_ids = ops.top_k(scores, min(k, scores.shape[1] - 3))
        return ops.where(ops.isneginf(scores), PAD_ID, item_ids), scores

    def loss(
        self,
        vectors: KerasTensor,
        targets: KerasTensor,
        weights: KerasTensor | None = None,
        eos_allowed: bool = False,
        label_smoothing: float = 0.0,
    ) -> KerasTensor:
        """Return the mean cross-entropy of the targets over the catalogue, or over a sample of it with `n_negatives`.

        Args:
            vectors: `[P, D]` float.
            targets: `[P]` integer ids; PAD only where the weight is 0.
            weights: `[P]` float, 0 for a position that does not count. Default: 1 each.
            eos_allowed: EOS may be a target. Default: False.
            label_smoothing: Share of each target's probability that is spread over all items. Default: 0.

        Returns:
            Scalar float32; inside a replica its share of the mean over all replicas.
        """
        table = self.item_table
        if self.n_negatives:
            negatives = self.draw_negatives()
            return sampled_softmax_loss(vectors, table, targets, negatives, weights=weights, eos_allowed=eos_allowed)
        loss = next_item_loss(vectors, table, targets, weights=weights, eos_allowed=eos_allowed)
        if label_smoothing:
            loss += label_smoothing * label_smoothing_term(vectors, table, targets, weights=weights)
        return loss

    def log_normalisers(self, vectors: KerasTensor) -> KerasTensor:
        """Return the `logsumexp` `[...]` float32 of each vector's scores over all items, of vectors `[..., D]`."""
        normalisers = log_normalisers(ops.reshape(vectors, (-1, vectors.shape[-1])), self.item_table)
        return ops.reshape(normalisers, ops.shape(vectors)[:-1])

    def draw_negatives(self) -> KerasTensor:
        """Draw `[n_negatives]` int32 item ids; frequent items are drawn more often."""
        uniform = keras.random.uniform((self.n_negatives,), dtype="float64", seed=self.seed_generator)
        return draw_negatives(uniform, self.n_items)

    def draw_candidates(self, item_ids: KerasTensor) -> KerasTensor:
        """Return `[n_negatives + P]` ids: drawn items, then the `P` given ids.

        Args:
            item_ids: Integer ids of any shape, `P` in all. The first id replaces each 0.
        """
        item_ids = ops.reshape(item_ids, (-1,))
        item_ids = ops.where(is_item(item_ids), item_ids, item_ids[0])
        return ops.concatenate([self.draw_negatives(), item_ids])

    def compute_output_shape(self, user_vectors_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `[B, N + 3]`."""
        return (*user_vectors_shape[:-1], self.n_items + 3)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "item_embedding": keras.saving.serialize_keras_object(self.item_embedding),
            "n_negatives": self.n_negatives,
            "seed": self.seed_generator.get_config()["seed"],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Catalogue:
        """Build the layer from `get_config()`."""
        return cls(**(config | {"item_embedding": keras.saving.deserialize_keras_object(config["item_embedding"])}))


def grown_model(model: LACLRec, vectors: np.ndarray) -> LACLRec:
    """Return a copy of a model for a larger catalogue.

    Items keep their ids and vectors. EOS and MASK keep their vectors and get the ids after the new items. New items
    are as popular as the least popular one. All other weights are equal, because only the item table and the
    popularity depend on the size of the catalogue. A compiled model stays
    compiled and keeps its optimizer's state: momentum and velocity of new rows are 0, and their running mean is the
    rows themselves.

    Args:
        model: A model of `N` items; it does not change.
        vectors: `[A, D]` vectors of the new items, which get the ids `N + 1` to `N + A`; `A` may be 0.

    Returns:
        A model of `N + A` items.

    Raises:
        ValueError: `vectors` has another shape.

    Example:
        >>> from laclrec_tf.models import LACLRec
        >>> model = LACLRec(n_items=3, width=8)
        >>> grown = grown_model(model, np.ones([2, 8]))
        >>> grown.n_items, grown.encoder.item_table.shape
        (5, TensorShape([8, 8]))
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != model.width:
        raise ValueError(f"Argument `vectors` must have the shape [A, {model.width}]. Received: {vectors.shape}.")
    grown = type(model).from_config(model.get_config() | {"n_items": model.n_items + len(vectors)})
    for old, new in zip(model.weights, grown.weights, strict=True):
        if old is model.encoder.item_table:
            new.assign(_with_rows(old, vectors))
        elif old is model.mixture.log_popularity:  # a new item is as popular as the least popular one
            new.assign(_with_rows(old, np.full(len(vectors), old.numpy().min())))
        else:
            new.assign(old)
    # The mean normaliser grows with the catalogue; by how much, histories of one popular item tell.
    popular = np.argsort(-model.mixture.log_popularity.numpy()[1:-2], kind="stable")[:512, np.newaxis] + 1
    states = model.user_vectors(popular.astype(np.int32), training=False)
    shift = grown.catalogue.log_normalisers(states) - model.catalogue.log_normalisers(states)
    grown.mixture.typical_normaliser.assign_add(ops.mean(shift))
    if model.compiled:
        grown.compile_from_config(model.get_compile_config())
        _copy_optimizer(model, grown, vectors)
    return grown


def _copy_optimizer(model: LACLRec, grown: LACLRec, vectors: np.ndarray) -> None:
    for old, new in zip(model.optimizer.variables, grown.optimizer.variables, strict=True):
        if tuple(old.shape) == tuple(new.shape):
            new.assign(old)
        else:  # of the item table
            new.assign(_with_rows(old, vectors if "average" in old.path else np.zeros_like(vectors)))


def _with_rows(table: Any, rows: np.ndarray) -> np.ndarray:
    """Insert rows between the last item and EOS."""
    old = table.numpy()
    return np.concatenate([old[:-2], rows.astype(old.dtype), old[-2:]])
