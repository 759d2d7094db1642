"""LACLRec: the terms of its objective, the weights each term trains, and its life in Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from laclrec_tf.data.batches import training_dataset
from laclrec_tf.layers.edit_mixture import VARIANTS
from laclrec_tf.losses import info_nce, operation_loss, triplet_loss
from laclrec_tf.models import LACLRec
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP
from laclrec_tf.ops.masking import take_prefixes

NETWORK_ITEMS = 20
N_ITEMS, K = 20, 2
EOS, MASK = N_ITEMS + 1, N_ITEMS + 2
TINY: dict[str, Any] = {
    "max_length": 10,
    "max_edited_length": 12,
    "max_insertions": K,
    "width": 8,
    "n_encoder_blocks": 1,
    "n_recommender_blocks": 1,
    "dropout": 0.0,
    "alpha": 0.1,
    "beta": 0.256,
    "lambda_aug": 1.0,
    "gamma": 0.0,
    "seed": 2,
}
SASREC = {"alpha": 0.0, "beta": 0.0, "lambda_aug": 0.0}
CL4SREC = {"beta": 0.0, "lambda_aug": 0.0, "contrast_views": "random-random"}
HISTORIES = [np.random.default_rng(n).integers(1, N_ITEMS + 1, 2 + n % 9).astype(np.int32) for n in range(24)]


def made_network(**arguments: Any) -> LACLRec:
    keras.utils.set_random_seed(1)
    tiny = {"max_length": 10, "max_edited_length": 14, "max_insertions": 3, "width": 8, "dropout": 0.0, "seed": 2}
    return LACLRec(NETWORK_ITEMS, **(tiny | arguments))


def decided_by_network(**arguments: Any) -> LACLRec:
    """A model with larger embeddings, so that what it says differs from item to item."""
    model = made_network(**arguments)
    for embedding in (model.encoder.item_embedding, model.encoder.position_embedding):
        embedding.set_weights([50 * w for w in embedding.get_weights()])
    return model


def numbers(tensor) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def test_a_user_vector_depends_neither_on_padding_nor_on_batch_mates():
    model = decided_by_network()
    histories = np.array([[5, 6, 7, 8], [9, 3, 0, 0]], np.int32)
    vectors = numbers(model(histories))
    assert vectors.shape == (2, 8)
    assert numbers(model(np.pad(histories, [(0, 0), (0, 4)]))) == pytest.approx(vectors, abs=1e-5)
    assert numbers(model(np.array([[9, 3]], np.int32)))[0] == pytest.approx(vectors[1], abs=1e-5)
    assert numbers(model({"history": histories})) == pytest.approx(vectors, abs=0)


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("positions", ["start", "end"])
def test_a_user_vector_is_the_hidden_state_at_the_last_item(blocks: int, positions: str):
    model = made_network(n_recommender_blocks=blocks, positions=positions)
    histories = np.array([[3, 1, 4, 0], [2, 0, 0, 0], [1, 2, 3, 4]])
    hidden = numbers(model.hidden_states(histories))
    assert numbers(model(histories)) == pytest.approx(hidden[[0, 1, 2], [2, 0, 3]], abs=1e-5)


@pytest.mark.parametrize("augmenter_attention", ["causal", "bidirectional"])
def test_next_item_prediction_never_sees_the_future(augmenter_attention: str):
    model = decided_by_network(augmenter_attention=augmenter_attention)
    before = numbers(model.hidden_states(np.array([[5, 6, 7, 8]], np.int32)))
    after = numbers(model.hidden_states(np.array([[5, 6, 9, 8]], np.int32)))
    assert after[0, :2] == pytest.approx(before[0, :2], abs=1e-5)
    assert np.abs(after - before)[0, 2:].max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("n_blocks", [0, 1, 2])
def test_edit_vectors_are_those_of_the_edited_histories(n_blocks):
    model = LACLRec(n_items=20, width=8, n_heads=1, max_length=8, n_recommender_blocks=n_blocks, positions="start")
    for weight in model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.3, seed=1))
    histories = [[1, 2, 3, 4, 5, 6, 7, 8], [9, 3, 9, 4, 1], [5, 6], [7]]
    padded = tf.constant([history + [0] * (8 - len(history)) for history in histories])
    vectors, level = (found.numpy() for found in model.edit_vectors(padded))
    traced = tf.function(model.edit_vectors, input_signature=[tf.TensorSpec([None, None], tf.int32)])(padded)
    np.testing.assert_allclose(traced[0], vectors, atol=1e-5)
    np.testing.assert_allclose(traced[1], level, atol=1e-5)
    exists = model.mixture.exists(padded).numpy()
    assert exists.sum() == 6 + 6 + 3 + 1
    for row, history in enumerate(histories):
        for variant in np.flatnonzero(exists[row]):
            gone = VARIANTS[variant]
            edited = [item for place, item in enumerate(history) if len(history) - place not in gone]
            np.testing.assert_allclose(vectors[row, variant], model([edited])[0], atol=1e-4)


def test_edit_vectors_keep_the_positions_of_the_whole_history_from_its_end():
    # An event keeps its distance from the end of the history; the copy of the last event moves to the one it replaces.
    model = LACLRec(n_items=20, width=8, n_heads=1, max_length=8, positions="end")
    counted = LACLRec(n_items=20, width=8, n_heads=1, max_length=8, positions="start")
    counted.set_weights(model.get_weights())
    table = counted.encoder.position_embedding.embeddings
    history = tf.constant([[4, 9, 2, 7]])
    table.assign(tf.gather(table, tf.maximum(3 - tf.range(table.shape[0]), 0)))  # distances from the end of 4 events
    of_model, of_counted = model.edit_vectors(history)[0], counted.edit_vectors(history)[0]
    np.testing.assert_allclose(of_model[:, :5], of_counted[:, :5], atol=1e-5)


@pytest.mark.parametrize("positions", ["start", "end"])
def test_the_noise_level_is_the_mean_probability_of_the_events_before_the_last_two(positions):
    model = LACLRec(n_items=20, width=8, n_heads=1, max_length=8, positions=positions)
    model.evidence.coefficients.assign(np.linspace(-1, 1, 12))
    model.evidence.threshold.assign(0.5)
    history = tf.constant([[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0], [3, 4, 0, 0, 0, 0]])
    # A table of zeros has the same normaliser, log(20), at each event, so that the probabilities are the exact ones.
    model.encoder.item_table.assign(tf.zeros_like(model.item_vectors))
    model.mixture.typical_normaliser.assign(np.log(20))
    exact = model.deletion_probabilities(history).numpy()
    _, level = model.edit_vectors(history)
    np.testing.assert_allclose(level, [exact[0, :4].mean(), exact[1, 0], 0], rtol=1e-5)
    _, unread = model.edit_vectors(history, edits="uniform")
    assert unread.numpy().tolist() == [0, 0, 0]


def test_edits_are_the_augmenters_over_the_shared_encoder():
    model = decided_by_network(decision="gumbel")
    histories = np.array([[5, 6, 7, 8], [9, 3, 0, 0]], np.int32)
    expected = model.augmenter.edit(model.encoder, histories, "argmax")
    for edit, of_augmenter in zip(model.edit(histories, decision="argmax"), expected, strict=True):
        assert numbers(edit).tolist() == numbers(of_augmenter).tolist()


def test_every_setting_is_an_attribute_and_in_the_configuration():
    model = made_network(n_recommender_blocks=2, can_delete=False)
    config = model.get_config()
    assert (model.n_recommender_blocks, model.can_delete, len(model.user_encoder.blocks)) == (2, False, 2)
    assert {name: getattr(model, name) for name in config if name not in ("name", "dtype")} == {
        name: value for name, value in config.items() if name not in ("name", "dtype")
    }


def made(seed: int = 1, **arguments: Any) -> LACLRec:
    keras.utils.set_random_seed(seed)
    return LACLRec(N_ITEMS, **(TINY | arguments))


def decided(seed: int = 1, **arguments: Any) -> LACLRec:
    """A model with larger embeddings, so that its untrained augmenter takes every operation."""
    model = made(seed, **arguments)
    for embedding in (model.encoder.item_embedding, model.encoder.position_embedding):
        embedding.set_weights([50 * w for w in embedding.get_weights()])
    return model


def dataset_for(model: LACLRec, histories=None, targets_per_batch: int = 40, **arguments: Any) -> tf.data.Dataset:
    histories = HISTORIES if histories is None else histories
    return training_dataset(histories, targets_per_batch=targets_per_batch, **(model.batch_requirements | arguments))


BATCHES: dict[str, dict[str, tf.Tensor]] = {}


def batch_for(model: LACLRec) -> dict[str, tf.Tensor]:
    """The largest batch of the first epoch; models that ask for the same get the same one."""
    asked = str(model.batch_requirements)
    if asked not in BATCHES:
        batches = dataset_for(model, prefix_share=0.6, seed=5)
        BATCHES[asked] = max(batches, key=lambda batch: int(tf.size(batch["history"])))
    return BATCHES[asked]


def held_out(histories=None, batch_size: int = 5) -> tf.data.Dataset:
    """Each history's last item is held out."""
    histories = [h for h in (HISTORIES if histories is None else histories) if len(h) > 1]
    padded = np.zeros((len(histories), 10), np.int32)
    for row, history in enumerate(histories):
        padded[row, : len(history) - 1] = history[:-1]
    last = np.array([history[-1] for history in histories], np.int32)
    return tf.data.Dataset.from_tensor_slices({"history": padded, "held_out_item": last}).batch(batch_size)


