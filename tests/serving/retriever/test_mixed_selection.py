"""Selection by scores of whole histories: by hand, and in chunks as at once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import build_preset
from laclrec_tf.serving.retriever import mixed_selection
from laclrec_tf.serving.retriever.exact_index import ExactIndex
from laclrec_tf.serving.retriever.mixed_selection import MixedSearch, MixedSelection
from laclrec_tf.serving.retriever.partitioned_index import PartitionedIndex, partition
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.retriever.selection import ItemSelection

N = 40
NEVER = np.float32(-1e30)
POPULARITY = np.pad(np.where(np.arange(N) == 7, -np.inf, np.linspace(0.1, 0.9, N)), (1, 2), constant_values=-np.inf)
TABLE = np.random.default_rng(0).normal(size=(N + 3, 4)).astype(np.float32)


def vectors_of(history):
    """Return a user vector for each history: the mean of its items' vectors."""
    real = tf.cast(history > 0, tf.float32)[..., tf.newaxis]
    return tf.reduce_sum(tf.gather(TABLE, history) * real, axis=1) / tf.maximum(tf.reduce_sum(real, axis=1), 1.0)


def scores_of(history):
    return tf.matmul(vectors_of(history), TABLE[1:-2], transpose_b=True)


@pytest.fixture
def both(monkeypatch):
    """Return a mixed selection of chunks of two rows, and the selection by user vectors that gives the same scores."""
    monkeypatch.setattr(mixed_selection, "CHUNK_SCORES", 2 * 6 * N)
    exact = ExactIndex(lambda: tf.constant(TABLE), N, np.isfinite(POPULARITY[1:-2]))
    return MixedSelection(scores_of, POPULARITY), ItemSelection(exact, POPULARITY.astype(np.float32))


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
@pytest.mark.parametrize("shared", [False, True])
def test_it_selects_what_the_selection_by_vectors_selects(both, rows, shared):
    mixed, by_vectors = both
    rng = np.random.default_rng(rows)
    history = rng.integers(0, N + 1, (rows, 6)).astype(np.int32)
    has_item = tf.constant(np.arange(rows) != 1)
    lists = (1, 3) if shared else (rows, 3)
    excluded = [tf.constant(rng.integers(0, N + 1, lists), tf.int32), tf.constant(history)]
    allowed = tf.constant(rng.integers(1, N + 1, (1 if shared else rows, 8)), tf.int32)
    restricted = tf.constant(np.arange(1 if shared else rows) % 2 == 0)
    k = tf.constant(np.arange(rows) + 3, tf.int32)
    width = tf.constant(max(3, rows + 2))
    for more in ([], [allowed, restricted]):
        answer = mixed.best(tf.constant(history), has_item, k, width, excluded, *more)
        expected = by_vectors.best(vectors_of(history), has_item, k, width, excluded, *more)
        np.testing.assert_allclose(answer[0], expected[0], rtol=1e-5)
        np.testing.assert_array_equal(answer[1], expected[1])
    listed = mixed.scores(tf.constant(history), has_item, allowed)
    np.testing.assert_allclose(listed, by_vectors.scores(vectors_of(history), has_item, allowed), rtol=1e-5)


@pytest.fixture(scope="module")
def model():
    model = build_preset("sasrec", n_items=N, width=8)
    model.mixture.set_popularity(np.arange(N))
    model.mixture.choice.assign(2)
    model.mixture.learned.assign([0.5, -0.3, -0.1, -0.3, 1.0, -0.5, 0.2, 0.3, 0.4])
    model.evidence.coefficients.assign(np.linspace(-0.3, 0.3, 12))
    return model


@pytest.fixture(scope="module")
def retriever(model):
    vocabulary = ItemVocabulary([f"i{number:02}" for number in range(1, N + 1)])
    return Retriever(model, vocabulary, np.arange(N), retired=["i05"], edits="learned")


