"""What the learned augmenter does to histories of item strings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from laclrec_tf.ops.edits import INSERT, OPERATION_NAMES, inserted_items, surviving_operations
from laclrec_tf.ops.masking import PAD_ID, is_item, pack_kept, trim_padding
from laclrec_tf.serving.item_lookup import ItemLookup, unknown_items


class HistoryEditor(tf.Module):
    """Shows the augmenter's decisions on histories of item strings. Always the likeliest: nothing is drawn.

    Args:
        model: the trained model, see `RetrievalModel`.
        lookup: string <-> id.

    Example:
        >>> from laclrec_tf.item_vocabulary import ItemVocabulary
        >>> from laclrec_tf.models import LACLRec
        >>> lookup = ItemLookup(ItemVocabulary(["tent", "stove"]))
        >>> editor = HistoryEditor(LACLRec(n_items=2, width=8), lookup)
        >>> answer = editor.augment(tf.constant([["tent", "unknown", "stove"]]))
        >>> answer["history"].numpy().tolist(), answer["operations"].shape
        ([[b'tent', b'stove']], TensorShape([1, 2]))
    """

    def __init__(self, model: Any, lookup: ItemLookup) -> None:
        """Take what inference needs of the model and trace `augment`."""
        super().__init__(name="history_editor")
        self.max_length: int = model.max_length
        self.eos_id: int = model.n_items + 1
        self.lookup = lookup
        # A function, because a Keras model set as an attribute would be saved with everything it holds.
        self._edit: Callable[[tf.Tensor], Any] = lambda item_ids: model.edit(item_ids, decision="argmax")
        self._weights = list(self.augment.get_concrete_function().variables)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="history")], autograph=False)
    def augment(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the operation decided on each known item, the inserted items and the edited history.

        Padding, unknown items and long histories are treated as by `Retriever`. An edited history is never
        empty: when every item would go, the last one stays and its operation reads "keep". The edited history
        has at most `max_edited_length` items, the most recent ones.

        Args:
            history: `[B, S]` string, any `B` and `S`.

        Returns:
            `history` `[B, L]` string, the known items as the model read them: the rows of all other outputs
                line up with it. `L` is the longest row's length, at least 1; `""` behind shorter rows.
            `unknown` `[B]` int32, how many items of the history are not known.
            `operations` `[B, L]` string: "keep", "delete" or "insert"; `""` on padding.
            `probabilities` `[B, L, 3]` float32 of these three; 0 on padding.
            `inserted` `[B, L, K]` string: what was inserted before an item, in reading order; `""` behind.
            `edited_history` `[B, M]` string, `M` the longest row's length, at least 1; `""` behind.
        """
        history_ids = self.lookup.to_ids(history)
        item_ids = self.lookup.recent_known(history_ids, self.max_length)
        edits = self._edit(item_ids)
        real = is_item(item_ids)  # [B, L]

        operations = surviving_operations(item_ids, tf.cast(edits.operations, tf.int32))
        names = tf.where(real, tf.gather(tf.constant(OPERATION_NAMES), operations), "")

        inserting = tf.logical_and(real, tf.equal(operations, INSERT))[..., tf.newaxis]
        runs = tf.where(inserting, inserted_items(edits.insertions, self.eos_id), PAD_ID)  # nearest first
        most = runs.shape[-1]
        in_order = tf.reshape(tf.reverse(runs, axis=[-1]), [-1, most])  # [B * L, K]
        in_order = tf.reshape(pack_kept(in_order, is_item(in_order), most), tf.shape(runs))

        return {
            "history": self.lookup.to_items(item_ids),
            "unknown": unknown_items(history, history_ids),
            "operations": names,
            "probabilities": tf.where(real[..., tf.newaxis], tf.cast(edits.probabilities, tf.float32), 0.0),
            "inserted": self.lookup.to_items(in_order),
            "edited_history": self.lookup.to_items(trim_padding(edits.edited)),
        }