def paths(variables) -> set[str]:
    return {variable.path for variable in variables}


def groups(model: LACLRec) -> dict[str, set[str]]:
    return {
        "encoder": paths(model.encoder.trainable_variables),
        "heads": paths(model.augmenter.trainable_variables),
        "recommender": paths(model.user_encoder.trainable_variables),
    }


# ---- scores ---------------------------------------------------------------------------------------------
def test_scores_are_dot_products_and_specials_are_minus_infinity():
    model = decided()
    vectors = np.random.default_rng(0).normal(size=[3, 8]).astype("float32")
    scores = numbers(model.score(vectors))
    assert scores.shape == (3, N_ITEMS + 3)
    table = numbers(model.encoder.item_table)
    assert scores[:, 1 : N_ITEMS + 1] == pytest.approx(vectors @ table[1 : N_ITEMS + 1].T, abs=1e-5)
    assert np.isneginf(scores[:, [0, EOS, MASK]]).all()


def test_recommend_gives_the_best_items_first_without_history_and_specials():
    model = decided()
    table = model.encoder.item_embedding.get_weights()[0]
    history = np.array([[5, 6, 7, 0], [9, 3, 2, 5]], np.int32)
    # The first user's own items and the specials would win by far.
    table[[0, 5, 6, EOS, MASK]] = 100 * numbers(model(history))[0]
    model.encoder.item_embedding.set_weights([table])
    scores = numbers(model.score(model(history)))
    item_ids, best = (numbers(t) for t in model.recommend(history, k=16))
    assert item_ids.shape == best.shape == (2, 16)
    for row, seen in enumerate(({5, 6, 7}, {9, 3, 2, 5})):
        candidates = [item for item in range(1, N_ITEMS + 1) if item not in seen]
        expected = sorted(candidates, key=lambda item: -scores[row, item])[:16]
        assert item_ids[row].tolist() == expected
        assert best[row] == pytest.approx(scores[row, expected])


