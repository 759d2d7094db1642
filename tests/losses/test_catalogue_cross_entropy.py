"""Sliced cross-entropy: the value and the gradient of the plain one."""

from __future__ import annotations

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


def plain(vectors, table, targets, specials=(0, 0), slice_elements=None):
    first, last = specials
    logits = tf.matmul(vectors, table[first : len(CANDIDATES) - last], transpose_b=True)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets - first, logits))


def value_and_gradients(function, slice_elements: int, scale: float = 1.0, specials=(0, 0)):
    vectors, candidates = tf.Variable(VECTORS * scale), tf.Variable(CANDIDATES * scale)
    with tf.GradientTape() as tape:
        targets = np.clip(TARGETS, specials[0], 10 - specials[1])
        loss = function(vectors, candidates, targets, specials, slice_elements)
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
        loss = catalogue_cross_entropy(tf.zeros([0, 3]), candidates, tf.zeros([0], tf.int32), (0, 0), slice_elements)
    assert float(loss) == 0.0
    assert not tf.convert_to_tensor(tape.gradient(loss, candidates)).numpy().any()


@pytest.mark.parametrize("slice_elements", [200, BY_POSITIONS])
def test_no_tensor_is_larger_than_a_slice(slice_elements: int):
    """Look at every tensor of the traced function, loops and gradients included."""
    largest = 0

    @tf.function
    def step(vectors, candidates):
        loss = catalogue_cross_entropy(vectors, candidates, TARGETS, (0, 0), slice_elements)
        return tf.gradients(loss, [vectors, candidates])

    vectors, candidates = tf.constant(VECTORS), tf.constant(CANDIDATES)
    graph = step.get_concrete_function(vectors, candidates).graph
    for function in [graph, *(f.graph for f in graph._functions.values())]:
        for operation in function.get_operations():
            for output in operation.outputs:
                if output.shape.is_fully_defined():
                    largest = max(largest, output.shape.num_elements())
    assert 0 < largest < len(VECTORS) * len(CANDIDATES)
