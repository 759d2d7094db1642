"""A model that edits histories: it deletes by evidence, and inserts by the augmenter's heads."""

from __future__ import annotations

import tensorflow as tf
from keras import KerasTensor, ops

from laclrec_tf.layers.deletion_evidence import DeletionEvidence
from laclrec_tf.layers.sequence_augmenter import Deletions, Edits, SequenceAugmenter
from laclrec_tf.layers.sequence_encoder import SequenceEncoder
from laclrec_tf.models.arguments import as_history
from laclrec_tf.models.edit_aware import EditAwareModel
from laclrec_tf.ops.edits import DELETE
from laclrec_tf.ops.masking import is_item, pack_histories


class HistoryEditorModel(EditAwareModel):
    """Edits of a model of user vectors.

    A subclass has what `EditAwareModel` needs, and an `encoder`, an `augmenter`, an `evidence`, `can_delete`, and
    `hidden_states(history, training)`, the states `[B, L, D]` of right-padded histories `[B, L]`, each of its past.
    """

    encoder: SequenceEncoder
    augmenter: SequenceAugmenter
    evidence: DeletionEvidence
    can_delete: bool

    @property
    def is_calibrated(self) -> bool:
        """Whether `evidence` decides what is deleted, see `calibrate_deletions`; else the augmenter's head does."""
        with tf.init_scope():  # also while a graph is traced
            return float(self.evidence.threshold) >= 0

    def edit(self, history: KerasTensor, decision: str | None = None) -> Edits:
        """Return what the augmenter does to histories, see the call arguments; `decision` overrides the model's."""
        return self.edits_of(pack_histories(as_history(history, self.n_items), self.max_length), decision)

    def edits_of(
        self, history: KerasTensor, decision: str | None = None, candidates: KerasTensor | None = None
    ) -> Edits:
        """Return what the augmenter does to right-padded histories, see `SequenceAugmenter.edit`.

        A model that was calibrated deletes what its `evidence` takes for noise; its `decision` changes nothing.
        """
        deletions = self.deletions_of(history) if self.is_calibrated else None
        return self.augmenter.edit(self.encoder, history, decision, candidates, deletions=deletions, keep_events=True)

    def deletions_of(self, history: KerasTensor) -> Deletions:
        """Return what is deleted of right-padded histories `[B, L]`. Nothing is sampled.

        Args:
            history: `[B, L]` integer ids.

        Returns:
            `Deletions`: by `evidence` if the model was calibrated, else the likeliest operation of the head.

        Example:
            >>> from laclrec_tf.models import LACLRec
            >>> model = LACLRec(n_items=20, width=8)
            >>> model.deletions_of(ops.array([[5, 6, 0]])).decided.shape
            TensorShape([1, 3])
        """
        if self.is_calibrated:
            probabilities = self.deletion_probabilities(history)
            return Deletions(probabilities, probabilities > ops.convert_to_tensor(self.evidence.threshold))
        logits = self.augmenter(self.augmenter.encode(self.encoder, history, training=False))
        return Deletions(ops.softmax(logits)[..., DELETE], ops.argmax(logits, axis=-1) == DELETE)

    def deletion_probabilities(self, history: KerasTensor) -> KerasTensor:
        """Return the probability `[B, L]` that each event of right-padded histories is noise, by the `evidence`."""
        odds = self.evidence(self.deletion_numbers(history))
        probabilities = ops.sigmoid(odds) if self.can_delete else ops.zeros_like(odds)
        return ops.where(is_item(history), probabilities, 0.0)

    def deletion_numbers(self, history: KerasTensor) -> KerasTensor:
        """Return what the `evidence` weighs, `[B, L, 12]`, from one causal pass."""
        hidden = ops.cast(self.hidden_states(history, training=False), "float32")
        normalisers = self.catalogue.log_normalisers(hidden)
        return self.evidence.numbers(history, hidden, normalisers, self.item_vectors, self.mixture.log_popularity)