def test_recommend_may_leave_the_history_in_and_gives_at_most_the_catalogue():
    model = decided()
    item_ids, scores = (numbers(t) for t in model.recommend(np.array([[5, 6]], np.int32), k=99, exclude_history=False))
    assert sorted(item_ids[0].tolist()) == list(range(1, N_ITEMS + 1))
    assert np.isfinite(scores).all() and (np.diff(scores[0]) <= 0).all()


def test_what_cannot_be_recommended_is_one_line():
    model = made()
    with pytest.raises(ValueError, match="`k` must be at least 1. Received: k=0"):
        model.recommend(np.array([[5, 6]], np.int32), k=0)
    with pytest.raises(ValueError, match=r"`inputs` must be item ids of shape \[B, L\]. Received: shape \(3,\)"):
        model(np.array([5, 6, 7], np.int32))


# ---- the terms -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=["start", "end"])
def full(request) -> tuple[LACLRec, dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """A model with dropout off, a batch, and the terms of its objective on it."""
    model = decided(similarity="cosine", temperature=0.5, positions=request.param)
    batch = batch_for(model)
    terms, _ = model.losses_of(batch, training=False)
    return model, batch, terms


def test_the_full_objective_has_four_terms(full):
    model, _, terms = full
    assert set(terms) == {"next_item_loss", "contrast_loss", "triplet_loss", "augmenter_loss"}
    assert model.term_weights == {
        "next_item_loss": 1.0,
        "contrast_loss": 0.1,
        "triplet_loss": 0.256,
        "augmenter_loss": 1.0,
    }


def test_next_item_loss_is_that_of_every_prefix_encoded_alone():
    # Counted from the end, an item's position in its history is not its position in a prefix.
    model = decided(positions="start", label_smoothing=0)
    batch = batch_for(model)
    terms, _ = model.losses_of(batch, training=False)
    losses = []
    for history, target in zip(batch["history"].numpy(), batch["target"].numpy(), strict=True):
        for n in range(1, np.count_nonzero(history) + 1):
            scores = numbers(model.score(model(history[np.newaxis, :n])))[0, 1 : N_ITEMS + 1]
            losses.append(np.log(np.exp(scores).sum()) - scores[target[n - 1] - 1])
    assert len(losses) > len(batch["history"])
    assert float(terms["next_item_loss"]) == pytest.approx(np.mean(losses), abs=1e-4)


def test_label_smoothing_spreads_a_share_of_each_target_over_the_catalogue():
    plain, smoothed = decided(gamma=0.5, label_smoothing=0), decided(gamma=0.5, label_smoothing=0.3)
    smoothed.set_weights(plain.get_weights())
    batch = batch_for(plain)
    terms, smoothed_terms = (model.losses_of(batch, training=False)[0] for model in (plain, smoothed))
    hidden = numbers(plain.hidden_states(batch["history"]))
    scores = hidden @ numbers(plain.encoder.item_table)[1 : N_ITEMS + 1].T
    target = batch["target"].numpy()
    leads = [scores[at][target[at] - 1] - scores[at].mean() for at in zip(*np.nonzero(target), strict=True)]
    expected = float(terms["next_item_loss"]) + 0.3 * np.mean(leads)
    assert float(smoothed_terms["next_item_loss"]) == pytest.approx(expected, abs=1e-4)
    assert float(smoothed_terms["view_loss"]) != pytest.approx(float(terms["view_loss"]), abs=1e-4)
    # What the augmenter inserts is no next item.
    assert float(smoothed_terms["augmenter_loss"]) == pytest.approx(float(terms["augmenter_loss"]), abs=1e-5)


def test_labels_are_smoothed_unless_negatives_are_sampled():
    assert [LACLRec(N_ITEMS, n_negatives=n).label_smoothing for n in (0, 4)] == [0.2, 0]
    assert LACLRec(N_ITEMS, n_negatives=4, label_smoothing=0).label_smoothing == 0
    assert LACLRec(N_ITEMS).get_config()["label_smoothing"] == 0.2
    assert "label_smoothing" not in repr(LACLRec(N_ITEMS)) + repr(LACLRec(N_ITEMS, n_negatives=4))
    assert "label_smoothing=0.1" in repr(LACLRec(N_ITEMS, label_smoothing=0.1))


def test_contrast_and_triplet_compare_the_three_views_of_each_prefix(full):
    model, batch, terms = full
    prefixes = take_prefixes(batch["history"], batch["prefix_lengths"])
    raw, random = model(prefixes), model(batch["random_view"])
    edits = model.learned_edits(prefixes)
    learned = model(edits.edited)
    assert float(terms["triplet_loss"]) == pytest.approx(float(triplet_loss(raw, learned, random)), abs=1e-4)
    contrast = info_nce(random, learned, temperature=0.5, similarity="cosine")
    assert float(terms["contrast_loss"]) == pytest.approx(float(contrast), abs=1e-4)


def test_what_follows_a_history_follows_its_views_too():
    model = decided(gamma=0.5, label_smoothing=0)
    batch = batch_for(model)
    terms, _ = model.losses_of(batch, training=False)
    assert model.term_weights["view_loss"] == 0.5
    prefixes = take_prefixes(batch["history"], batch["prefix_lengths"])
    views = [model(batch["random_view"]), model(model.learned_edits(prefixes).edited)]
    lengths = batch["prefix_lengths"].numpy()
    following = [row[n - 1] for row, ends in zip(batch["target"].numpy(), lengths, strict=True) for n in ends]
    losses = []
    for view in views:
        scores = numbers(model.score(view))[:, 1 : N_ITEMS + 1]
        shares = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        losses += [-shares[row, item - 1] for row, item in enumerate(following)]
    assert len(losses) == 2 * lengths.size
    assert float(terms["view_loss"]) == pytest.approx(np.mean(losses), abs=1e-4)


def test_the_augmenter_term_is_operation_loss_plus_insertion_loss(full):
    model, batch, terms = full
    repair = model.augmenter.repair(model.encoder, batch["corrupted"], batch["operations"], batch["insertions"])
    operation = operation_loss(repair.operation_logits, batch["operations"], batch["corrupted"] > 0)
    # Items and EOS share the probability: ids 1..N+1.
    scores = numbers(repair.run_states) @ numbers(model.encoder.item_table)[1 : EOS + 1].T
    targets = numbers(repair.run_targets)
    assert EOS in targets and targets.min() >= 1
    insertion = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(targets)), targets - 1]
    assert float(terms["augmenter_loss"]) == pytest.approx(float(operation) + insertion.mean(), abs=1e-4)


