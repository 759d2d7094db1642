"""The item embedding: rows of its table, in its compute dtype, and its life in Keras."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.layers import ItemEmbedding


def test_ids_get_their_rows():
    layer = ItemEmbedding(n_rows=4, width=2)
    vectors = layer(np.array([[3, 0], [1, 1]], np.int32)).numpy()
    table = layer.embeddings.numpy()
    assert (vectors == table[[[3, 0], [1, 1]]]).all()


def test_the_table_starts_small():
    table = ItemEmbedding(n_rows=400, width=8)
    table.build()
    assert table.embeddings.numpy().std() == pytest.approx(0.02, rel=0.2)


def test_in_mixed_precision_rows_are_half_and_the_table_is_not_cast():
    layer = ItemEmbedding(n_rows=4, width=2, dtype="mixed_bfloat16")
    layer.build()

    @tf.function
    def looked_up(ids):
        return layer(ids)

    ids = tf.constant([1])
    assert looked_up(ids).dtype == tf.bfloat16
    graph = looked_up.get_concrete_function(ids).graph
    casts = [operation.inputs[0].shape for operation in graph.get_operations() if operation.type == "Cast"]
    assert [1, 2] in [shape.as_list() for shape in casts]
    assert [4, 2] not in [shape.as_list() for shape in casts]


def test_it_comes_back_from_a_file(tmp_path):
    model = keras.Sequential([keras.Input((3,), dtype="int32"), ItemEmbedding(n_rows=5, width=2)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    ids = np.array([[4, 2, 0]], np.int32)
    assert (loaded(ids).numpy() == model(ids).numpy()).all()


class Holder(keras.Model):
    """A model that has an embedding as an attribute, as the sequence encoder does."""

    def __init__(self, embedding) -> None:
        super().__init__()
        self.item_embedding = embedding
        embedding.build((None,))
        self.built = True


def test_weights_saved_by_keras_own_embedding_fit(tmp_path):
    """Runs made before this layer was written hold a `keras.layers.Embedding`."""
    theirs, ours = Holder(keras.layers.Embedding(5, 2)), Holder(ItemEmbedding(5, 2))
    theirs.save_weights(tmp_path / "old.weights.h5")
    ours.load_weights(tmp_path / "old.weights.h5")
    assert (ours.get_weights()[0] == theirs.get_weights()[0]).all()
