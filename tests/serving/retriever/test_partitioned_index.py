"""The partitioned index against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec
from laclrec_tf.serving import Retriever
from laclrec_tf.serving.retriever.exact_index import ExactIndex
from laclrec_tf.serving.retriever.partitioned_index import LARGEST, PartitionedIndex, index_with_recall, partition

N_ITEMS = 600


def clusters(n_clusters: int, size: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(n_clusters, 8)) * 10
    return (np.repeat(centres, size, axis=0) + generator.normal(size=(n_clusters * size, 8))).astype(np.float32)


@pytest.mark.parametrize("n_partitions", [1, 5, 20, 100])
def test_each_item_is_in_one_partition(n_partitions):
    ids = np.arange(7, 107, dtype=np.int32)
    partitions = partition(clusters(20, 5), ids, n_partitions)
    listed = partitions.item_ids[partitions.item_ids > 0]
    np.testing.assert_array_equal(np.sort(listed), ids)
    assert (partitions.item_ids[:, 0] > 0).all()  # none is empty
    assert partitions.item_ids.shape[1] <= max(1, int(LARGEST * 100 / n_partitions))
    assert len(partitions.centres) == len(partitions.item_ids)


def test_near_items_are_together_and_the_centre_is_their_mean():
    vectors = np.array([[0, 0], [0, 1], [50, 0], [50, 1]], np.float32)
    partitions = partition(vectors, np.array([1, 2, 3, 4]), 2)
    by_first = {min(row): centre.tolist() for row, centre in zip(partitions.item_ids, partitions.centres, strict=True)}
    assert sorted(map(sorted, partitions.item_ids.tolist())) == [[1, 2], [3, 4]]
    assert by_first == {1: [0.0, 0.5], 3: [50.0, 0.5]}


def test_a_large_partition_is_cut_across_its_longest_direction():
    vectors = np.array([[x, x % 2 / 10] for x in range(8)], np.float32)
    partitions = partition(np.vstack([vectors, [[1000.0, 0.0]]]).astype(np.float32), np.arange(1, 10), 3)
    assert partitions.item_ids.shape[1] <= 4
    for row in partitions.item_ids:
        row = np.sort(row[row > 0])
        assert row.tolist() == list(range(row[0], row[0] + len(row)))


def test_the_same_seed_gives_the_same_partitions():
    vectors, ids = clusters(20, 5), np.arange(1, 101)
    first, second = (partition(vectors, ids, 10, seed=3).item_ids for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("n_partitions", [0, -1, 101])
def test_numbers_of_partitions_out_of_range(n_partitions):
    with pytest.raises(
        InputError, match=f"`n_partitions` must be between 1 and the 100 items. Received: {n_partitions}"
    ):
        partition(clusters(20, 5), np.arange(1, 101), n_partitions)


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """Return vectors in thirty clusters; PAD, EOS and MASK would come first."""
    generator = np.random.default_rng(0)
    centres = np.repeat(generator.normal(size=(30, 8)), 20, axis=0)
    vectors = centres + generator.normal(size=(N_ITEMS, 8)) / 4
    return np.vstack([np.full((1, 8), 99.0), vectors, np.full((2, 8), 99.0)]).astype(np.float32)


@pytest.fixture(scope="module")
def partitions(table):
    """Return about thirty partitions."""
    return partition(table[1:-2], np.arange(1, N_ITEMS + 1), 30)


@pytest.fixture(scope="module")
def exact(table) -> ExactIndex:
    """Return the index to compare with."""
    return ExactIndex(lambda: tf.constant(table), N_ITEMS)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    """Return forty user vectors."""
    return np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_all_partitions_give_the_exact_answer(table, partitions, exact, queries, k):
    scores, item_ids = PartitionedIndex(table, partitions).search(tf.constant(queries), tf.constant(k))
    expected = exact.search(tf.constant(queries), tf.constant(k))
    found = scores.numpy() > -np.inf
    assert found.sum(axis=1).tolist() == [min(k, N_ITEMS)] * len(queries)
    np.testing.assert_array_equal(item_ids[:, : min(k, N_ITEMS)], expected[1])
    np.testing.assert_allclose(scores[:, : min(k, N_ITEMS)], expected[0], rtol=1e-5, atol=1e-5)


def test_fewer_partitions_find_fewer(table, partitions, exact, queries):
    recalls = [PartitionedIndex(table, partitions, n).recall(exact, queries) for n in (1, 5, 15)]
    assert 0.1 < recalls[0] < recalls[1] < recalls[2] <= 1.0
    assert PartitionedIndex(table, partitions).recall(exact, queries) == 1.0


def test_what_is_found_has_its_exact_score(table, partitions, queries):
    scores, item_ids = PartitionedIndex(table, partitions, 2).search(tf.constant(queries), tf.constant(5))
    assert (np.diff(scores, axis=1) <= 0).all()
    products = np.einsum("bkd,bd->bk", table[item_ids], queries)
    np.testing.assert_allclose(scores, products, rtol=1e-5, atol=1e-5)


def test_integers_are_near(table, partitions, exact, queries):
    index = PartitionedIndex(table, partitions, int8=True)
    scores, item_ids = index.search(tf.constant(queries), tf.constant(5))
    products = np.einsum("bkd,bd->bk", table[item_ids], queries)
    assert 0 < np.abs(scores - products).max() < 0.05
    assert index.recall(exact, queries) > 0.95
    assert sum(variable.dtype.size * variable.shape.num_elements() for variable in index.variables) < (
        sum(
            variable.dtype.size * variable.shape.num_elements()
            for variable in PartitionedIndex(table, partitions).variables
        )
        / 2
    )


def test_as_few_partitions_as_a_recall_needs(table, partitions, exact, queries):
    index = index_with_recall(exact, partitions, queries, recall=0.9)
    assert index.recall(exact, queries) >= 0.9
    assert PartitionedIndex(table, partitions, index.n_probes - 1).recall(exact, queries) < 0.9


def test_recall_is_of_active_items_where_fewer_are_left_than_asked_for(table, queries):
    active = np.zeros(len(table) - 3, bool)
    active[:7] = True
    few = partition(table[1:8], np.arange(1, 8, dtype=np.int32), n_partitions=2)
    assert PartitionedIndex(table, few).recall(ExactIndex(lambda: table, len(active), active), queries) == 1.0


@pytest.mark.parametrize("n_probes", [0, 1000])
def test_numbers_of_probes_out_of_range(table, partitions, n_probes):
    with pytest.raises(InputError, match=f"`n_probes` must be between 1 and the .* Received: {n_probes}"):
        PartitionedIndex(table, partitions, n_probes)


def test_no_vectors(table, partitions):
    scores, item_ids = PartitionedIndex(table, partitions, 2).search(tf.zeros([0, 8]), tf.constant(3))
    assert scores.shape == item_ids.shape == (0, 3)


def test_more_asked_for_than_the_partitions_hold():
    """Partitions of unequal length are padded, and padding must not be returned as an item."""
    vectors = np.concatenate([np.ones([150, 4]), -np.ones([7, 4])]).astype(np.float32)
    table = np.concatenate([np.zeros([1, 4]), vectors, np.zeros([2, 4])]).astype(np.float32)
    index = PartitionedIndex(table, partition(vectors, np.arange(1, 158), 2), n_probes=1)
    scores, item_ids = index.search(-tf.ones([1, 4]), tf.constant(157))
    found = item_ids.numpy()[scores.numpy() > -np.inf]
    assert len(found) >= 7 and set(range(151, 158)) <= set(found.tolist())


@pytest.mark.parametrize("int8", [False, True])
def test_a_retriever_fills_every_slot_and_keeps_exclusions(int8):
    """One partition of ten holds too few items once the excluded ones are dropped."""
    vocabulary = ItemVocabulary(f"item-{i}" for i in range(60))
    model = LACLRec(n_items=60, width=8, alpha=0.0, beta=0.0, lambda_aug=0.0)
    plain = Retriever(model, vocabulary, np.ones(60))
    table = np.array(model.item_vectors)
    index = PartitionedIndex(table, partition(table[1:-2], np.arange(1, 61), 10), n_probes=1, int8=int8)
    retriever = Retriever(model, vocabulary, np.ones(60), index=index)
    history = tf.constant([["item-3", "item-4"], ["item-5", ""], ["", ""]])

    few, all_of_them = (r.retrieve(history, k=tf.constant(60)) for r in (retriever, plain))
    np.testing.assert_array_equal(few["item_ids"], all_of_them["item_ids"])
    np.testing.assert_array_equal(few["filled"], [58, 59, 60])

    best = retriever.retrieve(history, k=tf.constant(1))
    np.testing.assert_array_equal(best["filled"], [1, 1, 1])
    scores = retriever.rank(history, best["item_ids"])["scores"]
    np.testing.assert_allclose(best["scores"], scores, rtol=1e-5)

    excluded = best["item_ids"][:1]
    again = retriever.retrieve(history, k=tf.constant(5), exclude=excluded)
    assert excluded.numpy()[0, 0] not in set(again["item_ids"].numpy().ravel())
    allowed = tf.constant([["item-7", "item-9", "item-11"]])
    rows = [r.retrieve(history, k=tf.constant(3), allow=allowed)["item_ids"].numpy() for r in (retriever, plain)]
    np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize("int8", [False, True])
def test_an_answer_does_not_depend_on_the_other_rows_of_its_batch(int8):
    """Neither a row that needs more than one partition nor one with many exclusions changes the other rows."""
    vocabulary = ItemVocabulary(f"item-{i}" for i in range(300))
    model = LACLRec(n_items=300, width=8, alpha=0.0, beta=0.0, lambda_aug=0.0, seed=1)
    table = np.random.default_rng(2).normal(size=(303, 8)).astype(np.float32)
    model.initialise_items(table[1:-2])
    table = np.array(model.item_vectors)
    index = PartitionedIndex(table, partition(table[1:-2], np.arange(1, 301), 10), n_probes=1, int8=int8)
    retriever = Retriever(model, vocabulary, np.ones(300), index=index)
    history = np.array([[f"item-{7 * i}", f"item-{11 * i + 1}", ""] for i in range(20)] + [["", "", ""]])
    exclude = np.full([21, 40], "", dtype=object)
    exclude[3] = [f"item-{i}" for i in range(100, 140)]
    k = np.full(21, 4, np.int32)
    k[5] = 200  # more than a partition holds: searched among all items

    def answered(rows: slice) -> list[list[bytes]]:
        answer = retriever.retrieve(
            tf.constant(history[rows]), k=tf.constant(k[rows]), exclude=tf.constant(exclude[rows])
        )
        return [[item for item in items if item] for items in answer["item_ids"].numpy().tolist()]

    together = answered(slice(None))
    alone = [answered(slice(row, row + 1))[0] for row in range(21)]
    assert together == alone
    assert [len(items) for items in together] == k.tolist()
    exact = Retriever(model, vocabulary, np.ones(300)).retrieve(tf.constant(history), k=tf.constant(4))
    best = [items[:4] for i, items in enumerate(exact["item_ids"].numpy().tolist()) if i not in (3, 5)]
    assert best != [items for i, items in enumerate(together) if i not in (3, 5)], "one partition must not find all"