def test_terms_without_weight_are_not_computed():
    for arguments, expected in (
        (SASREC, {"next_item_loss"}),
        (CL4SREC, {"next_item_loss", "contrast_loss"}),
        ({"beta": 0.0}, {"next_item_loss", "contrast_loss", "augmenter_loss"}),
        ({"alpha": 0.0, "lambda_aug": 0.0}, {"next_item_loss", "triplet_loss"}),
    ):
        model = made(**arguments)
        terms, _ = model.losses_of(batch_for(model), training=False)
        assert set(terms) == set(model.term_weights) == expected


def test_random_random_contrasts_the_two_random_views():
    model = decided(**CL4SREC)
    batch = batch_for(model)
    terms, statistics = model.losses_of(batch, training=False)
    expected = info_nce(model(batch["random_view"]), model(batch["random_view_2"]))
    assert float(terms["contrast_loss"]) == pytest.approx(float(expected), abs=1e-4)
    assert not statistics, "no learned view, no augmenter"


def test_a_batch_asks_for_no_more_than_its_terms_need():
    for arguments, extra in (
        (SASREC, set()),
        (CL4SREC, {"prefix_lengths", "random_view", "random_view_2"}),
        ({}, {"prefix_lengths", "random_view", "corrupted", "operations", "insertions"}),
    ):
        assert set(batch_for(made(**arguments))) == {"history", "target"} | extra


