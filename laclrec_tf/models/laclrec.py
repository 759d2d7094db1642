"""LACLRec: next-item prediction, contrasted with a learned and a random view of each history.

Source: LACLRec (arXiv 2503.20232). SASRec and CL4SRec are the same model with some terms off, see
`laclrec_tf.models.presets`.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import keras
import numpy as np
from keras import KerasTensor, ops

from laclrec_tf.layers.deletion_evidence import DeletionEvidence
from laclrec_tf.layers.edit_mixture import N_MIXED, EditMixture
from laclrec_tf.layers.sequence_augmenter import Edits, SequenceAugmenter
from laclrec_tf.layers.sequence_encoder import SequenceEncoder
from laclrec_tf.layers.user_encoder import UserEncoder
from laclrec_tf.losses.contrastive import info_nce, triplet_loss
from laclrec_tf.losses.cross_entropy import operation_loss
from laclrec_tf.models.arguments import (
    as_history,
    batch_requirements,
    check_arguments,
    check_batch,
    check_history,
    default_label_smoothing,
    default_max_edited_length,
)
from laclrec_tf.models.catalogue import Catalogue
from laclrec_tf.models.history_editor import HistoryEditorModel
from laclrec_tf.models.training_statistics import (
    REPAIR_STATISTICS,
    VIEW_STATISTICS,
    Statistics,
    Tensors,
    repair_statistics,
    view_statistics,
)
from laclrec_tf.ops.masking import (
    gather_last,
    history_lengths,
    is_item,
    pack_histories,
    positions_where,
    take_prefixes,
    trim_padding,
)


@keras.saving.register_keras_serializable(package="laclrec_tf")
class LACLRec(HistoryEditorModel):
    """Sequential recommender trained on three views of each history: raw, learned and random (arXiv 2503.20232).

    `L = L_rec + alpha * L_cl + beta * L_tri + lambda_aug * L_aug + gamma * L_view`. A term with weight 0 is not
    computed.

    Args:
        n_items: Catalogue size `N`.
        max_length: Max length `L` of a history. Default: 50.
        max_edited_length: Max length `M` of an edited history. Default: 60, or a fifth more than `max_length`.
        max_insertions: Max number `K` of items inserted before one item. Default: 5.
        width: Size `D` of item embeddings and user vectors. Default: 64.
        n_encoder_blocks: Number of blocks of the encoder that recommender and augmenter share. Default: 1.
        n_recommender_blocks: Number of further blocks of the recommender. Default: 1.
        n_heads: Number of attention heads. Default: 2.
        dropout: Dropout rate. Default: 0.3 (the paper has 0.5).
        positions: "start" or "end", where positions are counted from. With "end", the loss of next-item prediction
            sees each item at its distance from the end of the whole history, while a served history ends at its last
            item. Default: "end".
        normalisation: "pre" or "post", see `TransformerBlock`. Default: "post".
        alpha: Weight of InfoNCE, `L_cl`. Default: 0.005 (the paper has 0.1).
        beta: Weight of the triplet loss `L_tri`, a mean over the batch. Default: 0.01 (the released code has 0.256).
        lambda_aug: Weight of the augmenter's own losses `L_aug`, trained jointly. Default: 0.03.
        gamma: Weight of `L_view`, next-item prediction from the two contrasted views. Not in the paper. Default: 0.
        contrast_views: The pair that InfoNCE contrasts: "random-learned", or "random-random" for two random views as
            in CL4SRec. Default: "random-learned".
        n_negatives: Number of sampled items that training scores in place of the whole catalogue. The augmenter then
            inserts only sampled items and items of the batch. For more than about 100,000 items. Default: 0, the whole
            catalogue.
        label_smoothing: Share of the target's probability that next-item prediction spreads evenly over the
            catalogue. Default: 0.2, or 0 with `n_negatives`.
        similarity: Similarity of InfoNCE, "dot" or "cosine". Default: "dot".
        temperature: Temperature of InfoNCE. Default: 1.
        augmenter_attention: "causal" or "bidirectional". Default: "bidirectional".
        decision: How the augmenter chooses operations: "argmax", "gumbel" or "noise". Default: "argmax".
        decision_temperature: Temperature of the decision "gumbel". Default: 1.
        can_delete: Whether the augmenter may delete. Default: True.
        can_insert: Whether the augmenter may insert. Default: True.
        exclude_history: Whether the items of a history are not to be recommended. Validation, `recommend` and an export
            follow it. Default: True.
        seed: Seed of the augmenter's random decisions and of the sampled items. Default: None, a random seed.
        **kwargs: Passed on to `keras.Model`, e.g. `dtype`, "float32" or "mixed_bfloat16".

    Call arguments:
        inputs: `[B, L]` integer histories, oldest item first, or a batch with the key `history`. Lists of different
            lengths and ragged tensors are padded. Padding (0) may be anywhere, and the last `max_length` items of a
            history are read.

    Returns:
        `[B, D]` float user vectors.

    Raises:
        ValueError: an argument is out of its range, or both `can_delete` and `can_insert` are off; in a call, `inputs`
            are not integer histories.

    Example:
        >>> model = LACLRec(n_items=20, width=8)
        >>> model([[5, 6, 7], [9]]).shape
        TensorShape([2, 8])
        >>> item_ids, scores = model.recommend([[5, 6, 7], [9]], k=3)
        >>> item_ids.shape
        TensorShape([2, 3])
    """

    objectives: ClassVar = ("full", "augmenter")
    loss_names: ClassVar = (
        "next_item_loss",
        "contrast_loss",
        "triplet_loss",
        "augmenter_loss",
        "view_loss",
        "operation_loss",
        "insertion_loss",
    )
    statistic_names: ClassVar = (*REPAIR_STATISTICS, *VIEW_STATISTICS)
    repair_names: ClassVar = REPAIR_STATISTICS

    def __init__(
        self,
        n_items: int,
        *,
        max_length: int = 50,
        max_edited_length: int | None = None,
        max_insertions: int = 5,
        width: int = 64,
        n_encoder_blocks: int = 1,
        n_recommender_blocks: int = 1,
        n_heads: int = 2,
        dropout: float = 0.3,
        positions: str = "end",
        normalisation: str = "post",
        alpha: float = 0.005,
        beta: float = 0.01,
        lambda_aug: float = 0.03,
        gamma: float = 0.0,
        contrast_views: str = "random-learned",
        n_negatives: int = 0,
        label_smoothing: float | None = None,
        similarity: str = "dot",
        temperature: float = 1.0,
        augmenter_attention: str = "bidirectional",
        decision: str = "argmax",
        decision_temperature: float = 1.0,
        can_delete: bool = True,
        can_insert: bool = True,
        exclude_history: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("dtype") is None and keras.config.floatx() == "float64":
            kwargs["dtype"] = "float32"  # losses and scores are float32 anyway
        super().__init__(**kwargs)
        self.n_items = n_items
        self.max_length = max_length
        self.max_edited_length = (
            default_max_edited_length(max_length) if max_edited_length is None else max_edited_length
        )
        self.max_insertions = max_insertions
        self.width = width
        self.n_encoder_blocks = n_encoder_blocks
        self.n_recommender_blocks = n_recommender_blocks
        self.n_heads = n_heads
        self.dropout = dropout
        self.positions = positions
        self.normalisation = normalisation
        self.alpha = alpha
        self.beta = beta
        self.lambda_aug = lambda_aug
        self.gamma = gamma
        self.contrast_views = contrast_views
        self.n_negatives = n_negatives
        # A saved model keeps the smoothing it was trained with.
        self.label_smoothing = default_label_smoothing(n_negatives) if label_smoothing is None else label_smoothing
        self.similarity = similarity
        self.temperature = temperature
        self.augmenter_attention = augmenter_attention
        self.decision = decision
        self.decision_temperature = decision_temperature
        self.can_delete = can_delete
        self.can_insert = can_insert
        self.exclude_history = exclude_history
        self.seed = seed
        check_arguments(**self.arguments)
        # The first generator that is made: without `seed`, the order decides which seed each layer draws.
        negatives_seed = keras.random.SeedGenerator(seed)
        block: dict[str, Any] = {
            "n_heads": n_heads,
            "dropout": dropout,
            "normalisation": normalisation,
            "dtype": self.dtype_policy,
        }
        self.encoder = SequenceEncoder(
            n_items, max(max_length, self.max_edited_length), width, n_encoder_blocks, positions=positions, **block
        )
        self.augmenter = SequenceAugmenter(
            n_items,
            self.max_edited_length,
            max_insertions,
            width,
            attention=augmenter_attention,
            decision=decision,
            temperature=decision_temperature,
            can_delete=can_delete,
            can_insert=can_insert,
            seed=seed,
            **block,
        )
        self.user_encoder = UserEncoder(width, n_recommender_blocks, **block)
        self.catalogue = Catalogue(self.encoder.item_embedding, n_negatives, negatives_seed)
        self.mixture = EditMixture(n_items)
        self.evidence = DeletionEvidence(n_items)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Create all weights; histories may have any batch size and length."""
        self.encoder.build((None, None))
        self.augmenter.build()
        self.user_encoder.build((None, None, self.width))
        self.catalogue.build()
        self.mixture.build()
        self.evidence.build()
        self.built = True

    # ---- histories, user vectors and items ----

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> KerasTensor:
        """Convert histories to a tensor, then call the model. Keras itself takes neither lists nor ragged tensors."""
        return super().__call__(as_history(inputs, self.n_items), *args, **kwargs)

    def call(self, inputs: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return user vectors `[B, D]`: the hidden state at the last item."""
        return self.user_vectors(pack_histories(inputs, self.max_length), training=training)

    def user_vectors(self, history: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return user vectors `[B, D]` of histories `[B, L]` that are right-padded and no longer than edited ones."""
        check_history(history, self.encoder.max_length)
        hidden = self.encoder(history, causal=True, training=training)
        return self.user_encoder.user_vectors(hidden, history, training=training)

    def hidden_states(self, history: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return the hidden states `[B, L, D]` of right-padded histories; each position sees only its past."""
        check_history(history, self.encoder.max_length)
        return self.user_encoder(self.encoder(history, causal=True, training=training), history, training=training)

    def edit_vectors(self, history: KerasTensor, edits: str = "learned") -> tuple[KerasTensor, KerasTensor]:
        """Return the user vectors of histories and of their edits, and the noise levels, from one causal pass.

        The vector without the last events is the hidden state at the event before them. A copy of the last event
        behind the history, which does not see the event before the last one, has the vector without that one.

        Args:
            history: `[B, L]` integer ids, right-padded with 0.
            edits: "learned" for all vectors, or "uniform" for those that are mixed. Default: "learned".

        Returns:
            The vectors, `[B, 6, D]` or `[B, 4, D]` float, in the order of `EditMixture`'s `VARIANTS`; of no meaning
            where such an edit would leave no event. The noise level, `[B]` float32, see
            `DeletionEvidence.noise_level`; 0 with "uniform", which does not read it.
        """
        check_history(history, self.encoder.max_length)
        length, lengths = ops.shape(history)[1], history_lengths(history)
        places = ops.arange(length + 1, dtype="int32")
        before_last = ops.maximum(lengths - 2, 0)
        last = ops.take_along_axis(history, ops.maximum(lengths - 1, 0)[:, None], axis=1)
        item_ids = ops.concatenate([history, last], axis=1)
        # The copy takes the position of the event that it does not see, so that no position is left out.
        in_order = ops.where(places[None] < length, places[None], before_last[:, None])  # [B, L + 1]
        seen = ops.where(places[None] < length, places[None] + 1, before_last[:, None])  # number of events seen
        sees_itself = places[None, :, None] == places[None, None]
        mask = ops.logical_or(places[None, None] < seen[..., None], sees_itself)
        mask = ops.logical_and(mask, is_item(item_ids)[:, None])
        hidden = self.encoder.encode(item_ids, self.encoder.position_of(in_order, lengths), mask, training=False)
        states = [lengths - 1, lengths - 2, ops.full_like(lengths, length), lengths - 3, lengths - 4, lengths - 5]
        states = ops.maximum(ops.stack(states, axis=1), 0)
        if edits == "uniform":
            vectors = self.user_encoder.vectors_at(hidden, mask, states[:, :N_MIXED])
            return vectors, ops.zeros_like(lengths, dtype="float32")
        hidden = self.user_encoder.vectors_at(hidden, mask)
        noise_level = self.evidence.noise_level(
            history, hidden[:, :-1], self.mixture.typical_normaliser, self.item_vectors, self.mixture.log_popularity
        )
        return ops.take_along_axis(hidden, states[..., None], axis=1), noise_level

    def score(self, user_vectors: KerasTensor) -> KerasTensor:
        """Return catalogue scores `[B, N + 3]` of user vectors `[B, D]`; PAD, EOS and MASK have `-inf`."""
        return self.catalogue(user_vectors)

    @property
    def item_vectors(self) -> keras.Variable:
        """The `[N + 3, D]` float32 table that `score` multiplies user vectors with; row `i` is item `i`."""
        return self.catalogue.item_table

    def initialise_items(self, vectors: np.ndarray) -> None:
        """Set the item vectors before training, see `Catalogue.initialise`."""
        self.catalogue.initialise(vectors)

    # ---- the objective: three views, their losses and the weights ----

    def losses_of(self, batch: Tensors, training: bool = True) -> tuple[Tensors, Statistics]:
        """Return the terms of the objective on a batch before their weights, and statistics to watch.

        Args:
            batch: `history` and `target` `[B, L]`, right-padded; for the contrast `prefix_lengths [B, P]` and
                `random_view [B * P, L]`; for the augmenter `corrupted` and `operations` `[B, M]` and
                `insertions [B, M, K]`.
            training: Whether dropout is on. Default: True.

        Returns:
            `(terms, statistics)`: scalars by name, and `(values, weights)` by name.

        Raises:
            ValueError: the batch is not right-padded or lacks a tensor, see `check_batch`.
        """
        check_batch(self, batch)
        terms: Tensors = {}
        statistics: Statistics = {}
        if self.objective == "full":
            hidden = self.hidden_states(batch["history"], training=training)
            terms["next_item_loss"] = self._next_item_loss(hidden, batch["target"])
            if self.n_random_views:
                self._contrast(hidden, batch, training, terms, statistics)
        if self.term_weights.get("augmenter_loss"):
            self._repair(batch, training, terms, statistics)
        return terms, statistics

    def _next_item_loss(self, hidden: KerasTensor, target: KerasTensor) -> KerasTensor:
        """`L_rec`: the cross-entropy of the next item at every position."""
        is_target, weights = positions_where(is_item(target), self.static_shapes)
        vectors = ops.take(ops.reshape(hidden, (-1, self.width)), is_target, axis=0)
        targets = ops.take(ops.reshape(target, (-1,)), is_target)
        return self.catalogue.loss(vectors, targets, weights, label_smoothing=self.label_smoothing)

    def _contrast(
        self, hidden: KerasTensor, batch: Tensors, training: bool, terms: Tensors, statistics: Statistics
    ) -> None:
        """`L_cl`, `L_tri` and `L_view`: compare the user vectors of the views of each prefix."""
        random = self._view(batch["random_view"], training)
        if self.contrast_views == "random-random":
            other = self._view(batch["random_view_2"], training)
        else:
            prefixes = take_prefixes(batch["history"], batch["prefix_lengths"])
            if self.positions == "end":  # a prefix has other positions than within its history
                raw = self._view(prefixes, training)
            else:
                raw = ops.reshape(gather_last(hidden, batch["prefix_lengths"]), (-1, self.width))
            edits = self.learned_edits(prefixes)  # integers, so no gradient flows
            max_edited = ops.minimum(self.max_edited_length, ops.shape(prefixes)[1] * (self.max_insertions + 1))
            other = self._view(edits.edited[:, :max_edited], training)  # the learned view, without needless padding
            statistics |= view_statistics(raw, other, random, prefixes, edits)
            if self.beta:
                terms["triplet_loss"] = triplet_loss(raw, other, random)
        if self.alpha:
            terms["contrast_loss"] = info_nce(random, other, self.temperature, self.similarity)
        if self.gamma:
            following = ops.take_along_axis(batch["target"], ops.maximum(batch["prefix_lengths"] - 1, 0), axis=1)
            following = ops.tile(ops.reshape(following, (-1,)), 2)
            views = ops.concatenate([random, other], axis=0)
            terms["view_loss"] = self.catalogue.loss(views, following, label_smoothing=self.label_smoothing)

    def _view(self, item_ids: KerasTensor, training: bool) -> KerasTensor:
        return self.user_vectors(item_ids if self.static_shapes else trim_padding(item_ids), training=training)

    def learned_edits(self, history: KerasTensor) -> Edits:
        """Return the edits that make the learned view of histories `[B, L]` in training."""
        candidates = self.catalogue.draw_candidates(history) if self.n_negatives else None
        return self.augmenter.edit(self.encoder, history, None, candidates, self.static_shapes)

    def _repair(self, batch: Tensors, training: bool, terms: Tensors, statistics: Statistics) -> None:
        """`L_aug`: repair the corrupted histories, `operation_loss + insertion_loss`."""
        corrupted, operations = batch["corrupted"], batch["operations"]
        # An INSERT position is an item of the history. An insertion target is one, too, or it is EOS, in place of one.
        max_positions = ops.size(batch["target"]) + ops.shape(batch["target"])[0] if self.static_shapes else None
        repair = self.augmenter.repair(
            self.encoder, corrupted, operations, batch["insertions"], training=training, max_positions=max_positions
        )
        operation = operation_loss(repair.operation_logits, operations, is_item(corrupted))
        insertion = self.catalogue.loss(repair.run_states, repair.run_targets, repair.run_weights, eos_allowed=True)
        terms["augmenter_loss"] = operation + insertion
        statistics |= {"operation_loss": (operation, None), "insertion_loss": (insertion, None)}
        # With sampled negatives nothing scores the whole catalogue.
        table = None if self.n_negatives else self.item_vectors
        statistics |= repair_statistics(repair, table, corrupted, operations, max_targets=64)

    def repair_statistics_of(self, batch: Tensors) -> Statistics:
        """Return how well the augmenter repairs the corrupted histories of a batch."""
        corrupted, operations = batch["corrupted"], batch["operations"]
        repair = self.augmenter.repair(self.encoder, corrupted, operations, batch["insertions"], training=False)
        max_targets = ops.shape(corrupted)[0] if self.n_negatives else None
        return repair_statistics(repair, self.item_vectors, corrupted, operations, max_targets=max_targets)

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of each term of the objective in force, without those of weight 0."""
        if self.objective == "augmenter":
            return {"augmenter_loss": 1.0}
        weights = {
            "next_item_loss": 1.0,
            "contrast_loss": self.alpha,
            "augmenter_loss": self.lambda_aug,
            "view_loss": self.gamma,
            "triplet_loss": self.beta if self.contrast_views == "random-learned" else 0.0,
        }
        return {name: weight for name, weight in weights.items() if weight}

    # ---- what the arguments imply ----

    @property
    def n_random_views(self) -> int:
        """The number of random views that the contrast needs: 0, 1 or 2."""
        if self.contrast_views == "random-random":
            return 2 if self.alpha or self.gamma else 0
        return 1 if self.alpha or self.beta or self.gamma else 0

    @property
    def has_augmenter(self) -> bool:
        """Whether training makes learned views or trains the augmenter."""
        return self.n_random_views == 1 or self.lambda_aug > 0

    @property
    def batch_requirements(self) -> dict[str, Any]:
        """What a training batch must hold, as arguments of `laclrec_tf.data.training_dataset`."""
        return batch_requirements(self)

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments by name, with the values in force."""
        return {name: getattr(self, name) for name in _DEFAULTS}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, with name and dtype policy."""
        return {"name": self.name, "dtype": self.dtype_policy.name, **self.arguments}

    def __repr__(self) -> str:
        """Show the arguments that differ from the defaults."""
        defaults = _DEFAULTS | {
            "label_smoothing": default_label_smoothing(self.n_negatives),
            "max_edited_length": default_max_edited_length(self.max_length),
        }
        shown = {name: value for name, value in self.arguments.items() if value != defaults[name]}
        return f"LACLRec({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(LACLRec).parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD
}
