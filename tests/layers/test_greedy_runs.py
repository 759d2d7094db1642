"""Greedy decoding: the best item step by step, until EOS."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from laclrec_tf.layers import ReverseGenerator, SequenceEncoder
from laclrec_tf.layers.reverse_generator import greedy_runs

N_ITEMS, WIDTH, K = 20, 8, 3
EOS, MASK = N_ITEMS + 1, N_ITEMS + 2
CONTEXT = np.random.default_rng(0).normal(size=[40, WIDTH]).astype(np.float32)


def built(length: int = K) -> tuple[ReverseGenerator, SequenceEncoder]:
    """A generator and a table with which runs differ from context to context."""
    keras.utils.set_random_seed(1)
    encoder = SequenceEncoder(N_ITEMS, max_length=16, width=WIDTH, n_blocks=1)
    encoder.build((None, None))
    encoder.item_embedding.set_weights([50 * w for w in encoder.item_embedding.get_weights()])
    generator = ReverseGenerator(WIDTH, length)
    generator.build((None, WIDTH))
    return generator, encoder


def decoded(generator, encoder: SequenceEncoder, context=CONTEXT, length: int = K, **arguments) -> np.ndarray:
    return greedy_runs(generator, encoder, tf.constant(context), length=length, eos_id=EOS, **arguments).numpy()


@pytest.mark.parametrize("length", [1, 2, 5])
def test_the_best_item_comes_step_by_step(length: int):
    generator, encoder = built(length)
    table = ops.convert_to_numpy(encoder.item_table)
    so_far = np.zeros([len(CONTEXT), 0], np.int32)
    for _ in range(length):
        states = generator(CONTEXT, encoder.item_embedding(so_far)).numpy()
        scores = states[:, -1] @ table[1 : EOS + 1].T
        np.put_along_axis(scores, so_far - 1, -np.inf, axis=1)  # no item comes twice
        best = 1 + scores.argmax(axis=1)
        so_far = np.concatenate([so_far, best[:, None].astype(np.int32)], axis=1)
    ended = np.cumsum(so_far == EOS, axis=1) - (so_far == EOS) > 0
    runs = decoded(generator, encoder, length=length)
    assert runs.tolist() == np.where(ended, 0, so_far).tolist()
    assert len(np.unique(runs)) > 5


def test_pad_and_mask_never_come_even_when_they_score_best():
    generator, encoder = built()
    state = np.ones(WIDTH)
    generator.output_norm.set_weights([np.zeros(WIDTH), state])  # every decoder state is `state`
    table = encoder.item_embedding.get_weights()[0] * 0
    table[0] = table[MASK] = 10 * state
    table[3], table[4] = 2 * state, state
    encoder.item_embedding.set_weights([table])
    assert decoded(generator, encoder, CONTEXT[:4]).tolist() == [[3, 4, 1]] * 4
    table[EOS] = 3 * state
    encoder.item_embedding.set_weights([table])
    assert decoded(generator, encoder, CONTEXT[:4]).tolist() == [[EOS, *[0] * (K - 1)]] * 4


@pytest.mark.parametrize("static_shapes", [False, True])
def test_nothing_is_decoded_behind_the_end_of_a_run(static_shapes: bool):
    """The item before decides alone: 3 starts a run, 4 follows 3, EOS follows 4 and everything else."""
    _, encoder = built()
    rows = np.zeros([N_ITEMS + 3, WIDTH], np.float32)
    rows[3, 0], rows[4, 1], rows[EOS, 2] = 1.0, 1.0, 1.0
    encoder.item_embedding.set_weights([rows])

    def states(context, so_far, training=None):
        return tf.concat([context[:, tf.newaxis], tf.roll(so_far, 1, axis=-1)], axis=1)

    starts_at_3, ends_at_once = np.eye(WIDTH, dtype=np.float32)[[0, 2]]
    runs = decoded(states, encoder, [starts_at_3, ends_at_once, starts_at_3], static_shapes=static_shapes)
    assert runs.tolist() == [[3, 4, EOS], [EOS, 0, 0], [3, 4, EOS]]


@pytest.mark.parametrize("static_shapes", [False, True])
def test_only_candidates_come_and_none_that_is_present(static_shapes: bool):
    generator, encoder = built()
    candidates = tf.constant([9, 2, 5, 9, 7, 2, 5])  # in no order, some twice
    present = tf.constant([[5, 0], [2, 9]] * 20)
    runs = decoded(generator, encoder, candidates=candidates, present=present, static_shapes=static_shapes)
    for run, others in zip(runs, present.numpy(), strict=True):
        items = [item for item in run if item not in (0, EOS)]
        assert set(items) <= {2, 5, 7, 9} - set(others.tolist())
        assert len(set(items)) == len(items)
    assert ((runs > 0) & (runs != EOS)).sum() > 20


def test_an_item_comes_even_when_all_items_score_badly():
    generator, encoder = built()
    generator.output_norm.set_weights([np.zeros(WIDTH), np.full(WIDTH, 1e4)])
    encoder.item_embedding.set_weights([np.full([N_ITEMS + 3, WIDTH], -1e3)])
    runs = decoded(generator, encoder, np.ones([2, WIDTH], np.float32))
    assert runs[:, 0].min() >= 1 and runs.max() <= EOS
