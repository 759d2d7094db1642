"""Cross-entropies: values and gradients of the plain formula, the authors' values, and values worked by hand."""

from __future__ import annotations

import gc
import json
import math
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.losses import cross_entropy, next_item_loss, operation_loss
from laclrec_tf.losses.cross_entropy import (
    MIN_POSITIONS,
    catalogue_cross_entropy,
    catalogue_logits,
    label_smoothing_term,
)

# Three items of one dimension, scored by a vector 1 as 0, log 2 and log 4; PAD, EOS and MASK score high.
SMOOTHED_TABLE = np.array([[9.0], [0.0], [math.log(2)], [math.log(4)], [9.0], [9.0]], np.float32)
ONE = np.ones([1, 1], np.float32)
# Three items of one dimension, scored by a vector 1 as log 1, log 2 and log 5; PAD, EOS and MASK score high.
TABLE = np.array([[9.0], [0.0], [math.log(2)], [math.log(5)], [9.0], [9.0]], np.float32)
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "reference_values.json").read_text())["augmenter_loss"]
LOG_3 = math.log(3.0)
GENERATOR = np.random.default_rng(0)
CANDIDATES = GENERATOR.normal(size=[11, 3]).astype("float32") * 2
VECTORS = GENERATOR.normal(size=[60, 3]).astype("float32") * 2
TARGETS = GENERATOR.integers(0, 11, 60).astype("int32")
TARGETS[:4] = 0, 10, 4, 4  # the first, the last, one twice
# Eleven candidates are sliced by positions from so many elements on, below by items.
BY_POSITIONS = 11 * MIN_POSITIONS


def test_worked_by_hand():
    # The mean logit is log 2: the three targets are log 2 below it, at it, and log 2 above it.
    leads = [float(label_smoothing_term(ONE, SMOOTHED_TABLE, np.array([target]))) for target in (1, 2, 3)]
    assert leads == pytest.approx([-math.log(2), 0.0, math.log(2)], abs=1e-6)


def test_positions_of_the_next_item_count_by_their_weight():
    vectors, targets = np.ones([3, 1], np.float32), np.array([1, 3, 0])
    lead = label_smoothing_term(vectors, SMOOTHED_TABLE, targets, weights=np.array([1.0, 3.0, 0.0]))
    assert float(lead) == pytest.approx((-math.log(2) + 3 * math.log(2)) / 4, abs=1e-6)


def test_no_positions_cost_nothing_with_smoothing():
    assert float(label_smoothing_term(np.zeros([0, 1], "f"), SMOOTHED_TABLE, np.zeros([0], int))) == 0.0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_with_the_next_item_loss_it_is_cross_entropy_against_smoothed_labels(share):
    draw = np.random.default_rng(7)
    table = tf.Variable(draw.normal(size=[9, 4]).astype("f"))  # six items
    vectors = tf.Variable(draw.normal(size=[5, 4]).astype("f"))
    targets = np.array([1, 6, 3, 3, 2])
    with tf.GradientTape(persistent=True) as tape:
        loss = next_item_loss(vectors, table, targets) + share * label_smoothing_term(vectors, table, targets)
        labels = tf.one_hot(targets - 1, 6)
        logits = catalogue_logits(vectors, table)
        expected = tf.reduce_mean(
            keras.losses.categorical_crossentropy(labels, logits, from_logits=True, label_smoothing=share)
        )
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for variable in (vectors, table):
        ours, theirs = (tf.convert_to_tensor(tape.gradient(value, variable)).numpy() for value in (loss, expected))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_next_item_loss_worked_by_hand():
    for target, share in ((1, 1 / 8), (2, 2 / 8), (3, 5 / 8)):
        loss = next_item_loss(ONE, TABLE, np.array([target]))
        assert float(loss) == pytest.approx(-math.log(share), abs=1e-6)


def test_the_loss_is_the_mean_over_positions():
    loss = next_item_loss(np.ones([3, 1], "f"), TABLE, np.array([1, 3, 3]))
    assert float(loss) == pytest.approx(-(math.log(1 / 8) + 2 * math.log(5 / 8)) / 3, abs=1e-6)


def test_specials_get_no_probability():
    # The shares of the items alone sum to 1, however high the specials score.
    shares = [math.exp(-float(next_item_loss(ONE, TABLE, np.array([item])))) for item in (1, 2, 3)]
    assert sum(shares) == pytest.approx(1.0, abs=1e-6)
    table = tf.Variable(TABLE)
    with tf.GradientTape() as tape:
        loss = next_item_loss(ONE, table, np.array([2]))
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    # An item's share less 1 at the target; nothing for PAD, EOS and MASK.
    assert gradient[:, 0] == pytest.approx([0, 1 / 8, 2 / 8 - 1, 5 / 8, 0, 0], abs=1e-6)