def test_the_signatures_give_the_models_own_scores(model, retriever):
    history = [["i03", "i09", "i20", "", "?"], ["i40", "", "", "", ""]]
    answer = retriever.serving_default(tf.constant(history))
    item_ids, scores = model.recommend([[3, 9, 20], [40]], k=11, edits="learned")
    for row in range(2):
        pairs = zip(item_ids[row].numpy(), scores[row].numpy(), strict=True)
        kept = [(item, score) for item, score in pairs if item != 5][:10]  # i05 is retired
        assert answer["item_ids"][row].numpy().tolist() == [b"i%02d" % item for item, _ in kept]
        np.testing.assert_allclose(answer["scores"][row], [score for _, score in kept], rtol=1e-5)
    candidates = tf.constant([["i01", "i05", "", "nothing"]])
    ranked = retriever.rank(tf.constant(history), candidates)
    expected = model.scores_of(tf.constant([[3, 9, 20], [40, 0, 0]]), "learned").numpy()[:, 1]
    np.testing.assert_allclose(ranked["scores"][:, 0], expected, rtol=1e-5)
    assert ranked["eligible"].numpy().tolist() == [[True, False, False, False]] * 2
    restricted = retriever.retrieve(
        tf.constant(history), k=tf.constant(3), allow=tf.constant([["i01", "i05"]]), exclude=tf.constant([["i02"]])
    )
    assert restricted["filled"].numpy().tolist() == [1, 1]


def test_a_history_without_a_known_item_gets_the_most_popular(retriever):
    answer = retriever.serving_default(tf.constant([["", "?"]]))
    assert answer["item_ids"][0, :3].numpy().tolist() == [b"i40", b"i39", b"i38"]
    assert answer["scores"][0, 0].numpy() == pytest.approx(39 / sum(range(40)))


def test_it_reads_the_weights_of_the_mixture(retriever, model):
    assert {"learned", "log_popularity"} <= {
        variable.name.split("/")[-1].split(":")[0] for variable in retriever.model_variables
    }


MANY = 600


@pytest.fixture(scope="module")
def large():
    """A model of more items than a search looks at."""
    keras.utils.set_random_seed(0)
    model = build_preset("sasrec", n_items=MANY, width=8)
    model.catalogue.initialise(np.random.default_rng(0).normal(size=(MANY, 8)))
    model.mixture.set_popularity(np.arange(MANY))
    model.mixture.choice.assign(2)
    model.mixture.learned.assign([0.5, -0.3, -0.1, -0.3, 1.0, -0.5, 0.2, 0.3, 0.4])
    model.evidence.coefficients.assign(np.linspace(-0.3, 0.3, 12))
    return model


def both_selections(model, edits="learned", index=None, retired=(5,), sample=None):
    popular = np.arange(MANY) / sum(range(MANY))
    popular[np.array(retired) - 1] = -np.inf
    popular = np.pad(popular, (1, 2), constant_values=-np.inf).astype(np.float32)
    exact = MixedSelection(lambda ids: model.mixed_probabilities(ids, edits), popular)
    index = index or ExactIndex(lambda: model.item_vectors, MANY, np.isfinite(popular[1:-2]))
    return exact, MixedSearch(exact, model, edits, index, sample)


def random_histories(rows, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, rows)
    return tf.constant([[*rng.integers(1, MANY + 1, n), *[0] * (7 - n)] for n in lengths], tf.int32)


def asked(history):
    """Return the arguments of a selection of three to five items that are not in each history."""
    rows = len(history)
    return history, tf.fill([rows], True), tf.constant(np.arange(rows) % 3 + 3, tf.int32), tf.constant(5), [history]


@pytest.mark.parametrize("edits", ["uniform", "learned"])
def test_a_search_finds_the_exact_mixture(large, monkeypatch, edits):
    monkeypatch.setattr(mixed_selection, "CHUNK_VALUES", 2 * 4 * 150 * 8)  # two rows at once
    monkeypatch.setattr(mixed_selection, "N_BEST", 100)
    exact, search = both_selections(large, edits, sample=np.arange(1, MANY + 1))
    history = random_histories(5)
    found = tf.function(lambda ids: search.best(*asked(ids)))(history)
    expected = exact.best(*asked(history))
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=0.02)  # the best items that retirement hides are missing


