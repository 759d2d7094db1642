"""Item strings to ids and back, inside a SavedModel."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import PAD_ID, ItemVocabulary
from laclrec_tf.ops.masking import pack_kept, trim_padding

WHOLE_LINE = tf.lookup.TextFileIndex.WHOLE_LINE
LINE_NUMBER = tf.lookup.TextFileIndex.LINE_NUMBER
_number = itertools.count()


class ItemLookup(tf.Module):
    """Two lookup tables over one asset, `vocabulary.txt`: string -> id and id -> string.

    A SavedModel with these tables does not load, in any server, when the asset is not the file that was exported.

    Args:
        vocabulary: the items; line `i` of the asset is the item with id `i`.

    Example:
        >>> lookup = ItemLookup(ItemVocabulary(["tent", "stove"]))
        >>> lookup.to_ids(tf.constant(["stove", "unknown", ""])).numpy().tolist()
        [2, 0, 0]
        >>> lookup.to_items(tf.constant([1, 0])).numpy().tolist()
        [b'tent', b'']
    """

    def __init__(self, vocabulary: ItemVocabulary) -> None:
        """Write the asset to a temporary folder, which exists as long as the tables, and read it."""
        super().__init__(name="item_lookup")
        self._folder = tempfile.TemporaryDirectory(prefix="vocabulary-")
        file = str(Path(self._folder.name) / "vocabulary.txt")
        vocabulary.save(file)
        size = vocabulary.n_items
        self._line_of_item = tf.lookup.StaticHashTable(
            _Lines(file, tf.string, WHOLE_LINE, tf.int64, LINE_NUMBER, size), default_value=-1
        )
        self._item_of_line = tf.lookup.StaticHashTable(
            _Lines(file, tf.int64, LINE_NUMBER, tf.string, WHOLE_LINE, size), default_value=""
        )

    def to_ids(self, items: tf.Tensor) -> tf.Tensor:
        """Look up strings `[...]`; returns int32 ids `[...]`, PAD (0) for an unknown item and for `""`."""
        return tf.cast(self._line_of_item.lookup(items) + 1, tf.int32)  # the first line has number 0

    def to_items(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Look up ids `[...]`; returns strings `[...]`, `""` for PAD, EOS and MASK."""
        return self._item_of_line.lookup(tf.cast(item_ids, tf.int64) - 1)

    def answer(self, scores: tf.Tensor, item_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs that a signature gives for items.

        Args:
            scores: `[B, W]` float32.
            item_ids: `[B, W]` int32, PAD in an unfilled slot.

        Returns:
            `item_ids` `[B, W]` string, `scores`, and `filled` `[B]` int32, number of slots that hold an item.
        """
        filled = tf.reduce_sum(tf.cast(tf.not_equal(item_ids, PAD_ID), tf.int32), axis=1)
        return {"item_ids": self.to_items(item_ids), "scores": scores, "filled": filled}


class _Lines(tf.lookup.TextFileInitializer):
    """Fills a table from a file, and fails when the file is not the one that the graph was made with.

    The number of lines alone would not tell a file whose last line is cut, or the vocabulary of another version.
    """

    def __init__(self, filename: str, *arguments: Any) -> None:
        self._fingerprint = _fingerprint(tf.io.read_file(filename)).numpy()
        super().__init__(filename, *arguments)

    def initialize(self, table: Any) -> Any:
        found = _fingerprint(tf.io.read_file(tf.convert_to_tensor(self._filename, tf.string)))
        message = "vocabulary.txt is not as it was exported: it is cut, changed or of another version."
        same = tf.debugging.Assert(tf.reduce_all(tf.equal(found, self._fingerprint)), [message])
        with tf.control_dependencies([same]):
            return super().initialize(table)

    # TensorFlow would name the table by the temporary file's path, which the SavedModel would hold.
    @property
    def _shared_name(self) -> str:
        return f"item_lookup_{next(_number)}"


def _fingerprint(content: tf.Tensor) -> tf.Tensor:
    return tf.fingerprint(content[tf.newaxis])[0]


def recent_known(item_ids: tf.Tensor, max_length: int) -> tf.Tensor:
    """Keep the items that a model reads of each history: the most recent known ones, without gaps.

    Args:
        item_ids: `[B, S]` int32 ids, PAD anywhere; `S` may be 0.
        max_length: max number of items.

    Returns:
        `[B, L]` int32 ids, right-padded; `L` is the longest row's length, but at least 1.

    Example:
        >>> recent_known(tf.constant([[4, 0, 2, 7]]), max_length=2).numpy().tolist()
        [[2, 7]]
    """
    return trim_padding(pack_kept(item_ids, tf.not_equal(item_ids, PAD_ID), max_length))


def unknown_items(history: tf.Tensor, history_ids: tf.Tensor) -> tf.Tensor:
    """Count the unknown items of each row.

    Args:
        history: `[B, S]` string.
        history_ids: `[B, S]`, the ids that `ItemLookup.to_ids` returned for it.

    Returns:
        `[B]` int32.

    Example:
        >>> unknown_items(tf.constant([["tent", "?", ""]]), tf.constant([[1, 0, 0]])).numpy().tolist()
        [1]
    """
    unknown = tf.logical_and(tf.not_equal(history, ""), tf.equal(history_ids, PAD_ID))
    return tf.reduce_sum(tf.cast(unknown, tf.int32), axis=1)


def active_items(vocabulary: ItemVocabulary, retired: Collection[str]) -> np.ndarray:
    """Return which items may be recommended.

    Args:
        vocabulary: all items.
        retired: the items that may not.

    Returns:
        `[N]` bool by id from 1, False for a retired item.

    Raises:
        InputError: a retired item is not in the vocabulary.

    Example:
        >>> active_items(ItemVocabulary(["tent", "stove"]), ["tent"]).tolist()
        [False, True]
    """
    active = np.ones(vocabulary.n_items, bool)
    for item, item_id in zip(retired, vocabulary.to_ids(retired), strict=True):
        if item_id == PAD_ID:
            raise InputError(f"Argument `retired` must hold items of the vocabulary. Received: {item!r}.")
        active[item_id - 1] = False
    return active
