"""The networks: what a user vector depends on, and what a hidden state sees."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from laclrec_tf.models import LACLRec

N_ITEMS = 20


def made(**arguments: Any) -> LACLRec:
    keras.utils.set_random_seed(1)
    tiny = {"max_length": 10, "max_edited_length": 14, "max_insertions": 3, "width": 8, "dropout": 0.0, "seed": 2}
    return LACLRec(N_ITEMS, **(tiny | arguments))


def decided(**arguments: Any) -> LACLRec:
    """A model with larger embeddings, so that what it says differs from item to item."""
    model = made(**arguments)
    for embedding in (model.encoder.item_embedding, model.encoder.position_embedding):
        embedding.set_weights([50 * w for w in embedding.get_weights()])
    return model


def numbers(tensor) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def test_a_user_vector_depends_neither_on_padding_nor_on_batch_mates():
    model = decided()
    histories = np.array([[5, 6, 7, 8], [9, 3, 0, 0]], np.int32)
    vectors = numbers(model(histories))
    assert vectors.shape == (2, 8)
    assert numbers(model(np.pad(histories, [(0, 0), (0, 4)]))) == pytest.approx(vectors, abs=1e-5)
    assert numbers(model(np.array([[9, 3]], np.int32)))[0] == pytest.approx(vectors[1], abs=1e-5)
    assert numbers(model({"history": histories})) == pytest.approx(vectors, abs=0)


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("positions", ["start", "end"])
def test_a_user_vector_is_the_hidden_state_at_the_last_item(blocks: int, positions: str):
    model = made(n_recommender_blocks=blocks, positions=positions)
    histories = np.array([[3, 1, 4, 0], [2, 0, 0, 0], [1, 2, 3, 4]])
    hidden = numbers(model.hidden_states(histories))
    assert numbers(model(histories)) == pytest.approx(hidden[[0, 1, 2], [2, 0, 3]], abs=1e-5)


@pytest.mark.parametrize("augmenter_attention", ["causal", "bidirectional"])
def test_next_item_prediction_never_sees_the_future(augmenter_attention: str):
    model = decided(augmenter_attention=augmenter_attention)
    before = numbers(model.hidden_states(np.array([[5, 6, 7, 8]], np.int32)))
    after = numbers(model.hidden_states(np.array([[5, 6, 9, 8]], np.int32)))
    assert after[0, :2] == pytest.approx(before[0, :2], abs=1e-5)
    assert np.abs(after - before)[0, 2:].max(axis=-1).min() > 1e-3


def test_edits_are_the_augmenters_over_the_shared_encoder():
    model = decided(decision="gumbel")
    histories = np.array([[5, 6, 7, 8], [9, 3, 0, 0]], np.int32)
    expected = model.augmenter.edit(model.encoder, histories, "argmax")
    for edit, of_augmenter in zip(model.edit(histories, decision="argmax"), expected, strict=True):
        assert numbers(edit).tolist() == numbers(of_augmenter).tolist()


def test_every_setting_is_an_attribute_and_in_the_configuration():
    model = made(n_recommender_blocks=2, can_delete=False)
    config = model.get_config()
    assert (model.n_recommender_blocks, model.can_delete, len(model.recommender_blocks)) == (2, False, 2)
    assert {name: getattr(model, name) for name in config if name not in ("name", "dtype")} == {
        name: value for name, value in config.items() if name not in ("name", "dtype")
    }
