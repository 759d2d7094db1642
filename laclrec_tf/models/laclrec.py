"""LACLRec: next-item prediction, contrasted with a learned and a random view of each history.

Source: LACLRec (arXiv 2503.20232). SASRec and CL4SRec are the same model with parts of it switched off,
see `laclrec_tf.models.presets`.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import KerasTensor, ops

from laclrec_tf.layers.sequence_augmenter import Edits, SequenceAugmenter
from laclrec_tf.layers.sequence_encoder import SequenceEncoder, attention_mask
from laclrec_tf.layers.transformer_block import TransformerBlock
from laclrec_tf.losses.augmentation import operation_loss
from laclrec_tf.losses.contrastive import info_nce, triplet_loss
from laclrec_tf.models.arguments import (
    batch_requirements,
    check_arguments,
    check_batch,
    check_history,
    default_label_smoothing,
)
from laclrec_tf.models.catalogue_model import CatalogueModel
from laclrec_tf.models.training_statistics import Statistics, Tensors, repair_statistics, view_statistics
from laclrec_tf.ops.masking import gather_last, history_lengths, is_item, positions_where, take_prefixes, trim_padding


class AugmentedRecommender(CatalogueModel):
    """Turns histories into user vectors, and edits histories. What it is trained for, a subclass says.

    Args:
        settings: the subclass's arguments by name, see `LACLRec`. Each becomes an attribute and part of the
            configuration.
        **kwargs: passed on to `keras.Model`.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(self, settings: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(settings["seed"], **kwargs)
        check_arguments(**settings)
        # Only real positions are projected to the catalogue, so shapes change from batch to batch, unless
        # `compile(jit_compile=True)` asks for static ones.
        self.supports_jit = False
        self._settings = settings
        for name, value in settings.items():
            setattr(self, name, value)
        block = {name: settings[name] for name in ("n_heads", "dropout", "normalisation")}
        block["dtype"] = self.dtype_policy
        self.encoder = SequenceEncoder(
            self.n_items,
            max(self.max_length, self.max_edited_length),
            self.width,
            self.n_encoder_blocks,
            positions=self.positions,
            **block,
        )
        self.augmenter = SequenceAugmenter(
            self.n_items,
            self.max_edited_length,
            self.max_insertions,
            self.width,
            attention=self.augmenter_attention,
            decision=self.decision,
            temperature=self.decision_temperature,
            can_delete=self.can_delete,
            can_insert=self.can_insert,
            seed=self.seed,
            **block,
        )
        self.recommender_blocks = [TransformerBlock(self.width, **block) for _ in range(self.n_recommender_blocks)]
        self.user_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Create all weights; histories may have any batch size and length."""
        self.encoder.build((None, None))
        self.augmenter.build()
        for block in self.recommender_blocks:
            block.build((None, None, self.width))
        self.user_norm.build((None, None, self.width))
        self.built = True

    def hidden_states(self, history: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return the recommender's hidden state at every position: `[B, L, D]`, each seeing only its past."""
        hidden = self.encoder(history, causal=True, training=training)
        mask = attention_mask(history, causal=True)
        for block in self.recommender_blocks:
            hidden = block(hidden, mask, training=training)
        return self.user_norm(hidden)

    def call(self, inputs: KerasTensor | Tensors, training: bool | None = None) -> KerasTensor:
        """Return user vectors `[B, D]`: the hidden state at the last real item."""
        history = inputs["history"] if isinstance(inputs, dict) else inputs
        check_history(history, self.encoder.max_length)
        lengths = history_lengths(history)
        if not self.recommender_blocks:
            return gather_last(self.hidden_states(history, training=training), lengths)
        # As `hidden_states`, but the last block is asked at one position only, which sees the whole history.
        hidden = self.encoder(history, causal=True, training=training)
        for block in self.recommender_blocks[:-1]:
            hidden = block(hidden, attention_mask(history, causal=True), training=training)
        last, is_key = gather_last(hidden, lengths)[:, None], is_item(history)[:, None]
        last = self.recommender_blocks[-1](last, is_key, context=hidden, training=training)
        return self.user_norm(last[:, 0])

    def edit(self, history: KerasTensor, decision: str | None = None) -> Edits:
        """Return what the augmenter does to histories `[B, L]`; `decision` overrides the model's."""
        return self.augmenter.edit(self.encoder, history, decision)

    def repair_statistics_of(self, batch: Tensors) -> Statistics:
        """Say how well the corrupted histories of a batch are repaired."""
        corrupted, operations = batch["corrupted"], batch["operations"]
        repair = self.augmenter.repair(self.encoder, corrupted, operations, batch["insertions"], training=False)
        most = ops.shape(corrupted)[0] if self.n_negatives else None
        return repair_statistics(repair, self.encoder.item_table, corrupted, operations, most_targets=most)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype_policy.name, **self._settings}