def test_eos_takes_part_when_it_is_allowed():
    table = TABLE.copy()
    table[4] = math.log(8)  # EOS weighs as much as the items together
    for target, share in ((2, 2 / 16), (4, 8 / 16)):
        loss = next_item_loss(ONE, table, np.array([target]), eos_allowed=True)
        assert float(loss) == pytest.approx(-math.log(share), abs=1e-6)


def test_no_positions_cost_nothing():
    assert float(next_item_loss(np.zeros([0, 1], "f"), TABLE, np.zeros([0], int))) == 0.0


def test_huge_logits_of_the_next_item_do_not_overflow():
    vectors, table = tf.Variable([[1e4]]), tf.Variable([[0.0], [1e4], [-1e4], [0.0], [0.0], [0.0]])
    with tf.GradientTape() as tape:
        loss = next_item_loss(vectors, table, tf.constant([2]))
    assert float(loss) == pytest.approx(2e8)
    to_vectors, to_table = (tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, [vectors, table]))
    assert to_vectors == pytest.approx(np.array([[2e4]]))
    assert to_table[:, 0] == pytest.approx([0, 1e4, -1e4, 0, 0, 0])


def test_catalogue_logits_are_the_items_scores_in_order_of_id():
    assert catalogue_logits(2 * ONE, TABLE).numpy() == pytest.approx(2 * TABLE[1:4].T)
    assert catalogue_logits(2 * ONE, TABLE, eos_allowed=True).numpy() == pytest.approx(2 * TABLE[1:5].T)


def f32(values) -> np.ndarray:
    return np.array(values, np.float32)


def test_operation_loss_agrees_with_the_authors_code():
    mask = np.array(GOLDEN["corrupted"]) != GOLDEN["pad"]
    loss = operation_loss(f32(GOLDEN["operation_logits"]), np.array(GOLDEN["operation_labels"]), mask)
    assert float(loss) == pytest.approx(GOLDEN["operation_loss"], abs=1e-5)


def test_insertion_loss_agrees_with_the_authors_code():
    # The table is an identity, so each vector is its own row of logits. The authors score PAD and MASK, too.
    logits, labels = f32(GOLDEN["insertion_logits"]).reshape(-1, 30), np.array(GOLDEN["insertion_labels"]).ravel()
    loss = catalogue_cross_entropy(logits, np.eye(30, dtype="f"), labels, weights=labels != GOLDEN["pad"])
    assert float(loss) == pytest.approx(GOLDEN["insertion_loss"], abs=1e-5)


def test_operation_loss_averages_over_real_positions_worked_by_hand():
    # Shares 1/2, 1/4, 1/4 of the first position; equal shares of the second; the third is padding.
    logits = f32([[[math.log(2), 0, 0], [0, 0, 0], [100, 0, -100]]])
    operations, mask = np.array([[1, 2, 2]]), np.array([[True, True, False]])
    assert float(operation_loss(logits, operations, mask)) == pytest.approx((math.log(4) + LOG_3) / 2)


def test_nothing_to_learn_from_is_0():
    assert float(operation_loss(np.ones([1, 2, 3], "f"), np.array([[1, 2]]), np.zeros([1, 2], bool))) == 0.0
    assert float(operation_loss(np.ones([0, 2, 3], "f"), np.ones([0, 2], int), np.zeros([0, 2], bool))) == 0.0


def test_huge_logits_do_not_overflow_and_padding_gets_no_gradient():
    logits = tf.Variable([[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]])
    with tf.GradientTape() as tape:
        loss = operation_loss(logits, tf.constant([[1, 2]]), tf.constant([[True, False]]))
    assert float(loss) == pytest.approx(2e4)
    gradient = tape.gradient(loss, logits).numpy()
    assert gradient[0] == pytest.approx(f32([[1, -1, 0], [0, 0, 0]]), abs=1e-6)


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
    loss = float(catalogue_cross_entropy(vectors, table, 0 * TARGETS, slice_elements=slice_elements))
    assert loss == pytest.approx(0, abs=1e-6)  # processors differ in the order of their sums


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


def test_a_gradient_stays_small_where_the_second_product_rounds_otherwise(monkeypatch):
    vectors, table = tf.fill([2, 1], 1e4), tf.constant([[0.0], [5e3], [1e4], [-1e4]])
    normalisers = cross_entropy._normalisers
    # As if the first product of the likeliest item, 1e8, had rounded to two float32 numbers below.
    monkeypatch.setattr(cross_entropy, "_normalisers", lambda *arguments: normalisers(*arguments) - 16.0)
    with tf.GradientTape() as tape:
        tape.watch([vectors, table])
        loss = catalogue_cross_entropy(vectors, table, tf.constant([1, 1]), slice_elements=4)
    to_vectors, to_table = tape.gradient(loss, [vectors, table])
    np.testing.assert_allclose(to_vectors, [[2.5e3], [2.5e3]])  # the likeliest item without the target, over two
    np.testing.assert_allclose(to_table, [[0.0], [-1e4], [1e4], [0.0]])
