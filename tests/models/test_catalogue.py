"""The catalogue: initial vectors, best items, and negatives that reach every item of a large catalogue."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.data.batches import training_dataset
from laclrec_tf.layers import ItemEmbedding
from laclrec_tf.lazy_adam import LazyAdam
from laclrec_tf.losses.sampled_softmax import log_expected_count
from laclrec_tf.models import LACLRec, build_preset
from laclrec_tf.models.catalogue import Catalogue, grown_model

OLD_ITEMS = 20
NEW = np.arange(24, dtype=np.float32).reshape(3, 8) / 24
HISTORIES = np.array([[5, 6, 7, 8, 0, 0], [1, 20, 3, 9, 12, 2], [4, 0, 0, 0, 0, 0]])
N_ITEMS = 10_000_000
N_DRAWS = 500_000


def scattered(model):
    """Move all weights away from their start, where many are 0 or 1."""
    generator = np.random.default_rng(4)
    for weight in model.trainable_weights:
        weight.assign(weight + generator.normal(0.0, 0.5, weight.shape))
    return model


@pytest.fixture(scope="module", params=["laclrec", "sasrec", "sampled"])
def model(request):
    sampled = {"n_negatives": 10} if request.param == "sampled" else {}
    preset = "laclrec" if sampled else request.param
    return scattered(build_preset(preset, OLD_ITEMS, width=8, max_length=6, max_edited_length=8, **sampled))


def test_old_rows_user_vectors_and_scores_stay_bit_for_bit(model):
    before = model.encoder.item_table.numpy()
    grown = grown_model(model, NEW)
    table = grown.encoder.item_table.numpy()
    np.testing.assert_array_equal(table[: OLD_ITEMS + 1], before[: OLD_ITEMS + 1])
    np.testing.assert_array_equal(table[OLD_ITEMS + 1 : -2], NEW)
    np.testing.assert_array_equal(table[-2:], before[-2:])  # EOS and MASK
    np.testing.assert_array_equal(model.encoder.item_table.numpy(), before)

    users = model(HISTORIES, training=False)
    np.testing.assert_array_equal(grown(HISTORIES, training=False), users)
    scores, expected = grown.score(users).numpy(), model.score(users).numpy()
    np.testing.assert_array_equal(scores[:, : OLD_ITEMS + 1], expected[:, : OLD_ITEMS + 1])
    np.testing.assert_allclose(scores[:, OLD_ITEMS + 1 : -2], users.numpy() @ NEW.T, rtol=1e-5)
    assert np.isneginf(scores[:, -2:]).all()


def test_a_masked_item_is_read_as_before(model):
    grown = grown_model(model, NEW)
    history, again = np.array([[5, OLD_ITEMS + 2, 7]]), np.array([[5, OLD_ITEMS + 3 + 2, 7]])
    np.testing.assert_array_equal(grown(again, training=False), model(history, training=False))


def test_the_augmenter_edits_as_before_and_ends_its_runs():
    keras.utils.set_random_seed(3)
    model = scattered(LACLRec(OLD_ITEMS, width=8, max_length=6, max_edited_length=8, max_insertions=2))
    grown = grown_model(model, np.zeros((3, 8)))  # the best of twenty other scores is above 0
    histories = np.random.default_rng(0).integers(1, OLD_ITEMS + 1, size=(64, 6))
    before, after = model.edit(histories), grown.edit(histories)
    np.testing.assert_array_equal(after.operations, before.operations)
    np.testing.assert_array_equal(after.edited, before.edited)
    expected = np.array(before.insertions)
    assert (expected == OLD_ITEMS + 1).any()
    np.testing.assert_array_equal(after.insertions, np.where(expected == OLD_ITEMS + 1, OLD_ITEMS + 4, expected))


def test_a_calibrated_model_deletes_as_before():
    model = scattered(LACLRec(OLD_ITEMS, width=8, max_length=6))
    model.mixture.set_popularity(np.arange(OLD_ITEMS))
    model.evidence.coefficients.assign(np.linspace(-1, 1, 12))
    model.evidence.threshold.assign(0.5)
    grown = grown_model(model, np.zeros((2, 8)))
    assert grown.is_calibrated
    np.testing.assert_array_equal(grown.evidence.coefficients, model.evidence.coefficients)
    assert float(grown.evidence.threshold) == 0.5


def test_nothing_new_is_the_same_model(model):
    grown = grown_model(model, np.zeros((0, 8)))
    for old, new in zip(model.weights, grown.weights, strict=True):
        np.testing.assert_array_equal(new.numpy(), old.numpy())


def test_the_optimizers_state_grows_too(tmp_path):
    model = build_preset("sasrec", OLD_ITEMS, width=8, max_length=6)
    model.compile(LazyAdam(0.01, use_ema=True, ema_momentum=0.5))
    generator = np.random.default_rng(0)
    for variable in model.optimizer.variables:
        variable.assign(generator.integers(1, 99, variable.shape))
    grown_model(model, NEW).save(tmp_path / "model.keras")
    grown = keras.saving.load_model(tmp_path / "model.keras")

    tables = 0
    for old, new in zip(model.optimizer.variables, grown.optimizer.variables, strict=True):
        old, new, path = old.numpy(), new.numpy(), new.path
        if old.shape == new.shape:
            np.testing.assert_array_equal(new, old)
            continue
        tables += 1
        np.testing.assert_array_equal(new[: OLD_ITEMS + 1], old[:-2])
        np.testing.assert_array_equal(new[-2:], old[-2:])
        np.testing.assert_array_equal(new[OLD_ITEMS + 1 : -2], NEW if "average" in path else np.zeros_like(NEW))
    assert tables == 3  # momentum, velocity, running average


def test_training_goes_on_and_reaches_new_items():
    model = build_preset("sasrec", OLD_ITEMS, width=8, max_length=6)
    model.compile(LazyAdam(0.01))
    grown = grown_model(model, NEW)
    generator = np.random.default_rng(0)
    training = [generator.integers(1, grown.n_items + 1, size=6) for _ in range(20)]
    batches = training_dataset(training, targets_per_batch=100, seed=0, **grown.batch_requirements)
    grown.fit(batches, epochs=1, verbose=0)
    assert int(grown.optimizer.iterations) == int(batches.cardinality())
    assert (grown.encoder.item_table.numpy()[OLD_ITEMS + 1 : -2] != NEW).all()


@pytest.mark.parametrize("shape", [(3,), (3, 7)])
def test_rows_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"must have the shape \[A, 8\]. Received: "):
        grown_model(LACLRec(n_items=3, width=8), np.zeros(shape))


@pytest.fixture(scope="module", params=["interpreter", "xla"])
def drawn(request) -> np.ndarray:
    catalogue = Catalogue(ItemEmbedding(N_ITEMS + 3, 1), n_negatives=N_DRAWS, seed=3)  # without its table
    return tf.function(catalogue.draw_negatives, jit_compile=request.param == "xla")().numpy()


def test_every_item_of_the_tail_can_be_drawn(drawn: np.ndarray):
    # log 2 / log(N + 1) = 4.3 % of the draws fall on the rarer half, 21,500 on 5 million ids: of their 2.3e8 pairs
    # about 48 meet. Numbers 2^-23 apart reach 0.043 * 2^23 = 361,000 of these ids, and 640 pairs would.
    tail = drawn[drawn > N_ITEMS // 2]
    assert len(tail) == pytest.approx(21_500, rel=0.03)
    assert 20 < len(tail) - len(np.unique(tail)) < 100


def test_items_of_the_tail_come_as_often_as_their_expected_count_says(drawn: np.ndarray):
    ends = np.linspace(N_ITEMS // 2, N_ITEMS, 6).astype(int)
    for first, last in zip(ends[:-1] + 1, ends[1:], strict=True):
        expected = np.exp(log_expected_count(tf.range(first, last + 1), N_ITEMS, N_DRAWS).numpy(), dtype=float).sum()
        # Four standard deviations of a count.
        assert np.sum((drawn >= first) & (drawn <= last)) == pytest.approx(expected, abs=4 * expected**0.5)


@pytest.fixture
def small() -> Catalogue:
    """Return a catalogue of three items with the vectors `[[1, 2], [3, 4], [5, 6]]`."""
    catalogue = Catalogue(ItemEmbedding(6, 2))
    catalogue.build()
    catalogue.initialise(np.array([[1, 2], [3, 4], [5, 6]]))
    return catalogue


def test_initial_vectors_leave_special_ids_alone(small: Catalogue):
    small.item_table.assign(tf.range(12.0)[:, tf.newaxis][:6] + [0, 1])
    small.initialise(np.array([[1, 2], [3, 4], [5, 6]]))
    assert small.item_table.numpy().tolist() == [[0, 1], [1, 2], [3, 4], [5, 6], [4, 5], [5, 6]]


def test_vectors_of_another_shape_are_refused(small: Catalogue):
    message = r"Argument `vectors` must have the shape \(3, 2\). Received: \(4, 2\)."
    with pytest.raises(ValueError, match=message):
        small.initialise(np.zeros((4, 2)))


@pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "traced"])
def test_scores_and_best_items(small: Catalogue, run):
    users = tf.constant([[1.0, 0.0], [0.0, -1.0]])
    minus = -np.inf
    assert run(small)(users).numpy().tolist() == [[minus, 1, 3, 5, minus, minus], [minus, -2, -4, -6, minus, minus]]
    best = run(lambda vectors, exclude: small.best_of(small(vectors), 2, exclude))
    item_ids, scores = best(users, tf.constant([[3, 0], [0, 0]]))
    assert item_ids.numpy().tolist() == [[2, 1], [1, 2]]
    assert scores.numpy().tolist() == [[3, 1], [-2, -4]]
    assert small.best_of(small(users), 99)[0].numpy().tolist() == [[3, 2, 1], [1, 2, 3]]


def test_candidates_are_sampled_items_and_those_given():
    catalogue = Catalogue(ItemEmbedding(53, 1), n_negatives=4, seed=3)
    candidates = catalogue.draw_candidates(tf.constant([[7, 9, 0], [8, 0, 0]])).numpy()
    assert candidates.shape == (4 + 6,)
    assert candidates[4:].tolist() == [7, 9, 7, 8, 7, 7]  # an item in place of padding
    assert candidates.min() >= 1


def test_configuration():
    catalogue = Catalogue(ItemEmbedding(53, 2), n_negatives=4, seed=3)
    copy = Catalogue.from_config(catalogue.get_config())
    assert copy.get_config() == catalogue.get_config()
    assert (copy.n_items, copy.n_negatives) == (50, 4)
    assert copy.draw_negatives().numpy().tolist() == catalogue.draw_negatives().numpy().tolist()


def test_the_typical_normaliser_of_a_grown_catalogue_is_that_of_its_items():
    model = LACLRec(n_items=20, width=8)
    model.mixture.typical_normaliser.assign(3.0)
    grown = grown_model(model, model.item_vectors.numpy()[1:-2])  # a copy of each item: twice the sum
    assert float(grown.mixture.typical_normaliser) == pytest.approx(3 + np.log(2), abs=1e-5)