@keras.saving.register_keras_serializable(package="laclrec_tf")
class LACLRec(AugmentedRecommender):
    """Sequential recommender trained on three views of each history: raw, learned and random.

    `L = L_rec + alpha * L_cl + beta * L_tri + lambda_aug * L_aug + gamma * L_view`. A term whose weight is 0 is not
    computed.

    Args:
        n_items: catalogue size `N`.
        max_length: longest history `L`. Default: 50.
        max_edited_length: longest edited history `M`. Default: 60.
        max_insertions: most items inserted before one item, `K`. Default: 5.
        width: size `D` of item embeddings and user vectors. Default: 64.
        n_encoder_blocks: blocks of the encoder shared with the augmenter. Default: 1.
        n_recommender_blocks: further blocks of the recommender alone. Default: 1.
        n_heads: attention heads. Default: 2.
        dropout: Default: 0.3 (the paper's is 0.5).
        positions: counted from the "start" or the "end" of a history; from the end, next-item training sees an item at
            its distance from the end of the whole history, and only the last one as a user is served. Default: "end".
        normalisation: "pre" or "post". Default: "post".
        alpha: weight of InfoNCE. Default: 0.005 (the paper's is 0.1).
        beta: weight of the triplet loss, its mean over the batch. Default: 0.01 (the released code's is 0.256).
        lambda_aug: weight of the augmenter's own losses, trained jointly. Default: 0.03.
        gamma: weight of `L_view`, next-item prediction from the two contrasted views: what follows the raw history
            follows its edited views too. Not in the paper. Default: 0.
        contrast_views: InfoNCE's pair: "random-learned", or "random-random" for two random views as in
            CL4SRec. Default: "random-learned".
        n_negatives: score targets against so many sampled items instead of the whole catalogue, in training only,
            and insert only sampled items and those of the batch; 0 scores all. For catalogues above some 100,000
            items. Default: 0.
        label_smoothing: share of the target's probability that is spread evenly over the catalogue, in next-item
            prediction. Default: 0.2, and 0 with `n_negatives`, which leaves no whole catalogue to spread it over.
        similarity: InfoNCE's, "dot" or "cosine". Default: "dot".
        temperature: InfoNCE's. Default: 1.
        augmenter_attention: "causal" or "bidirectional". Default: "bidirectional".
        decision: how the augmenter chooses operations: "argmax", "gumbel" or "noise". Default: "argmax".
        decision_temperature: of "gumbel". Default: 1.
        can_delete: the augmenter may delete. Default: True.
        can_insert: the augmenter may insert. Default: True.
        seed: of the augmenter's random decisions. Default: None, a random seed.

    Call arguments:
        inputs: `[B, L]` integer histories, right-padded with 0, or a batch with the key `history`.

    Returns:
        `[B, D]` float user vectors.

    Raises:
        ValueError: an argument is out of its range, or both `can_delete` and `can_insert` are off.

    Example:
        >>> model = LACLRec(n_items=20, width=8)
        >>> model(ops.array([[5, 6, 7, 0]])).shape
        TensorShape([1, 8])
        >>> item_ids, scores = model.recommend(ops.array([[5, 6, 7, 0]]), k=3)
        >>> item_ids.shape
        TensorShape([1, 3])

    Reference: LACLRec (arXiv 2503.20232).
    """

    def __init__(
        self,
        n_items: int,
        *,
        max_length: int = 50,
        max_edited_length: int = 60,
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
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        if label_smoothing is None:  # a saved model keeps what it was trained with
            settings["label_smoothing"] = default_label_smoothing(n_negatives)
        super().__init__(settings, **kwargs)

    def __repr__(self) -> str:
        """Show the arguments that are not the defaults."""
        defaults = {name: parameter.default for name, parameter in inspect.signature(LACLRec).parameters.items()}
        defaults["label_smoothing"] = default_label_smoothing(self.n_negatives)
        told = {name: value for name, value in self._settings.items() if value != defaults[name]}
        return f"LACLRec({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    def losses_of(self, batch: Tensors, training: bool = True) -> tuple[Tensors, Statistics]:
        """Return the terms of the objective on a batch, before their weights, and what to watch beside them.

        Args:
            batch: `history` and `target` `[B, L]`; for the contrast `prefix_lengths [B, P]` and
                `random_view [B * P, L]`; for the augmenter `corrupted` and `operations` `[B, M]` and
                `insertions [B, M, K]`.
            training: dropout on. Default: True.

        Returns:
            `(terms, statistics)`: scalars by name, and `(values, weights)` by name.
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
        wanted, weights = positions_where(is_item(target), self.static_shapes)
        vectors = ops.take(ops.reshape(hidden, (-1, self.width)), wanted, axis=0)
        targets = ops.take(ops.reshape(target, (-1,)), wanted)
        return self.catalogue_loss(vectors, targets, weights, label_smoothing=self.label_smoothing)

    def _contrast(
        self, hidden: KerasTensor, batch: Tensors, training: bool, terms: Tensors, statistics: Statistics
    ) -> None:
        random = self._view(batch["random_view"], training)
        if self.contrast_views == "random-random":
            other = self._view(batch["random_view_2"], training)
        else:
            history = take_prefixes(batch["history"], batch["prefix_lengths"])
            if self.positions == "end":  # a prefix has other positions than it has within its history
                raw = self._view(history, training)
            else:
                raw = ops.reshape(gather_last(hidden, batch["prefix_lengths"]), (-1, self.width))
            edits = self._learned_edits(history)  # integers: the gradient ends here
            # No row grows beyond so many items, so this cuts padding only.
            longest = ops.minimum(self.max_edited_length, ops.shape(history)[1] * (self.max_insertions + 1))
            other = self._view(edits.edited[:, :longest], training)
            statistics |= view_statistics(raw, other, random, history, edits)
            if self.beta:
                terms["triplet_loss"] = triplet_loss(raw, other, random)
        if self.alpha:
            terms["contrast_loss"] = info_nce(random, other, self.temperature, self.similarity)
        if self.gamma:
            following = ops.take_along_axis(batch["target"], ops.maximum(batch["prefix_lengths"] - 1, 0), axis=1)
            following = ops.tile(ops.reshape(following, (-1,)), 2)
            views = ops.concatenate([random, other], axis=0)
            terms["view_loss"] = self.catalogue_loss(views, following, label_smoothing=self.label_smoothing)

    def _view(self, item_ids: KerasTensor, training: bool) -> KerasTensor:
        return self(item_ids if self.static_shapes else trim_padding(item_ids), training=training)

    def _learned_edits(self, history: KerasTensor) -> Edits:
        candidates = self.sampled_candidates(history) if self.n_negatives else None
        return self.augmenter.edit(self.encoder, history, None, candidates, self.static_shapes)

    def _repair(self, batch: Tensors, training: bool, terms: Tensors, statistics: Statistics) -> None:
        corrupted, operations = batch["corrupted"], batch["operations"]
        # A position with something to insert is an item of the history, and so is each target but a run's EOS,
        # which takes the place of the item behind it.
        most = ops.size(batch["target"]) + ops.shape(batch["target"])[0] if self.static_shapes else None
        repair = self.augmenter.repair(
            self.encoder, corrupted, operations, batch["insertions"], training=training, most_positions=most
        )
        operation = operation_loss(repair.operation_logits, operations, is_item(corrupted))
        insertion = self.catalogue_loss(repair.run_states, repair.run_targets, repair.run_weights, eos_allowed=True)
        terms["augmenter_loss"] = operation + insertion
        statistics |= {"operation_loss": (operation, None), "insertion_loss": (insertion, None)}
        # With a sample of negatives nothing scores the whole catalogue, so neither does this.
        table = None if self.n_negatives else self.encoder.item_table
        statistics |= repair_statistics(repair, table, corrupted, operations, most_targets=64)

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of each term in force; a term without weight is not computed."""
        if self.objective == "augmenter":
            return {"augmenter_loss": 1.0}
        weights = {"next_item_loss": 1.0, "contrast_loss": self.alpha, "augmenter_loss": self.lambda_aug}
        weights["view_loss"] = self.gamma
        if self.contrast_views == "random-learned":
            weights["triplet_loss"] = self.beta
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def n_random_views(self) -> int:
        """How many random views of a history the contrast takes: 0, 1 or 2."""
        if self.contrast_views == "random-random":
            return 2 if self.alpha or self.gamma else 0
        return 1 if self.alpha or self.beta or self.gamma else 0

    @property
    def batch_requirements(self) -> dict[str, Any]:
        """What a training batch must hold, as arguments of `laclrec_tf.data.training_dataset`."""
        return batch_requirements(self)

    @property
    def has_augmenter(self) -> bool:
        """Whether a learned view is made, or the augmenter trained."""
        return self.n_random_views == 1 or self.lambda_aug > 0
