"""The reverse generator: what each decoding step may depend on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from laclrec_tf.layers import ReverseGenerator

WIDTH, K = 8, 4
GENERATOR = np.random.default_rng(0)
CONTEXT = GENERATOR.normal(size=[3, WIDTH]).astype("float32")
RUN = GENERATOR.normal(size=[3, K - 1, WIDTH]).astype("float32")


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
