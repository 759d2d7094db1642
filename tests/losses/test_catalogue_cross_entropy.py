"""Sliced cross-entropy: the value and the gradient of the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses.catalogue_cross_entropy import catalogue_cross_entropy

GENERATOR = np.random.default_rng(0)
CANDIDATES = GENERATOR.normal(size=[11, 3]).astype("float32") * 2
VECTORS = GENERATOR.normal(size=[6, 3]).astype("float32") * 2
TARGETS = np.array([0, 10, 4, 4, 7, 3], np.int32)  # the first, the last, one twice
WEIGHTS = np.array([1.0, -2.0, 0.5, 3.0, 0.0, 1.0], np.float32)


def plain(vectors, candidates, targets, slice_size):
    logits = tf.matmul(vectors, candidates, transpose_b=True)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)


def value_and_gradients(function, slice_size: int, scale: float = 1.0):
    vectors, candidates = tf.Variable(VECTORS * scale), tf.Variable(CANDIDATES * scale)
    with tf.GradientTape() as tape:
        losses = function(vectors, candidates, TARGETS, slice_size)
        weighted = tf.reduce_sum(losses * WEIGHTS)
    return losses.numpy(), *(g.numpy() for g in tape.gradient(weighted, [vectors, candidates]))


@pytest.mark.parametrize("slice_size", [1, 3, 4, 11, 512])
@pytest.mark.parametrize("in_graph", [False, True])
def test_value_and_gradient_are_those_of_the_plain_loss(slice_size: int, in_graph: bool):
    function = tf.function(catalogue_cross_entropy) if in_graph else catalogue_cross_entropy
    expected = value_and_gradients(plain, slice_size)
    result = value_and_gradients(function, slice_size)
    for ours, theirs in zip(result, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_huge_logits_do_not_overflow():
    for ours, theirs in zip(
        value_and_gradients(catalogue_cross_entropy, 4, scale=1e3),
        value_and_gradients(plain, 4, scale=1e3),
        strict=True,
    ):
        assert np.isfinite(ours).all()
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-2)


def test_no_vectors_give_no_losses_and_a_gradient_of_nothing():
    candidates = tf.Variable(CANDIDATES)
    with tf.GradientTape() as tape:
        losses = catalogue_cross_entropy(tf.zeros([0, 3]), candidates, tf.zeros([0], tf.int32), 4)
        total = tf.reduce_sum(losses)
    assert losses.shape == (0,)
    assert not tape.gradient(total, candidates).numpy().any()