@pytest.mark.parametrize(("arguments", "absent"), [({"can_delete": False}, DELETE), ({"can_insert": False}, INSERT)])
def test_an_augmenter_is_not_trained_in_what_it_may_not_do(arguments: dict, absent: int):
    model = decided(**arguments)
    batch = batch_for(model)
    operations = batch["operations"].numpy()[batch["corrupted"] > 0]
    assert set(operations.tolist()) == {KEEP, DELETE, INSERT} - {absent}
    repair = model.augmenter.repair(model.encoder, batch["corrupted"], batch["operations"], batch["insertions"])
    assert float(operation_loss(repair.operation_logits, batch["operations"], batch["corrupted"] > 0)) < 10.0
    assert absent not in numbers(model.edit(batch["history"]).operations)


# ---- gradients -------------------------------------------------------------------------------------------
def test_the_weights_are_those_of_encoder_heads_and_recommender():
    model = made()
    parts = groups(model)
    assert sum(len(part) for part in parts.values()) == len(model.trainable_variables)
    assert set.union(*parts.values()) == paths(model.trainable_variables)


@pytest.mark.parametrize(
    ("term", "trained"),
    [
        ("next_item_loss", {"encoder", "recommender"}),
        ("contrast_loss", {"encoder", "recommender"}),
        ("triplet_loss", {"encoder", "recommender"}),
        ("augmenter_loss", {"encoder", "heads"}),
    ],
)
def test_each_term_reaches_exactly_the_weights_it_trains(full, term: str, trained: set[str]):
    model, batch, _ = full
    with tf.GradientTape() as tape:
        terms, _ = model.losses_of(batch, training=False)
    gradients = tape.gradient(terms[term], model.trainable_variables)
    reached = {v.path: g for v, g in zip(model.trainable_variables, gradients, strict=True) if g is not None}
    parts = groups(model)
    assert set(reached) == set.union(*(parts[name] for name in trained))
    for path, gradient in reached.items():
        size = float(tf.norm(tf.convert_to_tensor(gradient)))
        assert np.isfinite(size), path
        # A softmax over keys does not notice one number added to all of them.
        assert size > 1e-6 or path.endswith("attention/key/bias"), path


def test_no_gradient_flows_through_the_discrete_edits(full):
    model, batch, terms = full
    heads = model.augmenter.trainable_variables
    with tf.GradientTape() as tape:
        views, _ = model.losses_of(batch, training=False)
        loss = views["contrast_loss"] + views["triplet_loss"]
    assert tape.gradient(loss, heads) == [None] * len(heads)

    # Yet the loss does depend on the heads: the learned view takes all operations, and other ones cost otherwise.
    prefixes = take_prefixes(batch["history"], batch["prefix_lengths"])
    operations = numbers(model.edit(prefixes).operations)[prefixes.numpy() > 0]
    assert set(operations.tolist()) == {KEEP, DELETE, INSERT}
    head = model.augmenter.operation_head
    weights = head.get_weights()
    head.set_weights([weights[0], weights[1] + [50.0, 0.0, 0.0]])
    try:
        keeping, _ = model.losses_of(batch, training=False)
    finally:
        head.set_weights(weights)
    for name in ("contrast_loss", "triplet_loss"):
        assert abs(float(keeping[name]) - float(terms[name])) > 1e-3


def test_each_half_of_the_augmenters_loss_trains_its_own_head(full):
    model, batch, _ = full
    augmenter = model.augmenter
    with tf.GradientTape(persistent=True) as tape:
        repair = augmenter.repair(model.encoder, batch["corrupted"], batch["operations"], batch["insertions"])
        operation, insertion = tf.reduce_sum(repair.operation_logits**2), tf.reduce_sum(repair.run_states**2)
    both = paths(augmenter.hidden_norm.trainable_variables)
    for loss, its_own in ((operation, augmenter.operation_head), (insertion, augmenter.generator)):
        gradients = tape.gradient(loss, augmenter.trainable_variables)
        reached = [v for v, g in zip(augmenter.trainable_variables, gradients, strict=True) if g is not None]
        assert paths(reached) == both | paths(its_own.trainable_variables)
        assert all(g is not None for g in tape.gradient(loss, model.encoder.trainable_variables))


