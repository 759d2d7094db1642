"""Sliced cross-entropy: the value and the gradient of the plain one."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses.catalogue_cross_entropy import FEWEST_POSITIONS, catalogue_cross_entropy

GENERATOR = np.random.default_rng(0)
CANDIDATES = GENERATOR.normal(size=[11, 3]).astype("float32") * 2
VECTORS = GENERATOR.normal(size=[60, 3]).astype("float32") * 2
TARGETS = GENERATOR.integers(0, 11, 60).astype("int32")
TARGETS[:4] = 0, 10, 4, 4  # the first, the last, one twice

# Eleven candidates are sliced by positions from so many elements on, below by items.
BY_POSITIONS = 11 * FEWEST_POSITIONS


def plain(vectors, table, targets, specials=(0, 0), weights=None, slice_elements=None):
    first, last = specials
    logits = tf.matmul(vectors, table[first : len(CANDIDATES) - last], transpose_b=True)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets - first, logits)
    return tf.reduce_mean(losses) if weights is None else tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)


def value_and_gradients(function, slice_elements: int, scale: float = 1.0, specials=(0, 0), weights=None):
    vectors, candidates = tf.Variable(VECTORS * scale), tf.Variable(CANDIDATES * scale)
    with tf.GradientTape() as tape:
        targets = np.clip(TARGETS, specials[0], 10 - specials[1])
        loss = function(vectors, candidates, targets, specials, weights, slice_elements)
        tripled = 3.0 * loss
    return loss.numpy(), *(tf.convert_to_tensor(g).numpy() for g in tape.gradient(tripled, [vectors, candidates]))


@pytest.mark.parametrize("slice_elements", [1, 60, 200, BY_POSITIONS - 1, BY_POSITIONS, BY_POSITIONS + 40, 2**21])
@pytest.mark.parametrize("specials", [(0, 0), (1, 2)])
@pytest.mark.parametrize("in_graph", [False, True])
def test_value_and_gradient_are_those_of_the_plain_loss(slice_elements: int, specials, in_graph: bool):
    function = tf.function(catalogue_cross_entropy) if in_graph else catalogue_cross_entropy
    expected = value_and_gradients(plain, slice_elements, specials=specials)
    result = value_and_gradients(function, slice_elements, specials=specials)
    for ours, theirs in zip(result, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("slice_elements", [60, 200, BY_POSITIONS + 40])
@pytest.mark.parametrize("specials", [(0, 0), (1, 1)])
def test_positions_count_by_their_weight(slice_elements: int, specials):
    weights = tf.constant([0.0, 2.0, 1.0] * 20)
    expected = value_and_gradients(plain, slice_elements, specials=specials, weights=weights)
    result = value_and_gradients(catalogue_cross_entropy, slice_elements, specials=specials, weights=weights)
    for ours, theirs in zip(result, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("slice_elements", [60, 200, BY_POSITIONS + 40])
def test_xla_compiles_it(slice_elements: int):
    @tf.function(jit_compile=True)
    def loss_and_gradients(vectors, candidates):
        loss = catalogue_cross_entropy(vectors, candidates, TARGETS, slice_elements=slice_elements)
        return 3.0 * loss, *tf.gradients(3.0 * loss, [vectors, candidates])

    loss, *gradients = loss_and_gradients(tf.constant(VECTORS), tf.constant(CANDIDATES))
    expected = value_and_gradients(plain, slice_elements)
    assert float(loss) == pytest.approx(3 * expected[0], abs=1e-4)
    for ours, theirs in zip(gradients, expected[1:], strict=True):
        assert ours.numpy() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("slice_elements", [200, 2**21])
def test_products_are_made_in_the_dtype_of_the_vectors(slice_elements: int):
    table = tf.Variable(CANDIDATES)
    with tf.GradientTape() as tape:
        vectors = tf.cast(VECTORS, tf.bfloat16)
        loss = catalogue_cross_entropy(vectors, table, TARGETS, slice_elements=slice_elements)
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(float(plain(VECTORS, CANDIDATES, TARGETS)), rel=0.02)
    assert tape.gradient(loss, table).dtype == tf.float32


@pytest.mark.parametrize("slice_elements", [48 * 11, 20_000])
def test_many_slices_in_bfloat16_add_up_as_one_does(slice_elements: int):
    """Twenty thousand positions make 417 slices of positions, or eleven of items."""
    generator = np.random.default_rng(1)
    many, targets = generator.normal(size=[20_000, 3]), generator.integers(0, 11, 20_000)

    def gradients(dtype, slices: int) -> list[np.ndarray]:
        vectors, table = tf.cast(many, dtype), tf.Variable(CANDIDATES)
        with tf.GradientTape() as tape:
            tape.watch(vectors)
            loss = catalogue_cross_entropy(vectors, table, targets, slice_elements=slices)
        return [tf.cast(g, tf.float32).numpy() for g in tape.gradient(loss, [vectors, table])]

    for ours, exact in zip(gradients(tf.bfloat16, slice_elements), gradients(tf.float32, 2**21), strict=True):
        assert np.linalg.norm(ours - exact) < 0.01 * np.linalg.norm(exact)


@pytest.mark.parametrize("slice_elements", [200, 2**21])
def test_a_certain_target_costs_nothing_in_bfloat16(slice_elements: int):
    vectors = tf.cast(VECTORS[:, :1] * 0 + [[7.3, 5.1, 3.7]], tf.bfloat16)
    table = np.outer([12.9, *[-12.9] * 10], [7.3, 5.1, 3.7]).astype("float32")
    assert float(catalogue_cross_entropy(vectors, table, 0 * TARGETS, slice_elements=slice_elements)) == 0.0


@pytest.mark.parametrize("slice_elements", [200, 2**21])
def test_huge_logits_do_not_overflow(slice_elements: int):
    for ours, theirs in zip(
        value_and_gradients(catalogue_cross_entropy, slice_elements, scale=1e3),
        value_and_gradients(plain, slice_elements, scale=1e3),
        strict=True,
    ):
        assert np.isfinite(ours).all()
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-2)


@pytest.mark.parametrize("slice_elements", [200, 2**21])
def test_no_vectors_cost_nothing_and_give_a_gradient_of_nothing(slice_elements: int):
    candidates = tf.Variable(CANDIDATES)
    with tf.GradientTape() as tape:
        loss = catalogue_cross_entropy(
            tf.zeros([0, 3]), candidates, tf.zeros([0], tf.int32), slice_elements=slice_elements
        )
    assert float(loss) == 0.0
    assert not tf.convert_to_tensor(tape.gradient(loss, candidates)).numpy().any()


@pytest.mark.parametrize("slice_elements", [200, BY_POSITIONS])
def test_no_tensor_is_larger_than_a_slice(slice_elements: int):
    """Look at every tensor of the traced function, loops and gradients included."""
    largest = 0

    @tf.function
    def step(vectors, candidates):
        loss = catalogue_cross_entropy(vectors, candidates, TARGETS, slice_elements=slice_elements)
        return tf.gradients(loss, [vectors, candidates])

    vectors, candidates = tf.constant(VECTORS), tf.constant(CANDIDATES)
    graph = step.get_concrete_function(vectors, candidates).graph
    for function in [graph, *(f.graph for f in graph._functions.values())]:
        for operation in function.get_operations():
            for output in operation.outputs:
                if output.shape.is_fully_defined():
                    largest = max(largest, output.shape.num_elements())
    assert 0 < largest < len(VECTORS) * len(CANDIDATES)


def test_a_graph_that_it_was_traced_in_is_freed():
    def traced() -> weakref.ref:
        @tf.function(autograph=False)
        def gradient(vectors: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(vectors)
                loss = catalogue_cross_entropy(vectors, table, tf.constant([1]))
            return tape.gradient(loss, vectors)

        return weakref.ref(gradient.get_concrete_function(tf.ones([1, 2]), tf.ones([3, 2])).graph)

    graph = traced()
    gc.collect()
    assert graph() is None
