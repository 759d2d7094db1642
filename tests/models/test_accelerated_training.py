"""The fast ways to train give what the plain one gives: static shapes, XLA, bfloat16, several steps at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.data.batches import training_dataset
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.lazy_adam import LazyAdam
from laclrec_tf.models import LACLRec, build_preset
from laclrec_tf.ops.edits import DELETE, INSERT, KEEP, apply_edits
from laclrec_tf.ops.masking import is_item

N_ITEMS = 30
HISTORIES = [np.random.default_rng(n).integers(1, N_ITEMS + 1, 2 + n % 11).astype(np.int32) for n in range(40)]


def made(preset: str = "laclrec", **arguments: Any) -> LACLRec:
    keras.utils.set_random_seed(1)
    sizes = {"max_length": 12, "max_edited_length": 24, "max_insertions": 2, "width": 8, "dropout": 0.0, "seed": 2}
    sizes["n_recommender_blocks"] = 0  # the encoder's block is one already
    model = build_preset(preset, N_ITEMS, **(sizes | {"lambda_aug": 1.0 if preset == "laclrec" else 0.0} | arguments))
    # Larger embeddings, so that the untrained augmenter takes every operation.
    for embedding in (model.encoder.item_embedding, model.encoder.position_embedding):
        embedding.set_weights([50 * weights for weights in embedding.get_weights()])
    return model


def batches_for(model: LACLRec, static_shapes: bool, histories: Sequence[np.ndarray] = HISTORIES) -> tf.data.Dataset:
    return training_dataset(
        histories, targets_per_batch=40, seed=3, static_shapes=static_shapes, **model.batch_requirements
    )


def losses_of(model: LACLRec, batch: dict[str, tf.Tensor]) -> dict[str, float]:
    terms, statistics = model.losses_of(batch, training=False)
    values = {name: float(term) for name, term in terms.items()}
    for name, (value, weights) in statistics.items():
        value = tf.cast(value, tf.float32)
        weights = tf.ones_like(value) if weights is None else weights
        values[name] = float(tf.reduce_sum(value * weights) / tf.maximum(tf.reduce_sum(weights), 1e-9))
    return values


@pytest.mark.parametrize("preset", ["laclrec", "cl4srec", "sasrec"])
def test_static_shapes_change_no_loss_and_no_statistic(preset: str):
    model = made(preset)
    for batch in batches_for(model, static_shapes=True).take(2):
        model.static_shapes = False
        expected = losses_of(model, batch)
        model.static_shapes = True
        assert losses_of(model, batch) == pytest.approx(expected, rel=2e-5, abs=1e-5)


def test_the_batches_above_hold_every_operation():
    model = made()
    edits = [model.edit(batch["history"]).operations for batch in batches_for(model, static_shapes=True)]
    operations = set(np.concatenate([each.numpy().ravel() for each in edits]))
    assert {DELETE, INSERT} <= operations


def test_static_shapes_change_no_gradient():
    model = made()
    gradients = []
    batch = next(iter(batches_for(model, static_shapes=True)))
    for static in (False, True):
        model.static_shapes = static
        with tf.GradientTape() as tape:
            loss = sum(model.losses_of(batch, training=False)[0].values())
        found = tape.gradient(loss, model.trainable_variables)
        gradients.append([tf.convert_to_tensor(part).numpy() for part in found if part is not None])
    for plain, static in zip(*gradients, strict=True):
        assert static == pytest.approx(plain, abs=1e-5)


def trained(
    model: LACLRec, histories: Sequence[np.ndarray] = HISTORIES, static_shapes: bool = False, **how: Any
) -> tuple[dict[str, list[float]], list[np.ndarray]]:
    model.compile(LazyAdam(1e-2), **how)
    assert model.jit_compile == how.get("jit_compile", False)
    log = model.fit(batches_for(model, static_shapes, histories), epochs=2, shuffle=False, verbose=0)
    return log.history, model.get_weights()


# ---- XLA: 32 histories of one bucket make two batches of one shape, so one program is compiled ----------------


SHORT = [np.random.default_rng(n).integers(1, N_ITEMS + 1, 3 + n % 3).astype(np.int32) for n in range(32)]
IN_XLA = {"histories": SHORT, "static_shapes": True, "jit_compile": True}


class FixedEdits(LACLRec):
    """A model whose edits follow from the item ids alone, so that rounding cannot make another history of one."""

    def learned_edits(self, history):
        operations = tf.where(is_item(history), history % 3, KEEP)
        runs = tf.stack([N_ITEMS + 1 - history, tf.fill(tf.shape(history), N_ITEMS + 1)], axis=-1)  # an item, EOS
        edited = apply_edits(history, operations, runs, eos_id=N_ITEMS + 1, max_length=self.max_edited_length)
        return Edits(operations, None, runs, edited)


def fixed() -> LACLRec:
    model = made()
    twin = FixedEdits.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    return twin


def test_xla_trains_as_the_interpreter_does():
    plain, weights = trained(fixed(), SHORT, static_shapes=True, run_eagerly=True)
    compiled, compiled_weights = trained(fixed(), **IN_XLA)
    assert set(compiled) == set(plain)
    for name in {"loss", *LACLRec.loss_names} & set(plain):
        assert compiled[name] == pytest.approx(plain[name], rel=1e-4), name
    for ours, theirs in zip(compiled_weights, weights, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)


def _before(runs: tf.Tensor) -> tf.Tensor:
    """Return for each step of runs `[P, K]` the items of the steps before it, `[P, K, K]` padded with 0."""
    steps = tf.range(runs.shape[1])
    return tf.where(steps[tf.newaxis, :] < steps[:, tf.newaxis], runs[:, tf.newaxis, :], 0)


def test_xlas_edits_are_the_interpreters_but_for_rounding():
    model = made()
    model.compile(jit_compile=True)
    batch = next(iter(batches_for(model, True, SHORT)))
    history = batch["history"]
    edits = tf.function(model.learned_edits, jit_compile=True)(history)
    operations, insertions = edits.operations.numpy(), edits.insertions
    probabilities = model.edit(history).probabilities.numpy()
    assert edits.probabilities.numpy() == pytest.approx(probabilities, abs=1e-4)
    chosen = np.take_along_axis(probabilities, operations[..., None], axis=-1)[..., 0]
    real = history.numpy() > 0
    assert chosen[real] == pytest.approx(probabilities.max(axis=-1)[real], abs=1e-4)
    assert {KEEP, DELETE, INSERT} == set(operations[real])

    # Of each run every item scores best behind the items before it: a tie that rounding decides scores the same.
    inserting = real & (operations == INSERT)
    hidden = model.augmenter.hidden_norm(model.augmenter.encode(model.encoder, history, training=False))
    runs = insertions[inserting]
    states = model.augmenter.generator(hidden[inserting], model.encoder.item_embedding(runs[:, :-1]), training=False)
    scores = tf.matmul(states, model.encoder.item_table.value[1:-1], transpose_b=True)  # items and EOS
    # What the history holds and what the run held before is no candidate.
    present = tf.repeat(history, tf.reduce_sum(tf.cast(inserting, tf.int32), axis=1), axis=0)
    present = tf.concat([tf.repeat(present[:, tf.newaxis], runs.shape[1], axis=1), _before(runs)], axis=2)
    scores = tf.where(tf.reduce_any(tf.one_hot(present - 1, N_ITEMS + 1, True, False), axis=2), -np.inf, scores)
    decoded = runs > 0  # PAD stands behind the end of a run
    taken = tf.gather(scores, tf.maximum(runs - 1, 0), batch_dims=2)
    assert taken[decoded].numpy() == pytest.approx(tf.reduce_max(scores, axis=-1)[decoded].numpy(), rel=1e-4)
    edited = apply_edits(history, operations, insertions, eos_id=N_ITEMS + 1, max_length=model.max_edited_length)
    assert edits.edited.numpy().tolist() == edited.numpy().tolist()


def test_xla_trains_with_sampled_negatives_too():
    log, _ = trained(made("sasrec", n_negatives=10), **IN_XLA)
    assert log["loss"][1] < log["loss"][0]


def test_an_xla_model_is_evaluated():
    model = made("sasrec")
    model.compile(jit_compile=True)
    held_out = {"history": np.array([[1, 2, 3], [4, 0, 0]], np.int32), "held_out_item": np.array([5, 6], np.int32)}
    results = model.evaluate(tf.data.Dataset.from_tensors(held_out), return_dict=True, verbose=0)
    assert 0 <= results["recall@20"] <= 1
    assert model.jit_compile


def test_a_loaded_model_goes_on_training_as_it_was_compiled(tmp_path):
    model = made("sasrec")
    trained(model, **IN_XLA, steps_per_execution=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.jit_compile and loaded.static_shapes and loaded.steps_per_execution == 2
    assert loaded.get_compile_config() == model.get_compile_config()
    ours, theirs = (
        each.fit(batches_for(each, True, SHORT), epochs=1, shuffle=False, verbose=0).history for each in (loaded, model)
    )
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


# ---- bfloat16, several steps at once --------------------------------------------------------------------------


def test_mixed_bfloat16_keeps_float32_weights_and_losses_near_those_of_float32():
    model, half = made(), made(dtype="mixed_bfloat16")
    batch = next(iter(batches_for(model, static_shapes=False)))
    assert half(batch["history"]).dtype == tf.bfloat16
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
    half.set_weights(model.get_weights())
    expected, result = (losses_of(each, batch) for each in (model, half))
    assert result["next_item_loss"] == pytest.approx(expected["next_item_loss"], rel=0.02)
    assert result["augmenter_loss"] == pytest.approx(expected["augmenter_loss"], rel=0.05)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_mixed_bfloat16_learns(jit_compile: bool):
    model = made("sasrec" if jit_compile else "laclrec", dtype="mixed_bfloat16")
    log, _ = trained(model, SHORT, static_shapes=jit_compile, jit_compile=jit_compile)
    assert log["loss"][1] < log["loss"][0]


def test_a_mixed_bfloat16_model_comes_back_as_one(tmp_path):
    model = made("sasrec", dtype="mixed_bfloat16")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    history = np.array([[1, 2, 3]], np.int32)
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    assert model.score(model(history)).dtype == tf.float32
    assert tf.cast(loaded(history), tf.float32).numpy() == pytest.approx(tf.cast(model(history), tf.float32).numpy())


def test_steps_per_execution_changes_nothing_but_how_often_python_is_asked():
    one, weights = trained(made("sasrec"))
    four, other_weights = trained(made("sasrec"), steps_per_execution=4)
    assert four["loss"] == pytest.approx(one["loss"], rel=1e-5)
    for ours, theirs in zip(other_weights, weights, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


# ---- sampled negatives -------------------------------------------------------------------------------------


def test_with_sampled_negatives_the_item_tables_gradient_holds_rows_only():
    model = made(n_negatives=5)
    batch = next(iter(batches_for(model, static_shapes=False)))
    with tf.GradientTape() as tape:
        loss = sum(model.losses_of(batch, training=True)[0].values())
    gradient = tape.gradient(loss, model.encoder.item_table.value)
    assert isinstance(gradient, tf.IndexedSlices)


def test_with_sampled_negatives_only_their_items_and_those_of_the_batch_are_inserted():
    model = made(n_negatives=1)
    batch = next(iter(batches_for(model, static_shapes=False)))
    edits = model.augmenter.edit(model.encoder, batch["history"], candidates=tf.constant([7]))
    # Where nothing is inserted the slots hold PAD, and EOS closes a run.
    assert (edits.operations.numpy() == INSERT).any()
    assert set(edits.insertions.numpy().ravel()) <= {0, 7, model.augmenter.eos_id}
    inserted = set(model.learned_edits(batch["history"]).edited.numpy().ravel())
    assert len(inserted - set(batch["history"].numpy().ravel())) <= 1


def test_training_with_sampled_negatives_learns_to_rank_the_whole_catalogue():
    cycle = [np.roll(np.arange(1, N_ITEMS + 1), -start)[:9].astype(np.int32) for start in range(N_ITEMS)]
    keras.utils.set_random_seed(0)
    sizes = {"max_length": 10, "width": 16, "n_recommender_blocks": 0, "dropout": 0.0}
    model = build_preset("sasrec", N_ITEMS, **sizes, seed=1, n_negatives=12)
    model.compile(LazyAdam(1e-2))
    model.fit(training_dataset(cycle, targets_per_batch=45, n_items=N_ITEMS).repeat(75), epochs=1, verbose=0)
    histories = np.stack([history[:5] for history in cycle])
    best, _ = model.recommend(histories, k=1)
    assert np.mean(best.numpy()[:, 0] == [history[5] for history in cycle]) > 0.9


def test_an_unsampled_count_is_refused():
    with pytest.raises(ValueError, match="`n_negatives` must be 0 or above. Received: n_negatives=-1"):
        made(n_negatives=-1)