# ---- training --------------------------------------------------------------------------------------------
def values(model: LACLRec) -> dict[str, np.ndarray]:
    return {v.path: numbers(v) for v in model.trainable_variables}


def moved(model: LACLRec, before: dict[str, np.ndarray]) -> set[str]:
    return {path for path, value in values(model).items() if not np.array_equal(value, before[path])}


def test_a_step_lowers_the_weighted_sum_of_the_terms():
    model = decided(alpha=0.5, beta=0.25, lambda_aug=2.0)
    model.compile("sgd", run_eagerly=True)
    batch = batch_for(model)
    terms = {name: float(term) for name, term in model.losses_of(batch)[0].items()}
    logs = {name: float(value) for name, value in model.train_step(batch).items()}
    assert {name: logs[name] for name in terms} == pytest.approx(terms, abs=1e-4)
    total = terms["next_item_loss"] + 0.5 * terms["contrast_loss"] + 0.25 * terms["triplet_loss"]
    total += 2.0 * terms["augmenter_loss"]
    assert logs["loss"] == pytest.approx(total, abs=1e-3)
    assert logs["operation_loss"] + logs["insertion_loss"] == pytest.approx(terms["augmenter_loss"], abs=1e-4)


def test_plain_gradient_descent_follows_the_weighted_sum():
    model = decided(alpha=0.5, beta=0.25, lambda_aug=2.0)
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    batch = batch_for(model)
    before = values(model)
    with tf.GradientTape() as tape:
        terms, _ = model.losses_of(batch)
        loss = terms["next_item_loss"] + 0.5 * terms["contrast_loss"] + 0.25 * terms["triplet_loss"]
        loss += 2.0 * terms["augmenter_loss"]
    gradients = tape.gradient(loss, model.trainable_variables)
    model.train_step(batch)
    after = values(model)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        expected = before[variable.path] - 0.01 * tf.convert_to_tensor(gradient).numpy()
        assert after[variable.path] == pytest.approx(expected, abs=1e-4), variable.path


def test_the_augmenters_objective_leaves_the_recommenders_blocks_unchanged():
    model = decided()
    model.compile("adam", objective="augmenter", run_eagerly=True)
    before = values(model)
    logs = model.train_step(batch_for(model))
    assert {"loss", "augmenter_loss", "operation_accuracy"} <= set(logs)
    assert not {"next_item_loss", "contrast_loss", "triplet_loss"} & set(logs)
    parts = groups(model)
    changed = moved(model, before)
    assert not changed & parts["recommender"]
    assert {path for path in parts["heads"] | parts["encoder"] if not path.endswith("key/bias")} <= changed


def test_without_lambda_the_full_objective_leaves_the_augmenters_heads_unchanged():
    model = decided(lambda_aug=0.0)
    model.compile("adam", run_eagerly=True)
    before = values(model)
    model.train_step(batch_for(model))
    parts = groups(model)
    changed = moved(model, before)
    assert not changed & parts["heads"]
    assert {path for path in parts["recommender"] | parts["encoder"] if not path.endswith("key/bias")} <= changed


@pytest.fixture(scope="module")
def trained() -> tuple[LACLRec, dict[str, list[float]]]:
    """The full model after one epoch of `fit` in a graph."""
    model = made(dropout=0.1, n_recommender_blocks=0, max_insertions=1)
    model.compile(keras.optimizers.Adam(0.01))
    history = model.fit(dataset_for(model, prefix_share=0.3), validation_data=held_out(), epochs=1, verbose=0)
    return model, history.history


def test_fit_logs_the_terms_and_what_to_watch(trained):
    _, logs = trained
    assert {
        "loss",
        "next_item_loss",
        "contrast_loss",
        "triplet_loss",
        "augmenter_loss",
        "operation_loss",
        "insertion_loss",
        "operation_accuracy",
        "deletion_precision",
        "deletion_recall",
        "insertion_accuracy",
        "similarity_raw_learned",
        "similarity_raw_random",
        "triplet_accuracy",
        "alignment",
        "uniformity",
        "keep_rate",
        "delete_rate",
        "insert_rate",
        "edited_length",
    } <= set(logs)
    assert {f"val_{name}@{k}" for name in ("recall", "mrr", "ndcg") for k in (5, 10, 20)} <= set(logs)
    assert all(len(values) == 1 and np.isfinite(values[0]) for values in logs.values())
    assert logs["keep_rate"][0] + logs["delete_rate"][0] + logs["insert_rate"][0] == pytest.approx(1.0, abs=1e-5)
    # The terms differ from batch to batch only in size: their weighted averages add up.
    parts = logs["next_item_loss"][0] + 0.1 * logs["contrast_loss"][0] + 0.256 * logs["triplet_loss"][0]
    assert logs["loss"][0] == pytest.approx(parts + logs["augmenter_loss"][0], abs=1e-4)