def test_the_sum_of_what_is_not_found_is_estimated_from_a_sample(large):
    _, whole = both_selections(large, sample=np.arange(1, MANY + 1))
    vectors = tf.random.stateless_normal([3, 6, 8], [0, 1])
    logits = tf.matmul(tf.reshape(vectors, [-1, 8]), large.item_vectors[1:-2], transpose_b=True)
    best = tf.reshape(tf.math.top_k(logits, 40)[0], [3, 6, 40])
    expected = tf.reshape(tf.reduce_logsumexp(logits, axis=1), [3, 6])
    np.testing.assert_allclose(whole._log_sums(vectors, best), expected, atol=0.01)
    _, half = both_selections(large, sample=np.arange(1, MANY + 1, 2))
    np.testing.assert_allclose(half._log_sums(vectors, best), expected, atol=0.3)


class Few:
    """An index that finds one item only."""

    scores_are_exact = True

    def search(self, vectors, k):
        return tf.zeros([tf.shape(vectors)[0], 1]), tf.ones([tf.shape(vectors)[0], 1], tf.int32)


def test_where_the_index_finds_too_little_all_items_are_scored(large):
    exact, search = both_selections(large, index=Few())
    history = random_histories(3)
    for selected in zip(*(each.best(*asked(history)) for each in (exact, search)), strict=True):
        np.testing.assert_array_equal(*selected)


def test_an_answer_does_not_depend_on_the_other_rows(large, monkeypatch):
    # An estimate that is far off shows which rows were scored exactly.
    monkeypatch.setattr(mixed_selection, "N_BEST", 20)
    exact, search = both_selections(large, sample=np.array([7]))
    history = random_histories(6, seed=2)
    _, _, k, width, _ = asked(history)
    has_item = tf.constant([True, True, False, True, True, True])
    exclude = np.zeros((6, 160), np.int32)
    exclude[4] = np.arange(1, 161)  # too many to search for
    allowed = tf.constant([[1, 2, 3, 4, 5]] * 6)
    restricted = tf.constant([False, False, False, True, False, False])
    inputs = [history, has_item, k, [history, tf.constant(exclude)], allowed, restricted]

    def best(selection, rows):
        history, has_item, k, excluded, allowed, restricted = tf.nest.map_structure(lambda each: each[rows], inputs)
        return selection.best(history, has_item, k, width, excluded, allowed, restricted)

    together = best(search, slice(None))
    for row in range(6):
        alone = best(search, slice(row, row + 1))
        np.testing.assert_array_equal(alone[1][0], together[1][row])
        np.testing.assert_allclose(alone[0][0], together[0][row], rtol=1e-5)
        is_exact = np.allclose(best(exact, slice(row, row + 1))[0], alone[0], rtol=1e-4)
        assert is_exact == (row in (2, 3, 4))  # no known item, an allow-list, too many exclusions


@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows_and_one(large, rows):
    exact, search = both_selections(large)
    history = random_histories(2)[:rows]
    for selected in zip(*(each.best(*asked(history)) for each in (exact, search)), strict=True):
        assert selected[0].shape == selected[1].shape == (rows, 5)


def test_a_partitioned_index_serves_the_mixture(large):
    vectors = np.array(large.item_vectors)
    vocabulary = ItemVocabulary([f"i{number:03}" for number in range(1, MANY + 1)])
    retriever = Retriever(large, vocabulary, np.arange(MANY), retired=["i005"], edits="learned")
    lists = partition(vectors[retriever.active_ids], retriever.active_ids, 4)
    index = PartitionedIndex(vectors, lists, int8=True)
    approximate = Retriever(large, vocabulary, np.arange(MANY), retired=["i005"], index=index, edits="learned")
    histories = tf.constant([["i003", "i009", "i020"], ["i040", "", ""], ["?", "", ""]])
    for arguments in ({}, {"allow": tf.constant([["i001", "i005", "i030"]])}):
        answer, expected = (each.retrieve(histories, **arguments) for each in (approximate, retriever))
        assert answer["item_ids"][:, :2].numpy().tolist() == expected["item_ids"][:, :2].numpy().tolist()
        np.testing.assert_allclose(answer["scores"][:, :2], expected["scores"][:, :2], rtol=0.05)
        np.testing.assert_array_equal(answer["filled"], expected["filled"])
    ranked = approximate.rank(histories, tf.constant([["i001", "i005"]]))
    np.testing.assert_allclose(ranked["scores"], retriever.rank(histories, tf.constant([["i001", "i005"]]))["scores"])
