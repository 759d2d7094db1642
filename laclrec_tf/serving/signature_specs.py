"""The inputs of the SavedModel's signatures, with open batch and length."""

from __future__ import annotations

import tensorflow as tf

DEFAULT_K = 10
HISTORY = tf.TensorSpec([None, None], tf.string, name="history")
ITEMS = tf.TensorSpec([None], tf.string, name="items")
# Of any rank: one for all rows, or one a row, which a server needs that joins requests to batches.
K = tf.TensorSpec(None, tf.int32, name="k")
EXCLUDE = tf.TensorSpec([None, None], tf.string, name="exclude")
ALLOW = tf.TensorSpec([None, None], tf.string, name="allow")
EXCLUDE_HISTORY = tf.TensorSpec(None, tf.bool, name="exclude_history")
CANDIDATES = tf.TensorSpec([None, None], tf.string, name="candidates")
EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")
