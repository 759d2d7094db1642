"""LazyAdam: Keras's Adam for dense gradients; for rows, only these rows move."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.lazy_adam import LazyAdam

START = np.random.default_rng(0).normal(size=[5, 3]).astype("float32")


def steps(optimizer: keras.optimizers.Optimizer, gradients: list) -> np.ndarray:
    table = keras.Variable(START)
    for gradient in gradients:
        optimizer.apply([gradient], [table])
    return table.numpy()


def dense(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=START.shape).astype("float32")


def rows(indices: list[int], values) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(indices), tf.constant(START.shape))


@pytest.mark.parametrize("ema", [False, True])
def test_dense_gradients_move_a_variable_as_keras_adam_does(ema: bool):
    gradients = [tf.constant(dense(seed)) for seed in range(4)]
    ours, theirs = LazyAdam(0.01, use_ema=ema), keras.optimizers.Adam(0.01, use_ema=ema)
    assert steps(ours, gradients) == pytest.approx(steps(theirs, gradients), abs=1e-6)
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        assert mine.numpy() == pytest.approx(other.numpy(), abs=1e-6)


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_accumulated_gradients_move_a_variable_as_keras_adam_does(sparse: bool, ema: bool):
    gradients = [rows([4, 0, 4], dense(seed)[:3]) if sparse else tf.constant(dense(seed)) for seed in range(5)]
    settings = {"gradient_accumulation_steps": 2, "use_ema": ema, "ema_momentum": 0.9}
    ours, theirs = LazyAdam(0.01, **settings), keras.optimizers.Adam(0.01, **settings)
    assert steps(ours, gradients) == pytest.approx(steps(theirs, gradients), abs=1e-6)
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        assert mine.numpy() == pytest.approx(other.numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("clip", "clipped"), [("clipnorm", [0.6, 0.8]), ("global_clipnorm", [0.6, 0.8]), ("clipvalue", [1, 1])]
)
def test_clipping_bounds_what_a_row_gets_in_all(clip: str, clipped: list[float]):
    table, optimizer = keras.Variable(np.zeros([3, 1], "float32")), LazyAdam(0.01, **{clip: 1})
    repeated = tf.constant([[1.0], [4.0], [2.0]]), tf.constant([1, 2, 1])  # rows 1 and 2 get 3 and 4: a norm of 5
    optimizer.apply([tf.IndexedSlices(*repeated, tf.constant([3, 1]))], [table])
    assert optimizer.variables[2].numpy()[1:, 0] == pytest.approx(0.1 * np.array(clipped))  # the momentum
    kept = table.numpy()[1:]
    optimizer.apply([tf.IndexedSlices(tf.constant([[9.0]]), tf.constant([0]), tf.constant([3, 1]))], [table])
    assert (table.numpy()[1:] == kept).all()  # still rows, not a dense gradient


def test_a_gradient_of_every_row_is_a_dense_one():
    values = [dense(seed) for seed in range(3)]
    sparse = steps(LazyAdam(0.01), [rows([0, 1, 2, 3, 4], value) for value in values])
    assert sparse == pytest.approx(steps(LazyAdam(0.01), [tf.constant(value) for value in values]), abs=1e-6)


def test_repeated_rows_are_summed_first():
    once = steps(LazyAdam(0.01), [rows([3, 1], [[3, 5, 7], [1, 1, 1]])])
    repeated = steps(LazyAdam(0.01), [rows([3, 1, 3], [[1, 2, 3], [1, 1, 1], [2, 3, 4]])])
    assert repeated == pytest.approx(once, abs=1e-7)


def test_rows_without_gradient_stay_with_their_momentum():
    optimizer = LazyAdam(0.01)
    first = steps(optimizer, [rows([0, 2], dense(0)[:2])])
    assert (first[[1, 3, 4]] == START[[1, 3, 4]]).all()
    assert (first[[0, 2]] != START[[0, 2]]).all()
    table = keras.Variable(START)
    optimizer = LazyAdam(0.01)
    for gradient in (rows([0], [[1, 1, 1]]), rows([2], [[1, 1, 1]])):
        optimizer.apply([gradient], [table])
        kept = table.numpy()[0]
    # Keras's Adam would have moved row 0 once more in the second step, by its momentum.
    assert kept == pytest.approx(START[0] - 0.01, abs=1e-6)
    momentum = optimizer.variables[2].numpy()
    assert momentum[0] == pytest.approx([0.1] * 3) and momentum[2] == pytest.approx([0.1] * 3)


def test_the_second_step_of_a_row_worked_by_hand():
    table = keras.Variable([[1.0]])
    optimizer = LazyAdam(0.1, beta_1=0.5, beta_2=0.75, epsilon=0.0)
    gradient = tf.IndexedSlices(tf.constant([[2.0]]), tf.constant([0]), tf.constant([1, 1]))
    optimizer.apply([gradient], [table])  # m = 1, v = 1, rate = 0.1 * sqrt(1/4) / (1/2) = 0.1
    assert table.numpy()[0, 0] == pytest.approx(0.9)
    optimizer.apply([gradient], [table])  # m = 1.5, v = 1.75, rate = 0.1 * sqrt(7/16) / (3/4)
    assert table.numpy()[0, 0] == pytest.approx(0.9 - 0.1 * (7 / 16) ** 0.5 / 0.75 * 1.5 / 1.75**0.5)


@pytest.mark.parametrize("gradient", [tf.constant(dense(1)), rows([4, 0, 4], dense(2)[:3])])
def test_xla_compiles_it(gradient):
    table, optimizer = keras.Variable(START), LazyAdam(0.01)
    optimizer.build([table])

    @tf.function(jit_compile=True)
    def step():
        optimizer.apply([gradient], [table])

    step()
    step()
    assert table.numpy() == pytest.approx(steps(LazyAdam(0.01), [gradient, gradient]), abs=1e-6)


def test_it_comes_back_from_its_configuration():
    optimizer = LazyAdam(0.02, beta_1=0.8, epsilon=1e-6, use_ema=True, ema_momentum=0.9)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(loaded) is LazyAdam
    assert loaded.get_config() == optimizer.get_config()


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="`amsgrad` must be False"):
        LazyAdam(amsgrad=True)
