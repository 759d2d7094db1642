"""Keras's ways to train, evaluate and load a model work, or an error names what to change."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.data.batches import evaluation_dataset, training_dataset
from laclrec_tf.models import LACLRec, build_preset

N_ITEMS = 20
HISTORIES = [np.random.default_rng(n).integers(1, N_ITEMS + 1, 3 + n % 6).astype(np.int32) for n in range(24)]
TARGETS = np.array([history[-1] for history in HISTORIES])


def made(preset: str = "laclrec", **arguments: Any) -> LACLRec:
    keras.utils.set_random_seed(1)
    return build_preset(
        preset,
        N_ITEMS,
        **({"max_length": 8, "width": 8, "n_recommender_blocks": 0, "max_insertions": 1, "seed": 2} | arguments),
    )


def compiled(preset: str = "sasrec") -> LACLRec:
    model = made(preset)
    model.compile()
    return model


def batches_for(model: LACLRec) -> tf.data.Dataset:
    return training_dataset(HISTORIES, targets_per_batch=40, **model.batch_requirements)


def validation() -> tf.data.Dataset:
    return evaluation_dataset([history[:-1] for history in HISTORIES], TARGETS)


def test_a_generator_trains_as_the_dataset_does():
    plain, generated = compiled(), compiled()
    batches = list(batches_for(plain))
    expected = plain.fit(
        tf.data.Dataset.from_generator(lambda: batches, output_signature=signature(batches)), verbose=0
    )
    log = generated.fit(((batch,) for batch in batches), steps_per_epoch=len(batches), verbose=0)
    assert log.history["loss"] == pytest.approx(expected.history["loss"], rel=1e-5)


def signature(batches: list[dict[str, tf.Tensor]]) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec([None] * value.shape.rank, value.dtype) for name, value in batches[0].items()}


def test_single_batches_train_and_are_evaluated():
    model = compiled()
    batch = next(iter(batches_for(model)))
    assert np.isfinite(model.train_on_batch(batch, return_dict=True)["loss"])
    assert int(model.optimizer.iterations) == 1
    tested = model.test_on_batch(next(iter(validation())), return_dict=True)
    assert tested["recall@10"] == pytest.approx(model.evaluate(validation(), verbose=0, return_dict=True)["recall@10"])


def test_targets_beside_a_batch_are_refused():
    model = compiled()
    batch = next(iter(batches_for(model)))
    with pytest.raises(ValueError, match="must be a dict of tensors that holds its targets"):
        model.train_on_batch(batch, batch["target"])


def test_training_batches_cannot_be_evaluated():
    model = compiled()
    with pytest.raises(ValueError, match="dict with `history` and `held_out_item`.*Received: history, target.*evalua"):
        model.evaluate(batches_for(model), verbose=0)


@pytest.mark.parametrize("given", [{"loss": "mse"}, {"metrics": ["accuracy"]}, {"weighted_metrics": ["accuracy"]}])
def test_a_loss_or_metrics_of_keras_are_refused(given):
    (name, value), *_ = given.items()
    with pytest.raises(ValueError, match=f"Argument `{name}` must be left out.*Received: {name}="):
        made().compile(**given)
    assert value


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.EarlyStopping(),
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True),
    ],
)
def test_a_callback_that_watches_no_metric_is_refused(callback):
    model = compiled()
    with pytest.raises(ValueError, match=f"{type(callback).__name__} watches 'val_loss'.*mode='max'"):
        model.fit(batches_for(model), validation_data=validation(), callbacks=[callback], verbose=0)


def test_callbacks_watch_the_ranking_metrics(tmp_path):
    model = compiled()
    stopping = keras.callbacks.EarlyStopping("val_ndcg@10", patience=3, mode="max")
    plateau = keras.callbacks.ReduceLROnPlateau("val_recall@10", mode="max")
    every_epoch = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    model.fit(batches_for(model), validation_data=validation(), callbacks=[stopping, plateau, every_epoch], verbose=0)
    assert stopping.best == model.evaluate(validation(), verbose=0, return_dict=True)["ndcg@10"] > 0
    assert (tmp_path / "model.keras").exists()


def in_new_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("imports", ["import laclrec_tf, keras", "import keras, laclrec_tf"])
def test_a_saved_model_is_loaded_after_the_package_alone_is_imported(tmp_path, imports):
    model = made()
    model.save(tmp_path / "model.keras")
    code = f"{imports}; print(keras.models.load_model({str(tmp_path / 'model.keras')!r})([[5, 6]]).numpy().tolist())"
    done = in_new_process(code)
    assert done.returncode == 0, done.stderr
    assert np.array(eval(done.stdout)) == pytest.approx(model([[5, 6]]).numpy(), abs=1e-5)


def test_another_backend_is_refused_by_name():
    done = in_new_process("from laclrec_tf import models", KERAS_BACKEND="jax")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "ImportError: laclrec_tf needs Keras's TensorFlow backend. Received: 'jax'. Set KERAS_BACKEND"
    )


def test_commands_use_the_tensorflow_backend():
    done = in_new_process("from laclrec_tf.cli.main import main; main(['settings'])", KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr


def test_the_default_float_type_may_be_float64(tmp_path):
    code = """
import keras
keras.config.set_floatx("float64")
import numpy as np
from laclrec_tf.data import training_dataset, evaluation_dataset
from laclrec_tf.models import build_preset
model = build_preset("laclrec", 20, width=8, max_length=8, n_recommender_blocks=0, max_insertions=1, seed=1)
model.compile(run_eagerly=True)
histories = [np.arange(1, 7), np.arange(4, 9)]
log = model.fit(training_dataset(histories, **model.batch_requirements), verbose=0,
                validation_data=evaluation_dataset(histories, np.array([7, 9])))
assert np.isfinite(log.history["loss"]).all() and "val_ndcg@10" in log.history
print(model.recommend([[5, 6]], k=3)[0].shape)
"""
    done = in_new_process(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 3)"
