"""A grown model: old items, user vectors and scores bit for bit, and training that goes on."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from laclrec_tf.data.batches import training_dataset
from laclrec_tf.lazy_adam import LazyAdam
from laclrec_tf.models import LACLRec, build_preset
from laclrec_tf.models.grown_model import grown_model

N_ITEMS = 20
NEW = np.arange(24, dtype=np.float32).reshape(3, 8) / 24
HISTORIES = np.array([[5, 6, 7, 8, 0, 0], [1, 20, 3, 9, 12, 2], [4, 0, 0, 0, 0, 0]])


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
    return scattered(build_preset(preset, N_ITEMS, width=8, max_length=6, max_edited_length=8, **sampled))


def test_old_rows_user_vectors_and_scores_stay_bit_for_bit(model):
    before = model.encoder.item_table.numpy()
    grown = grown_model(model, NEW)
    table = grown.encoder.item_table.numpy()
    np.testing.assert_array_equal(table[: N_ITEMS + 1], before[: N_ITEMS + 1])
    np.testing.assert_array_equal(table[N_ITEMS + 1 : -2], NEW)
    np.testing.assert_array_equal(table[-2:], before[-2:])  # EOS and MASK
    np.testing.assert_array_equal(model.encoder.item_table.numpy(), before)

    users = model(HISTORIES, training=False)
    np.testing.assert_array_equal(grown(HISTORIES, training=False), users)
    scores, expected = grown.score(users).numpy(), model.score(users).numpy()
    np.testing.assert_array_equal(scores[:, : N_ITEMS + 1], expected[:, : N_ITEMS + 1])
    np.testing.assert_allclose(scores[:, N_ITEMS + 1 : -2], users.numpy() @ NEW.T, rtol=1e-5)
    assert np.isneginf(scores[:, -2:]).all()


def test_a_masked_item_is_read_as_before(model):
    grown = grown_model(model, NEW)
    history, again = np.array([[5, N_ITEMS + 2, 7]]), np.array([[5, N_ITEMS + 3 + 2, 7]])
    np.testing.assert_array_equal(grown(again, training=False), model(history, training=False))


def test_the_augmenter_edits_as_before_and_ends_its_runs():
    keras.utils.set_random_seed(3)
    model = scattered(LACLRec(N_ITEMS, width=8, max_length=6, max_edited_length=8, max_insertions=2))
    grown = grown_model(model, np.zeros((3, 8)))  # the best of twenty other scores is above 0
    histories = np.random.default_rng(0).integers(1, N_ITEMS + 1, size=(64, 6))
    before, after = model.edit(histories), grown.edit(histories)
    np.testing.assert_array_equal(after.operations, before.operations)
    np.testing.assert_array_equal(after.edited, before.edited)
    expected = np.array(before.insertions)
    assert (expected == N_ITEMS + 1).any()
    np.testing.assert_array_equal(after.insertions, np.where(expected == N_ITEMS + 1, N_ITEMS + 4, expected))


def test_nothing_new_is_the_same_model(model):
    grown = grown_model(model, np.zeros((0, 8)))
    for old, new in zip(model.weights, grown.weights, strict=True):
        np.testing.assert_array_equal(new.numpy(), old.numpy())


def test_the_optimizers_state_grows_too(tmp_path):
    model = build_preset("sasrec", N_ITEMS, width=8, max_length=6)
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
        np.testing.assert_array_equal(new[: N_ITEMS + 1], old[:-2])
        np.testing.assert_array_equal(new[-2:], old[-2:])
        np.testing.assert_array_equal(new[N_ITEMS + 1 : -2], NEW if "average" in path else np.zeros_like(NEW))
    assert tables == 3  # momentum, velocity, running average


def test_training_goes_on_and_reaches_new_items():
    model = build_preset("sasrec", N_ITEMS, width=8, max_length=6)
    model.compile(LazyAdam(0.01))
    grown = grown_model(model, NEW)
    generator = np.random.default_rng(0)
    training = [generator.integers(1, grown.n_items + 1, size=6) for _ in range(20)]
    batches = training_dataset(training, targets_per_batch=100, seed=0, **grown.batch_requirements)
    grown.fit(batches, epochs=1, verbose=0)
    assert int(grown.optimizer.iterations) == int(batches.cardinality())
    assert (grown.encoder.item_table.numpy()[N_ITEMS + 1 : -2] != NEW).all()


@pytest.mark.parametrize("shape", [(3,), (3, 7)])
def test_rows_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"must have the shape \[A, 8\]. Received: "):
        grown_model(LACLRec(n_items=3, width=8), np.zeros(shape))