@pytest.mark.parametrize("arguments", [SASREC, CL4SREC], ids=["sasrec", "cl4srec"])
def test_the_baselines_fit_and_their_heads_stay_as_they_were(arguments: dict):
    model = made(**arguments)
    model.compile("adam", run_eagerly=True)
    before = values(model)
    logs = model.fit(dataset_for(model), epochs=1, verbose=0).history
    assert set(logs) == {"loss", *model.term_weights}
    parts = groups(model)
    assert not moved(model, before) & parts["heads"]
    assert parts["recommender"] & moved(model, before)


@pytest.mark.parametrize(
    ("arguments", "given", "missing"),
    [
        ({}, SASREC, "history, target, prefix_lengths, random_view, corrupted, operations, insertions"),
        (CL4SREC, {}, "history, target, prefix_lengths, random_view, random_view_2"),
        ({"objective": "augmenter"}, SASREC, "corrupted, operations, insertions"),
    ],
)
def test_batches_made_for_another_objective_are_refused(arguments, given, missing):
    objective = arguments.get("objective", "full")
    model = made(**{name: value for name, value in arguments.items() if name != "objective"})
    model.compile(objective=objective)
    with pytest.raises(ValueError) as caught:
        model.fit(dataset_for(made(**given)), epochs=1, verbose=0)
    assert f"must be a dict with {missing} for this objective. Received: " in str(caught.value)
    assert "training_dataset(histories, **model.batch_requirements)" in str(caught.value)


def test_a_cycle_of_items_is_learnt_and_goes_on_being_learnt_after_loading(tmp_path):
    # Item i is always followed by i + 1, and 20 by 1.
    generator = np.random.default_rng(0)
    cycles = [
        ((generator.integers(N_ITEMS) + np.arange(n)) % N_ITEMS + 1).astype(np.int32)
        for n in generator.integers(3, 10, 80)
    ]
    model = made(**(SASREC | {"n_recommender_blocks": 0, "width": 16, "label_smoothing": 0}))
    model.compile(keras.optimizers.Adam(0.02))
    dataset = dataset_for(model, cycles, targets_per_batch=80)
    losses = model.fit(dataset, epochs=12, verbose=0).history["loss"]
    assert losses[0] > 2.0  # a guess costs log 20 = 3.0
    assert losses[-1] < 0.2
    histories = np.array([[3, 4, 5, 0], [19, 20, 0, 0]], np.int32)
    assert numbers(model.recommend(histories, k=1)[0]).tolist() == [[6], [1]]

    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    assert numbers(loaded.recommend(histories, k=1)[0]).tolist() == [[6], [1]]
    more = loaded.fit(dataset, epochs=2, verbose=0).history["loss"]
    assert max(more) < losses[-2]


# ---- predict and evaluate --------------------------------------------------------------------------------
def test_predict_gives_user_vectors(trained):
    model, _ = trained
    histories = np.concatenate([batch["history"] for batch in held_out()])
    expected = numbers(model(histories, training=False))
    assert model.predict(histories, batch_size=10, verbose=0) == pytest.approx(expected, abs=1e-5)
    assert model.predict(held_out(), verbose=0) == pytest.approx(expected, abs=1e-5)


def test_evaluate_ranks_the_held_out_item_without_the_history(trained):
    model, _ = trained
    result = model.evaluate(held_out(), return_dict=True, verbose=0)
    ranks = []
    for batch in held_out(batch_size=1):
        seen, target = set(batch["history"].numpy()[0].tolist()), int(batch["held_out_item"][0])
        scores = numbers(model.score(model(batch["history"])))[0]
        others = [i for i in range(1, N_ITEMS + 1) if i != target and i not in seen]
        is_missed = target in seen  # an item of the history is never recommended
        ranks.append(1000 if is_missed else sum(scores[i] >= scores[target] for i in others))
    ranks = np.array(ranks)
    assert 1000 in ranks
    assert len(ranks) == len(HISTORIES) and 0 < (ranks < 5).mean() < 1
    for k in (5, 10, 20):
        assert result[f"recall@{k}"] == pytest.approx((ranks < k).mean(), abs=1e-5)
        assert result[f"mrr@{k}"] == pytest.approx(((ranks < k) / (ranks + 1)).mean(), abs=1e-5)
        assert result[f"ndcg@{k}"] == pytest.approx(((ranks < k) / np.log2(ranks + 2)).mean(), abs=1e-5)


