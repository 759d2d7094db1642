"""Numeric functions give the same values eagerly, in a graph and, where training uses it, under XLA.

The graph optimiser and XLA rewrite expressions. A rewrite that is right for finite numbers can be wrong for NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.data.corruption import corrupt
from laclrec_tf.data.random_views import random_view
from laclrec_tf.layers.sequence_augmenter import NEVER
from laclrec_tf.lazy_adam import LazyAdam
from laclrec_tf.losses import (
    catalogue_cross_entropy,
    info_nce,
    next_item_loss,
    operation_loss,
    sampled_softmax_loss,
    triplet_loss,
)
from laclrec_tf.losses.cross_entropy import catalogue_logits, label_smoothing_term
from laclrec_tf.losses.sampled_softmax import draw_negatives
from laclrec_tf.metrics.ranking import mrr_at_k, ndcg_at_k, recall_at_k, target_ranks
from laclrec_tf.ops.edits import apply_edits, inserted_items, surviving_operations
from laclrec_tf.ops.item_table import best_rows
from laclrec_tf.ops.masking import gather_last, history_lengths, pack_kept, positions_where, take_prefixes
from laclrec_tf.serving.retriever.exact_index import ExactIndex
from laclrec_tf.serving.retriever.partitioned_index import PartitionedIndex, partition
from laclrec_tf.serving.retriever.selection import ItemSelection, drop_listed, fill_slots, without_repeats

NAN, INF = float("nan"), float("inf")
N_ITEMS, WIDTH = 12, 4


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def with_value(values: np.ndarray, row: int, value: float) -> np.ndarray:
    values = values.copy()
    values[row, 0] = value
    return values


def ids(*shape: int, seed: int = 0, low: int = 1, high: int = N_ITEMS) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(np.int32)


VECTORS, TABLE = normal(6, WIDTH), normal(N_ITEMS + 3, WIDTH, seed=1)
TARGETS = ids(6, seed=2)
HISTORIES = np.where(np.arange(8) < [[8], [3], [1], [0]], ids(4, 8, seed=3), 0).astype(np.int32)
OPERATIONS = ids(4, 8, seed=4, low=0, high=2)
RUNS = ids(4, 8, 2, seed=5, high=N_ITEMS + 1)
SCORES = np.array(
    [
        [0.1, 0.9, 0.5, 0.5],
        [NAN, 0.9, 0.5, 0.1],
        [0.1, 0.9, NAN, 0.5],
        [NAN, NAN, NAN, NAN],
        [-INF, INF, INF, -INF],
        [-INF, -INF, -INF, -INF],
    ],
    np.float32,
)
RANKED = np.array([2, 2, 2, 2, 2, 2], np.int32)


def with_gradients(loss: Callable[..., Any]) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Return a function that computes a loss and its gradients by the arguments."""

    def compute(*arguments: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = loss(*arguments)
        return value, *(tf.convert_to_tensor(each) for each in tape.gradient(value, arguments) if each is not None)

    return compute


LOSSES: dict[str, Callable[..., Any]] = {
    "next item": lambda v, t: next_item_loss(v, t, TARGETS),
    "next item with EOS and weights": lambda v, t: next_item_loss(
        v, t, TARGETS, weights=np.array([1, 0, 1, 1, 0, 1], np.float32), eos_allowed=True
    ),
    "next item in slices of items": lambda v, t: catalogue_cross_entropy(
        v, t, TARGETS, specials=(1, 2), slice_elements=24
    ),
    "label smoothing": lambda v, t: label_smoothing_term(v, t, TARGETS),
    "logits": lambda v, t: tf.reduce_sum(catalogue_logits(v, t) ** 2),
    "sampled softmax": lambda v, t: sampled_softmax_loss(v, t, TARGETS, ids(5, seed=6), eos_allowed=True),
    "InfoNCE": lambda v, t: info_nce(v, t[:6], 0.5),
    "InfoNCE of cosines": lambda v, t: info_nce(v, t[:6], 0.5, "cosine"),
    "triplet": lambda v, t: triplet_loss(v, t[:6], t[3:9]),
    "operations": lambda v, t: operation_loss(
        tf.reshape(v, [2, 4, 3]) + [0.0, NEVER, 0.0], np.array([[0, 2, 0, 2], [2, 0, 0, 0]]), HISTORIES[:2, :4] > 0
    ),
}
BROKEN = {
    "finite": (VECTORS, TABLE),
    "NaN in a vector": (with_value(VECTORS, 1, NAN), TABLE),
    "NaN in an item": (VECTORS, with_value(TABLE, 4, NAN)),
    "large": (VECTORS * 1e4, TABLE * 1e4),
    "overflow": (VECTORS * 1e20, TABLE * 1e20),
}
ACTIVE = np.arange(N_ITEMS) != 4


def selection(approximate: bool) -> ItemSelection:
    popularity = np.pad(np.where(ACTIVE, np.linspace(1, 0, N_ITEMS), -np.inf), (1, 2), constant_values=-np.inf)
    active = np.flatnonzero(ACTIVE).astype(np.int32) + 1
    exact = ExactIndex(lambda: tf.constant(TABLE), N_ITEMS, ACTIVE)
    index = PartitionedIndex(TABLE, partition(TABLE[active], active, 3), n_probes=1) if approximate else None
    return ItemSelection(exact, popularity.astype(np.float32), index)


def adam_steps(gradient: tf.Tensor, rows: tf.Tensor, jit_compile: bool | None) -> list[np.ndarray]:
    """Return a table and a vector after three steps of LazyAdam; without `jit_compile` eagerly."""
    optimizer = LazyAdam(0.1, global_clipnorm=1.0)
    table, vector = keras.Variable(TABLE), keras.Variable(VECTORS[0])
    optimizer.build([table, vector])

    def step(gradient: tf.Tensor, rows: tf.Tensor) -> None:
        optimizer.apply([tf.IndexedSlices(gradient, rows, TABLE.shape), gradient[0]], [table, vector])

    run = step if jit_compile is None else tf.function(step, jit_compile=jit_compile, autograph=False)
    for factor in (1.0, -0.5, 2.0):
        run(factor * gradient, rows)
    return [table.numpy(), vector.numpy()]


EXCLUDED = np.array([[3, 0], [1, 2], [5, 5], [0, 0], [1, 0], [2, 3]], np.int32)
SEED = np.array([1, 2], np.int32)
# By name: the function, whether XLA compiles it in training, and its arguments.
FUNCTIONS: dict[str, tuple[Callable[..., Any], bool, tuple[np.ndarray, ...]]] = {
    "ranks": (target_ranks, True, (SCORES, RANKED)),
    "ranks without listed ids": (target_ranks, True, (SCORES, RANKED, np.array([[1, 0]] * 6))),
    "ranks without a mask": (target_ranks, True, (SCORES, RANKED, SCORES > 0.6)),
    "recall": (lambda ranks: recall_at_k(ranks, 5), True, (np.arange(12),)),
    "MRR": (lambda ranks: mrr_at_k(ranks, 5), True, (np.arange(12),)),
    "NDCG": (lambda ranks: ndcg_at_k(ranks, 5), True, (np.arange(12),)),
    "edits": (lambda *a: apply_edits(*a, eos_id=N_ITEMS + 1, max_length=10), True, (HISTORIES, OPERATIONS, RUNS)),
    "surviving operations": (surviving_operations, True, (HISTORIES, OPERATIONS)),
    "inserted items": (lambda runs: inserted_items(runs, N_ITEMS + 1), True, (RUNS,)),
    "packing": (lambda ids, keep: pack_kept(ids, keep, 3), True, (HISTORIES, HISTORIES % 2 == 0)),
    "positions": (lambda mask: positions_where(mask, True, 20), True, (HISTORIES > 0,)),
    "prefixes": (take_prefixes, True, (HISTORIES, np.array([[3, 1], [2, 2], [1, 1], [0, 0]]))),
    "last states": (lambda h, ids: gather_last(h, history_lengths(ids)), True, (normal(4, 8, 2), HISTORIES)),
    "best rows": (best_rows, True, (VECTORS, TABLE)),
    "best rows but some": (lambda v, t, e: best_rows(v, t, excluded=e), True, (VECTORS, TABLE, EXCLUDED)),
    "negatives": (lambda u: draw_negatives(u, N_ITEMS), True, (np.linspace(0.0, 0.999, 9),)),
    "corruption": (
        lambda h, s: corrupt(h, n_items=N_ITEMS, max_length=10, max_insertions=2, seed=s),
        False,
        (HISTORIES, SEED),
    ),
    "random views": (lambda h, s: random_view(h, mask_id=N_ITEMS + 2, seed=s), False, (HISTORIES, SEED)),
    "slots": (
        lambda s, i, k: fill_slots(s, i, k, 4),
        False,
        (SCORES, ids(6, 4), np.array([4, 3, 2, 1, 4, 4], np.int32)),
    ),
    "dropped items": (lambda s, i, *e: drop_listed(s, i, list(e)), False, (SCORES, ids(6, 4), EXCLUDED, EXCLUDED[:1])),
    "repeats": (without_repeats, False, (ids(6, 9, seed=10),)),
}


def same(found: Any, expected: Any) -> None:
    for ours, theirs in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_the_same(name: str):
    function, is_compiled, arguments = FUNCTIONS[name]
    tensors = [tf.constant(argument) for argument in arguments]
    expected = function(*tensors)
    same(tf.function(function, autograph=False)(*tensors), expected)
    if is_compiled:
        same(tf.function(function, jit_compile=True, autograph=False)(*tensors), expected)


@pytest.mark.parametrize("values", BROKEN)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradients_are_the_same_and_a_broken_one_is_not_finite(name: str, values: str):
    compute, tensors = with_gradients(LOSSES[name]), [tf.constant(each) for each in BROKEN[values]]
    expected = compute(*tensors)
    is_finite = bool(np.isfinite(expected[0]))
    if values.startswith(("finite", "NaN in a vector")):
        assert is_finite == (values == "finite")
    for jit_compile in (False, True):
        found = tf.function(compute, jit_compile=jit_compile, autograph=False)(*tensors)
        assert np.isfinite(found[0]) == is_finite
        if is_finite and (name, values) == ("next item in slices of items", "large"):
            # Neighbouring float32 numbers of this size differ by 8 or more, and the slices are scored twice. The shares
            # follow how the processor rounds.
            same(found[0], expected[0])
            assert all(np.abs(each).max() <= 2e4 * np.abs(TABLE).max() for each in found[1:])
        elif is_finite:
            same(found, expected)


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_rank_counts_a_broken_score_against_the_target(value: float):
    scores, targets = tf.fill([1, 302], value), tf.constant([5])
    for run in (
        target_ranks,
        tf.function(target_ranks),
        tf.function(target_ranks, jit_compile=True),
    ):
        assert int(run(scores, targets)[0]) == 301


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("values", ["finite", "NaN in a vector"])
def test_the_selected_items_are_the_same(approximate: bool, values: str):
    select = selection(approximate)
    arguments = (tf.constant(BROKEN[values][0]), tf.constant([True] * 5 + [False]), tf.constant([3, 2, 1, 3, 3, 3]))

    def best(vectors: tf.Tensor, has_vector: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return select.best(vectors, has_vector, k, tf.constant(3), excluded=[tf.constant(EXCLUDED)])

    scores, item_ids = best(*arguments)
    same(tf.function(best, autograph=False)(*arguments), (scores, item_ids))
    if values != "finite":
        assert item_ids[1].numpy().tolist() == [0, 0, 0]  # no item has a score
        assert np.all(scores[1] == np.float32(-1e30))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_optimizer_takes_the_same_steps(jit_compile: bool):
    gradient, rows = tf.constant(normal(4, WIDTH, seed=11)), tf.constant([2, 5, 2, 9])
    same(adam_steps(gradient, rows, jit_compile), adam_steps(gradient, rows, None))
