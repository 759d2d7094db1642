"""The transformer block: who sees whom, and that it survives serialisation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from laclrec_tf.layers import TransformerBlock

WIDTH = 8
HIDDEN = np.random.default_rng(0).normal(size=[2, 4, WIDTH]).astype("float32")
CAUSAL = np.tril(np.ones([2, 4, 4], bool))


def built(seed: int = 1, **arguments) -> TransformerBlock:
    keras.utils.set_random_seed(seed)
    block = TransformerBlock(WIDTH, **arguments)
    block.build((None, None, WIDTH))
    return block


def numbers(tensor) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("normalisation", ["pre", "post"])
def test_a_position_is_blind_to_what_its_mask_hides(normalisation: str):
    block = built(normalisation=normalisation)
    changed = HIDDEN.copy()
    changed[:, 2] = -changed[:, 2]
    before, after = numbers(block(HIDDEN, CAUSAL)), numbers(block(changed, CAUSAL))
    assert after[:, :2] == pytest.approx(before[:, :2], abs=1e-6)
    # True = may look: positions 2 and 3 see the change.
    assert np.abs(after[:, 2:] - before[:, 2:]).max(axis=-1).min() > 1e-3


def test_pre_normalisation_adds_both_parts_to_the_input_worked_by_hand():
    block = built(normalisation="pre")
    attended = block.attention(*[block.attention_norm(HIDDEN)] * 2, attention_mask=CAUSAL)
    middle = HIDDEN + numbers(attended)
    inner = block.feed_forward_out(block.feed_forward_in(block.feed_forward_norm(middle)))
    assert numbers(block(HIDDEN, CAUSAL)) == pytest.approx(middle + numbers(inner), abs=1e-5)


def test_post_normalisation_gives_normalised_states():
    output = numbers(built(normalisation="post")(HIDDEN, CAUSAL))
    assert output.mean(axis=-1) == pytest.approx(np.zeros([2, 4]), abs=1e-5)
    assert output.std(axis=-1) == pytest.approx(np.ones([2, 4]), abs=1e-2)


def test_without_its_outputs_a_pre_block_is_the_identity():
    block = built(normalisation="pre")
    block.attention.set_weights([0 * w for w in block.attention.get_weights()])
    block.feed_forward_out.set_weights([0 * w for w in block.feed_forward_out.get_weights()])
    assert numbers(block(HIDDEN, CAUSAL)) == pytest.approx(HIDDEN)


def test_rows_of_a_batch_do_not_see_each_other():
    block = built()
    whole = numbers(block(HIDDEN, CAUSAL))
    assert numbers(block(HIDDEN[1:], CAUSAL[1:])) == pytest.approx(whole[1:], abs=1e-6)


def test_dropout_acts_in_training_only():
    block = built(dropout=0.5)
    still = numbers(block(HIDDEN, CAUSAL, training=False))
    assert numbers(block(HIDDEN, CAUSAL, training=False)) == pytest.approx(still, abs=0)
    assert np.abs(numbers(block(HIDDEN, CAUSAL, training=True)) - still).max() > 0.01
    without = built(dropout=0.0)
    assert numbers(without(HIDDEN, CAUSAL, training=True)) == pytest.approx(numbers(without(HIDDEN, CAUSAL)))


def test_the_feed_forward_layer_is_four_times_as_wide_by_default():
    assert built().feed_forward_in.units == 4 * WIDTH
    assert built(feed_forward_width=5).feed_forward_in.units == 5


@pytest.mark.parametrize("how", ["from_config", "keras"])
def test_a_configuration_makes_the_same_block(how: str):
    block = built(n_heads=4, feed_forward_width=12, dropout=0.1, normalisation="post", activation="relu")
    if how == "from_config":
        copy = TransformerBlock.from_config(block.get_config())
        copy.build((None, None, WIDTH))
    else:
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
        assert copy.built, "Keras builds it as the original was built"
    assert isinstance(copy, TransformerBlock)
    assert copy.get_config() == block.get_config()
    copy.set_weights(block.get_weights())
    assert numbers(copy(HIDDEN, CAUSAL)) == pytest.approx(numbers(block(HIDDEN, CAUSAL)), abs=1e-6)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="Received: width=8, n_heads=3"):
        TransformerBlock(8, n_heads=3)


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match="Received: normalisation='both'"):
        TransformerBlock(8, normalisation="both")


@pytest.mark.parametrize("normalisation", ["pre", "post"])
def test_one_position_asked_alone_is_what_it_is_among_all(normalisation: str):
    block = built(normalisation=normalisation)
    among_all = numbers(block(HIDDEN, CAUSAL))[:, 2:3]
    alone = numbers(block(HIDDEN[:, 2:3], CAUSAL[:, 2:3], context=HIDDEN))
    assert alone == pytest.approx(among_all, abs=1e-5)
    assert np.abs(alone - numbers(block(HIDDEN[:, 2:3], CAUSAL[:, 3:4], context=HIDDEN))).max() > 1e-3
