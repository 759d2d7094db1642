"""The sequence encoder: padding, time and batch mates leave a result alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from laclrec_tf.layers import SequenceEncoder
from laclrec_tf.layers.sequence_encoder import attention_mask

N_ITEMS = 20
HISTORIES = np.array([[5, 6, 7, 8], [9, 3, 0, 0]], np.int32)
REAL = HISTORIES > 0


def built(seed: int = 1, **arguments) -> SequenceEncoder:
    keras.utils.set_random_seed(seed)
    encoder = SequenceEncoder(N_ITEMS, max_length=10, width=8, **arguments)
    encoder.build((None, None))
    # Larger than at the start of training, so that a leak would show.
    for embedding in (encoder.item_embedding, encoder.position_embedding):
        embedding.set_weights([30 * w for w in embedding.get_weights()])
    return encoder


def states(encoder: SequenceEncoder, item_ids, **arguments) -> np.ndarray:
    return ops.convert_to_numpy(encoder(ops.convert_to_tensor(item_ids), **arguments))


def test_the_causal_mask_is_true_at_the_past_and_itself_but_not_at_padding():
    assert ops.convert_to_numpy(attention_mask(HISTORIES, causal=True)).astype(int).tolist() == [
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]],
    ]


def test_the_mask_that_is_not_causal_is_true_at_every_item():
    mask = ops.convert_to_numpy(attention_mask(HISTORIES, causal=False)).astype(int).tolist()
    assert mask == [[[1, 1, 1, 1]] * 4, [[1, 1, 0, 0]] * 4]


@pytest.mark.parametrize("positions", ["start", "end"])
@pytest.mark.parametrize("causal", [True, False])
def test_more_padding_never_changes_a_result(positions: str, causal: bool):
    encoder = built(positions=positions)
    narrow = states(encoder, HISTORIES, causal=causal)
    wide = states(encoder, np.pad(HISTORIES, [(0, 0), (0, 5)]), causal=causal)
    assert wide[:, :4][REAL] == pytest.approx(narrow[REAL], abs=1e-5)
    # The shorter history alone, without any padding.
    alone = states(encoder, HISTORIES[1:, :2], causal=causal)
    assert alone[0] == pytest.approx(narrow[1, :2], abs=1e-5)


@pytest.mark.parametrize("positions", ["start", "end"])
def test_the_future_does_not_change_the_past(positions: str):
    encoder = built(positions=positions)
    changed = HISTORIES.copy()
    changed[0, 2] = 11
    before, after = states(encoder, HISTORIES), states(encoder, changed)
    assert after[0, :2] == pytest.approx(before[0, :2], abs=1e-5)
    assert np.abs(after[0, 2:] - before[0, 2:]).max(axis=-1).min() > 1e-3
    # Without the causal mask the same weights look at both sides.
    both = states(encoder, changed, causal=False)[0, :2] - states(encoder, HISTORIES, causal=False)[0, :2]
    assert np.abs(both).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("causal", [True, False])
def test_rows_of_a_batch_do_not_see_each_other(causal: bool):
    encoder = built()
    other = np.array([[1, 2, 3, 4], HISTORIES[1]], np.int32)
    assert states(encoder, other, causal=causal)[1, :2] == pytest.approx(
        states(encoder, HISTORIES, causal=causal)[1, :2], abs=1e-5
    )


def test_positions_count_from_the_start_or_from_the_end():
    # The item's own states alone: no block. Item 6 behind 5, and item 6 behind 5 and 4.
    ids = np.array([[5, 6, 0], [4, 5, 6]], np.int32)
    for positions, indices in (("start", [[0, 1], [0, 1, 2]]), ("end", [[1, 0], [2, 1, 0]])):
        encoder = built(positions=positions, n_blocks=0)
        items, places = encoder.item_embedding.get_weights()[0], encoder.position_embedding.get_weights()[0]
        result = states(encoder, ids)
        for row, index in enumerate(indices):
            n = len(index)
            assert result[row, :n] == pytest.approx(items[ids[row, :n]] + places[index], abs=1e-6)


def test_the_order_of_items_matters():
    encoder = built()
    forwards, backwards = (
        states(encoder, [[5, 6, 7]], causal=False),
        states(encoder, [[7, 6, 5]], causal=False),
    )
    assert np.abs(forwards - backwards[:, ::-1]).max() > 1e-3


def test_an_empty_history_gives_finite_states():
    assert np.isfinite(states(built(), np.zeros([1, 3], np.int32))).all()


def test_the_item_table_has_a_row_for_every_item_and_token():
    encoder = built()
    assert tuple(encoder.item_table.shape) == (N_ITEMS + 3, 8)
    # MASK, the last row, is an input like any other.
    assert np.isfinite(states(encoder, [[5, N_ITEMS + 2]])).all()


def test_dropout_acts_in_training_only():
    encoder = built(dropout=0.5)
    still = states(encoder, HISTORIES)
    assert states(encoder, HISTORIES, training=False) == pytest.approx(still, abs=0)
    assert np.abs(states(encoder, HISTORIES, training=True) - still).max() > 0.01


@pytest.mark.parametrize("how", ["from_config", "keras"])
def test_a_configuration_makes_the_same_encoder(how: str):
    encoder = built(n_blocks=1, n_heads=4, dropout=0.1, positions="end", normalisation="post")
    if how == "from_config":
        copy = SequenceEncoder.from_config(encoder.get_config())
        copy.build((None, None))
    else:
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
        assert copy.built, "Keras builds it as the original was built"
    assert isinstance(copy, SequenceEncoder)
    assert copy.get_config() == encoder.get_config()
    copy.set_weights(encoder.get_weights())
    assert states(copy, HISTORIES) == pytest.approx(states(encoder, HISTORIES), abs=1e-6)


def test_unknown_positions_are_refused():
    with pytest.raises(ValueError, match="Received: positions='middle'"):
        SequenceEncoder(N_ITEMS, positions="middle")
