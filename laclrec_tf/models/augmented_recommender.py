"""The networks of LACLRec: an encoder, the augmenter over it, and the recommender's own blocks."""

from __future__ import annotations

from typing import Any

import keras
from keras import KerasTensor, ops

from laclrec_tf.layers.sequence_augmenter import Edits, SequenceAugmenter
from laclrec_tf.layers.sequence_encoder import SequenceEncoder, attention_mask
from laclrec_tf.layers.transformer_block import TransformerBlock
from laclrec_tf.models.catalogue_model import CatalogueModel
from laclrec_tf.models.laclrec_arguments import check_arguments, check_history
from laclrec_tf.models.training_statistics import Statistics, Tensors, repair_statistics
from laclrec_tf.ops.masking import gather_last, history_lengths, is_item


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
