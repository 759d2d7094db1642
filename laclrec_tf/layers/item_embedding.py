"""The item embedding, which reads single rows of its table."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from laclrec_tf.ops.item_table import table_rows


@keras.saving.register_keras_serializable(package="laclrec_tf")
class ItemEmbedding(keras.layers.Layer):
    """One vector for each id. The cost of a lookup does not depend on the size of the catalogue.

    Args:
        n_rows: Number of ids, `N + 3` for a catalogue of `N` items (PAD, items, EOS, MASK).
        width: Size `D` of a vector.

    Call arguments:
        item_ids: Integer ids of any shape.

    Returns:
        `[*item_ids.shape, D]` in the layer's compute dtype; the table is float32.

    Example:
        >>> ItemEmbedding(n_rows=23, width=8)(ops.array([[5, 6, 0]])).shape
        TensorShape([1, 3, 8])
    """

    def __init__(self, n_rows: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_rows = n_rows
        self.width = width

    def build(self, item_ids_shape: tuple[int | None, ...] = (None,)) -> None:
        """Create the table."""
        self.embeddings = self.add_weight(
            shape=(self.n_rows, self.width),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            # Otherwise Keras casts the whole table at each lookup in mixed precision.
            autocast=False,
            name="embeddings",
        )
        self.built = True

    def call(self, item_ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the rows of `item_ids`."""
        if training is False:
            # `table_rows` would make TensorFlow copy the table each time it is read as a whole, e.g. for scores.
            return ops.cast(tf.gather(tf.convert_to_tensor(self.embeddings), item_ids), self.compute_dtype)
        return ops.cast(table_rows(self.embeddings, item_ids), self.compute_dtype)

    def compute_output_shape(self, item_ids_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return `[*item_ids.shape, D]`."""
        return (*item_ids_shape, self.width)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {"n_rows": self.n_rows, "width": self.width}