def test_watched_rates_are_exact_over_batches_of_different_widths():
    # Two batches, one of them five times as wide: each position counts as much as any other.
    model = decided(positions="start")  # untrained, it deletes some
    generator = np.random.default_rng(5)
    model.reset_metrics()
    right, labelled = [], []
    for rows, width in ((6, 2), (1, 10)):
        history = generator.integers(1, N_ITEMS + 1, [rows, width]).astype(np.int32)
        labels = generator.integers(0, 2, [rows, width]).astype(np.int32)  # KEEP and DELETE
        batch = {
            "history": history,
            "held_out_item": history[:, 0],
            "corrupted": history,
            "operations": labels,
            "insertions": np.zeros([rows, width, K], np.int32),
        }
        logs = model.test_step({name: tf.constant(values) for name, values in batch.items()})
        decided_operations = numbers(model.augmenter(model.augmenter.encode(model.encoder, history))).argmax(axis=-1)
        right += (decided_operations == labels).ravel().tolist()
        labelled += [(d, label) for d, label in zip(decided_operations.ravel(), labels.ravel(), strict=True)]
    hits = sum(d == label == DELETE for d, label in labelled)
    assert hits > 0
    assert float(logs["operation_accuracy"]) == pytest.approx(np.mean(right), abs=1e-5)
    assert float(logs["deletion_precision"]) == pytest.approx(hits / sum(d == DELETE for d, _ in labelled), abs=1e-5)
    assert float(logs["deletion_recall"]) == pytest.approx(hits / sum(r == DELETE for _, r in labelled), abs=1e-5)


# ---- saving ----------------------------------------------------------------------------------------------
def test_a_saved_model_comes_back_equal_and_keeps_training(tmp_path):
    model = decided(alpha=0.3, decision="argmax", positions="end", temperature=0.7)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    batch = batch_for(model)
    model.train_step(batch)
    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")

    assert isinstance(loaded, LACLRec)
    assert loaded.get_config() == model.get_config()
    history = batch["history"]
    assert numbers(loaded(history)) == pytest.approx(numbers(model(history)), abs=1e-6)
    for ours, theirs in zip(loaded.edit(history), model.edit(history), strict=True):
        assert numbers(ours) == pytest.approx(numbers(theirs), abs=1e-5)

    # Training goes on from the optimizer's state: the same batch moves both alike.
    assert loaded.optimizer.iterations == 1
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.01)
    before = values(model)
    model.train_step(batch)
    loaded.train_step(batch)
    assert len(moved(model, before)) > 10
    for ours, theirs in zip(loaded.trainable_variables, model.trainable_variables, strict=True):
        assert numbers(ours) == pytest.approx(numbers(theirs), abs=1e-4), ours.path


def test_the_objective_is_saved_too(tmp_path):
    model = made()
    model.compile("adam", objective="augmenter")
    model.save(tmp_path / "x.keras")
    assert keras.models.load_model(tmp_path / "x.keras").objective == "augmenter"


def test_a_configuration_holds_every_argument():
    arguments = {
        "max_length": 8,
        "max_edited_length": 9,
        "max_insertions": 3,
        "width": 12,
        "n_encoder_blocks": 2,
        "n_recommender_blocks": 0,
        "n_heads": 3,
        "dropout": 0.25,
        "positions": "end",
        "normalisation": "post",
        "alpha": 0.2,
        "beta": 0.3,
        "lambda_aug": 0.4,
        "contrast_views": "random-random",
        "label_smoothing": 0.15,
        "similarity": "cosine",
        "temperature": 0.5,
        "augmenter_attention": "causal",
        "decision": "gumbel",
        "decision_temperature": 0.6,
        "can_delete": False,
        "can_insert": True,
        "seed": 7,
    }
    model = LACLRec(N_ITEMS, **arguments, name="a_name")
    config = model.get_config()
    assert {name: config[name] for name in arguments} == arguments
    copy = LACLRec.from_config(config)
    assert copy.get_config() == config
    assert [v.shape for v in copy.trainable_variables] == [v.shape for v in model.trainable_variables]


# ---- mistakes --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_edited_length": 9}, "`max_edited_length` must be at least `max_length`"),
        ({"contrast_views": "raw-raw"}, "Received: contrast_views='raw-raw'"),
        ({"width": 0}, "Received: width=0"),
        ({"dropout": 1.0}, "Received: dropout=1.0"),
        ({"label_smoothing": -0.1}, "Received: label_smoothing=-0.1"),
        ({"label_smoothing": 0.1, "n_negatives": 4}, "`label_smoothing` needs the whole catalogue"),
        ({"alpha": -0.1}, "Received: alpha=-0.1"),
        ({"beta": -1.0}, "Received: beta=-1.0"),
        ({"lambda_aug": -1.0}, "Received: lambda_aug=-1.0"),
        ({"can_delete": False, "can_insert": False}, "must not both be False"),
        ({"decision": "coin"}, "Received: decision='coin'"),
        ({"positions": "middle"}, "Received: positions='middle'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        made(**arguments)


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="Received: objective='both'"):
        made().compile("adam", objective="both")
