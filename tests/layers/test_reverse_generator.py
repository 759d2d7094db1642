"""The reverse generator: what each decoding step may depend on."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from laclrec_tf.layers import ReverseGenerator, SequenceEncoder
from laclrec_tf.layers.reverse_generator import greedy_runs

N_ITEMS, RUN_WIDTH, RUN_K = 20, 8, 3
EOS, MASK = N_ITEMS + 1, N_ITEMS + 2
RUN_CONTEXT = np.random.default_rng(0).normal(size=[40, RUN_WIDTH]).astype(np.float32)
WIDTH, K = 8, 4
GENERATOR = np.random.default_rng(0)
CONTEXT = GENERATOR.normal(size=[3, WIDTH]).astype("float32")
RUN = GENERATOR.normal(size=[3, K - 1, WIDTH]).astype("float32")


def built_for_runs(length: int = RUN_K) -> tuple[ReverseGenerator, SequenceEncoder]:
    """A generator and a table with which runs differ from context to context."""
    keras.utils.set_random_seed(1)
    encoder = SequenceEncoder(N_ITEMS, max_length=16, width=RUN_WIDTH, n_blocks=1)
    encoder.build((None, None))
    encoder.item_embedding.set_weights([50 * w for w in encoder.item_embedding.get_weights()])
    generator = ReverseGenerator(RUN_WIDTH, length)
    generator.build((None, RUN_WIDTH))
    return generator, encoder


def decoded(generator, encoder: SequenceEncoder, context=RUN_CONTEXT, length: int = RUN_K, **arguments) -> np.ndarray:
    return greedy_runs(generator, encoder, tf.constant(context), length=length, eos_id=EOS, **arguments).numpy()


@pytest.mark.parametrize("length", [1, 2, 5])
def test_the_best_item_comes_step_by_step(length: int):
    generator, encoder = built_for_runs(length)
    table = ops.convert_to_numpy(encoder.item_table)
    so_far = np.zeros([len(RUN_CONTEXT), 0], np.int32)
    for _ in range(length):
        states = generator(RUN_CONTEXT, encoder.item_embedding(so_far)).numpy()
        scores = states[:, -1] @ table[1 : EOS + 1].T
        np.put_along_axis(scores, so_far - 1, -np.inf, axis=1)  # no item comes twice
        best = 1 + scores.argmax(axis=1)
        so_far = np.concatenate([so_far, best[:, None].astype(np.int32)], axis=1)
    ended = np.cumsum(so_far == EOS, axis=1) - (so_far == EOS) > 0
    runs = decoded(generator, encoder, length=length)
    assert runs.tolist() == np.where(ended, 0, so_far).tolist()
    assert len(np.unique(runs)) > 5


@pytest.mark.parametrize("normalisation", ["pre", "post"])
def test_a_single_position_keeps_the_filters_of_warnings(monkeypatch, normalisation: str):
    """They belong to the whole process, so a call in one thread must not change what others are warned of."""
    generator = ReverseGenerator(WIDTH, max_insertions=2, normalisation=normalisation)
    longer, normal = generator(CONTEXT, RUN[:, :1]), generator.output_norm.call

    def warning(*args, **kwargs):
        warnings.warn("of anything else", UserWarning, stacklevel=1)
        return normal(*args, **kwargs)

    monkeypatch.setattr(generator.output_norm, "call", warning)
    with pytest.warns(UserWarning, match="of anything else") as shown:
        alone = generator(CONTEXT, RUN[:, :0])
    assert len(shown) == 1
    np.testing.assert_allclose(alone, longer[:, :1], atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_a_single_position_gives_no_warning_and_the_first_output_of_a_longer_run(training: bool):
    generator = ReverseGenerator(
        WIDTH, max_insertions=2, dropout=1e-9
    )  # no dropout at all is computed without the softmax
    longer = generator(CONTEXT, RUN[:, :1], training=training)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = generator(CONTEXT, RUN[:, :0], training=training)
    np.testing.assert_allclose(alone, longer[:, :1], atol=1e-5)


def test_pad_and_mask_never_come_even_when_they_score_best():
    generator, encoder = built_for_runs()
    state = np.ones(RUN_WIDTH)
    generator.output_norm.set_weights([np.zeros(RUN_WIDTH), state])  # every decoder state is `state`
    table = encoder.item_embedding.get_weights()[0] * 0
    table[0] = table[MASK] = 10 * state
    table[3], table[4] = 2 * state, state
    encoder.item_embedding.set_weights([table])
    assert decoded(generator, encoder, RUN_CONTEXT[:4]).tolist() == [[3, 4, 1]] * 4
    table[EOS] = 3 * state
    encoder.item_embedding.set_weights([table])
    assert decoded(generator, encoder, RUN_CONTEXT[:4]).tolist() == [[EOS, *[0] * (RUN_K - 1)]] * 4


@pytest.mark.parametrize("static_shapes", [False, True])
def test_nothing_is_decoded_behind_the_end_of_a_run(static_shapes: bool):
    """The item before decides alone: 3 starts a run, 4 follows 3, EOS follows 4 and everything else."""
    _, encoder = built_for_runs()
    rows = np.zeros([N_ITEMS + 3, RUN_WIDTH], np.float32)
    rows[3, 0], rows[4, 1], rows[EOS, 2] = 1.0, 1.0, 1.0
    encoder.item_embedding.set_weights([rows])

    def states(context, so_far, training=None):
        return tf.concat([context[:, tf.newaxis], tf.roll(so_far, 1, axis=-1)], axis=1)

    starts_at_3, ends_at_once = np.eye(RUN_WIDTH, dtype=np.float32)[[0, 2]]
    runs = decoded(states, encoder, [starts_at_3, ends_at_once, starts_at_3], static_shapes=static_shapes)
    assert runs.tolist() == [[3, 4, EOS], [EOS, 0, 0], [3, 4, EOS]]


@pytest.mark.parametrize("static_shapes", [False, True])
def test_only_candidates_come_and_none_that_is_present(static_shapes: bool):
    generator, encoder = built_for_runs()
    candidates = tf.constant([9, 2, 5, 9, 7, 2, 5])  # in no order, some twice
    present = tf.constant([[5, 0], [2, 9]] * 20)
    runs = decoded(generator, encoder, candidates=candidates, present=present, static_shapes=static_shapes)
    for run, others in zip(runs, present.numpy(), strict=True):
        items = [item for item in run if item not in (0, EOS)]
        assert set(items) <= {2, 5, 7, 9} - set(others.tolist())
        assert len(set(items)) == len(items)
    assert ((runs > 0) & (runs != EOS)).sum() > 20


def test_an_item_comes_even_when_all_items_score_badly():
    generator, encoder = built_for_runs()
    generator.output_norm.set_weights([np.zeros(RUN_WIDTH), np.full(RUN_WIDTH, 1e4)])
    encoder.item_embedding.set_weights([np.full([N_ITEMS + 3, RUN_WIDTH], -1e3)])
    runs = decoded(generator, encoder, np.ones([2, RUN_WIDTH], np.float32))
    assert runs[:, 0].min() >= 1 and runs.max() <= EOS


def built(seed: int = 1, **arguments) -> ReverseGenerator:
    keras.utils.set_random_seed(seed)
    generator = ReverseGenerator(WIDTH, **({"max_insertions": K} | arguments))
    generator.build((None, WIDTH))
    return generator


def states(generator: ReverseGenerator, context, run, **arguments) -> np.ndarray:
    return ops.convert_to_numpy(generator(ops.convert_to_tensor(context), ops.convert_to_tensor(run), **arguments))


@pytest.mark.parametrize("n_before", [0, 1, K - 1])
def test_there_is_one_state_more_than_items_so_far(n_before: int):
    assert states(built(), CONTEXT, RUN[:, :n_before]).shape == (3, n_before + 1, WIDTH)


def test_a_longer_run_does_not_change_earlier_steps():
    generator = built()
    whole = states(generator, CONTEXT, RUN)
    for n_before in range(K):
        part = states(generator, CONTEXT, RUN[:, :n_before])
        assert part == pytest.approx(whole[:, : n_before + 1], abs=1e-5)


def test_every_step_depends_on_the_context_and_on_the_items_before_it():
    generator = built()
    whole = states(generator, CONTEXT, RUN)
    other_context = states(generator, CONTEXT[::-1].copy(), RUN)
    assert np.abs(other_context - whole)[[0, 2]].max(axis=-1).min() > 1e-3
    changed = RUN.copy()
    changed[:, 1] = -changed[:, 1]
    after = states(generator, CONTEXT, changed)
    assert after[:, :2] == pytest.approx(whole[:, :2], abs=1e-6)
    assert np.abs(after - whole)[:, 2:].max(axis=-1).min() > 1e-3


def test_steps_are_told_apart_by_their_positions():
    # The same vector at every step: only the position embedding differs.
    generator = built()
    generator.position_embedding.set_weights([30 * w for w in generator.position_embedding.get_weights()])
    same = np.repeat(CONTEXT[:, None], K, axis=1)
    result = states(generator, same[:, 0], same[:, 1:])
    assert np.abs(result[:, 1:] - result[:, :-1]).max(axis=-1).min() > 1e-3


def test_runs_do_not_see_each_other():
    generator = built()
    assert states(generator, CONTEXT[1:2], RUN[1:2]) == pytest.approx(states(generator, CONTEXT, RUN)[1:2], abs=1e-5)


def test_no_runs_at_all_are_fine():
    assert states(built(), CONTEXT[:0], RUN[:0]).shape == (0, K, WIDTH)


def test_dropout_acts_in_training_only():
    generator = built(dropout=0.5)
    still = states(generator, CONTEXT, RUN)
    assert states(generator, CONTEXT, RUN, training=False) == pytest.approx(still, abs=0)
    assert np.abs(states(generator, CONTEXT, RUN, training=True) - still).max() > 0.01


@pytest.mark.parametrize("how", ["from_config", "keras"])
def test_a_configuration_makes_the_same_generator(how: str):
    generator = built(max_insertions=6, n_heads=4, dropout=0.1, normalisation="post")
    if how == "from_config":
        copy = ReverseGenerator.from_config(generator.get_config())
        copy.build((None, WIDTH))
    else:
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(generator))
        assert copy.built, "Keras builds it as the original was built"
    assert isinstance(copy, ReverseGenerator)
    assert copy.get_config() == generator.get_config()
    copy.set_weights(generator.get_weights())
    assert states(copy, CONTEXT, RUN) == pytest.approx(states(generator, CONTEXT, RUN), abs=1e-6)
