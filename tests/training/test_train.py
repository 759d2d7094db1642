"""Runs: the best epoch is kept, a seed gives the same run, and errors leave what is worth keeping."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import shutil
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.cli.main import main
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import training_part
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.models import LACLRec
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.training import session
from laclrec_tf.training import train as training
from laclrec_tf.training.checkpoints import CheckpointSettings, TrainingCheckpoints, TrainingState
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import check_place, finished_before, full_disk_as_os_error, train
from laclrec_tf.training.workers import WorkerGroup, lost_worker_as_input_error

pytestmark = pytest.mark.usefixtures("untraced_training")
SMALL = {
    "preset": "sasrec",
    "width": 16,
    "n_recommender_blocks": 0,
    "epochs": 3,
    "targets_per_batch": 350,  # two steps an epoch
    "learning_rate": 0.02,
    "seed": 3,
}


@pytest.fixture(scope="module")
def data(short_data):
    return short_data


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_becomes_an_os_error(code):
    with pytest.raises(OSError, match=os.strerror(code)) as raised, full_disk_as_os_error():
        raise tf.errors.ResourceExhaustedError(None, None, f"run/events.out.v2; {os.strerror(code)} [Op:FlushWriter]")
    assert (raised.value.errno, raised.value.filename) == (code, None)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]"),
        tf.errors.UnavailableError(None, None, "Connection reset by peer"),
        ValueError("No space left on device"),
    ],
)
def test_other_errors_are_not_converted(error):
    with pytest.raises(type(error)) as raised, full_disk_as_os_error():
        raise error
    assert raised.value is error


def test_a_full_disk_is_not_reported_as_a_lost_worker():
    with (
        pytest.raises(OSError, match="No space left"),
        lost_worker_as_input_error(WorkerGroup(2, 1)),
        full_disk_as_os_error(),
    ):
        raise tf.errors.ResourceExhaustedError(None, None, "run/events.out.v2; No space left on device")


@pytest.fixture
def kept(tmp_path):
    return TrainingCheckpoints(tmp_path / "run/checkpoints")


def test_resuming_in_a_folder_with_other_content_is_refused(tmp_path, kept):
    (tmp_path / "run").mkdir()
    check_place(tmp_path / "run", kept, resume=True)
    (tmp_path / "run/tensorboard").mkdir()  # from a process that was killed in its first epoch
    check_place(tmp_path / "run", kept, resume=True)
    (tmp_path / "run/epochs-strict.csv").touch()
    check_place(tmp_path / "run", kept, resume=True)
    (tmp_path / "run/photo.txt").write_text("mine")
    with pytest.raises(InputError, match=r"run holds photo.txt and no training to resume"):
        check_place(tmp_path / "run", kept, resume=True)
    (tmp_path / "run/epochs-strict.csv").write_text("epoch,loss\n")
    check_place(tmp_path / "run", kept, resume=True)


def test_starting_from_scratch_over_checkpoints_is_refused(tmp_path, kept):
    check_place(tmp_path / "run", kept, resume=False)
    kept.write(TrainingState({}, {}))
    check_place(tmp_path / "run", kept, resume=True)
    with pytest.raises(InputError, match="holds checkpoints of a training. Resume it with --resume"):
        check_place(tmp_path / "run", kept, resume=False)


def test_a_finished_run_is_returned_for_the_same_training_only(sasrec_run, tmp_path):
    prepared = sasrec_run.data
    given = dict(sasrec_run.record["settings"] | sasrec_run.record["settings"]["model"])
    del given["model"]
    same = TrainConfig.of(given)
    assert finished_before(tmp_path, same, prepared) is None
    assert finished_before(sasrec_run.folder, same, prepared).record == sasrec_run.record
    with pytest.raises(
        InputError, match="the finished run of another training: alpha, contrast_views, learning_rate, preset differ"
    ):
        finished_before(
            sasrec_run.folder, TrainConfig.of(given | {"preset": "cl4srec", "learning_rate": 0.1}), prepared
        )


def test_a_finished_run_may_have_another_default_that_follows_from_the_data(sasrec_run, tmp_path):
    # Earlier versions wrote 60 for all data.
    run = shutil.copytree(sasrec_run.folder, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    assert record["every_setting"]["max_edited_length"] == sasrec_run.model.max_edited_length
    record["every_setting"]["max_edited_length"] = 59
    (run / "run.json").write_text(json.dumps(record))
    prepared, given = sasrec_run.data, record["settings"] | record["settings"]["model"]
    del given["model"]
    assert finished_before(run, TrainConfig.of(given), prepared).record == record
    with pytest.raises(InputError, match="another training: max_edited_length differ"):
        finished_before(run, TrainConfig.of(given | {"max_edited_length": 60}), prepared)


def trained(data, out, **settings):
    return train(data, out, TrainConfig.of(SMALL | settings), show_progress=False)


@pytest.fixture(scope="module")
def strict(data, tmp_path_factory):
    return trained(data, tmp_path_factory.mktemp("runs") / "strict", patience=1, epochs=6)


@pytest.fixture(scope="module")
def refit(data, tmp_path_factory):
    return trained(data, tmp_path_factory.mktemp("runs") / "refit", refit=True, refit_epochs=2)


def logged(run, name="strict"):
    with (run.folder / f"epochs-{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_best_epoch_is_kept_and_training_stops_after_it(strict):
    ndcg = [float(row["val_ndcg@10"]) for row in logged(strict)]
    record = strict.record
    assert record["best_epoch"] == 1 + int(np.argmax(ndcg))
    assert record["epochs_run"] == len(ndcg)
    assert record["epochs_run"] in (6, record["best_epoch"] + 1)  # patience 1
    assert record["validation"]["ndcg@10"] == pytest.approx(max(ndcg))


def test_the_models_weights_are_those_of_the_best_epoch(strict):
    report = evaluate(strict.folder, split="validation", show_progress=False)
    for name in ("recall@10", "ndcg@10", "mrr@20"):
        assert report[name] == pytest.approx(strict.record["validation"][name], abs=1e-6)


def test_popularity_leaves_out_held_out_items(strict, refit, data):
    _, histories = PreparedData.open(data).histories()
    for run, protocol in ((strict, "strict"), (refit, "refit")):
        seen = np.concatenate([training_part(history, protocol) for history in histories])
        assert run.popularity.sum() == len(seen)
        assert run.popularity[0] == np.sum(seen == 1)
    assert refit.popularity.sum() - strict.popularity.sum() == sum(len(history) >= 3 for history in histories)


def test_a_refit_trains_the_given_number_of_epochs(refit):
    assert refit.record["trained_on"] == "refit"
    assert refit.record["refit_epochs"] == 2
    assert len(logged(refit, "refit")) == 2
    assert not (refit.folder / "epochs-strict.csv").exists()
    with pytest.raises(InputError, match="was trained on the validation items"):
        evaluate(refit.folder, split="validation")


def test_a_refit_without_a_number_of_epochs_finds_it_first(data, tmp_path):
    run = trained(data, tmp_path / "run", refit=True, epochs=2)
    assert run.record["refit_epochs"] == run.record["best_epoch"]
    assert len(logged(run, "strict")) == 2
    assert len(logged(run, "refit")) == run.record["best_epoch"]


def test_the_same_seed_is_the_same_run(data, tmp_path):
    first, again, other = (
        trained(data, tmp_path / name, epochs=1, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert logged(first) == logged(again)
    assert logged(first) != logged(other)


def test_averaged_weights_are_validated_and_kept_but_not_trained(data, tmp_path):
    averaged, last = (trained(data, tmp_path / str(n), epochs=2, averaging_epochs=n) for n in (1, 0))
    losses = [[float(row["loss"]) for row in logged(run)] for run in (averaged, last)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert [row["val_mrr@20"] for row in logged(averaged)] != [row["val_mrr@20"] for row in logged(last)]


def test_a_refit_keeps_the_average_of_its_steps(data, tmp_path, monkeypatch):
    steps = []

    class Steps(keras.callbacks.Callback):
        def __init__(self, title, note):
            super().__init__()

        def on_train_batch_end(self, batch, logs=None):
            steps.append(self.model.encoder.item_table.numpy())

    monkeypatch.setattr(session, "EpochProgress", Steps)
    config = TrainConfig.of(SMALL | {"refit": True, "refit_epochs": 2, "averaging_epochs": 0.8})
    run = train(data, tmp_path / "run", config)
    momentum = 1 - 1 / (0.8 * len(steps) / 2)
    average = steps[0]
    for table in steps[1:]:
        average = momentum * average + (1 - momentum) * table
    np.testing.assert_allclose(run.model.encoder.item_table.numpy(), average, atol=1e-6)


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    """Return a run with pretraining and the largest seed, and the objectives in the order of compilation."""
    objectives = []
    compiled = LACLRec.compile

    def compile_and_record(model, *arguments, objective="full", **more):
        objectives.append(objective)
        compiled(model, *arguments, objective=objective, **more)

    settings = {"preset": "laclrec", "epochs": 1, "pretrain_epochs": 1, "width": 8, "seed": 2**32 - 1}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(LACLRec, "compile", compile_and_record)
        warnings.simplefilter("ignore")  # after one epoch the augmenter may keep everything
        run = trained(data, tmp_path_factory.mktemp("runs") / "pretrained", **settings)
    return run, tuple(objectives)


def test_the_augmenter_can_be_pretrained(pretrained):
    run, objectives = pretrained
    assert objectives[:2] == ("augmenter", "full")
    (row,) = logged(run)
    assert {"gradient_ratio/triplet_loss", "gradient_ratio/contrast_loss", "gradient_ratio/augmenter_loss"} <= set(row)


def test_an_interrupted_run_keeps_its_best_weights_and_is_not_taken_for_finished(data, tmp_path, monkeypatch):
    class Interruption(keras.callbacks.Callback):
        def __init__(self, title, note):
            super().__init__()

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(session, "EpochProgress", Interruption)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run", TrainConfig.of(SMALL), show_progress=True)
    best = keras.saving.load_model(tmp_path / "run/best.keras")
    assert best.width == 16
    with pytest.raises(InputError, match="unfinished run"):
        RunFolder.open(tmp_path / "run")
    with pytest.raises(
        InputError, match="run contains an unfinished run. Resume it with --resume, or give another --out, or delete it"
    ):
        trained(data, tmp_path / "run")
    assert (tmp_path / "run/best.keras").is_file()


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (KeyboardInterrupt(), "run"),
        (RuntimeError("a bug"), "deep/er/run"),
        (OSError(28, "No space left on device"), "empty"),
    ],
)
def test_a_failure_in_the_first_epoch_leaves_nothing(data, tmp_path, monkeypatch, error, out):
    def fail(self, epoch, logs=None):
        raise error

    monkeypatch.setattr(keras.callbacks.CSVLogger, "on_epoch_end", fail)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError if isinstance(error, OSError) else type(error)):
        trained(data, tmp_path / out)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_full_disk_is_named_and_the_results_so_far_are_kept(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.np, "save", full)
    with pytest.raises(InputError, match="Cannot write .*run: No space left on device.* results so far are in .*run"):
        trained(data, tmp_path / "run", epochs=1)
    assert (tmp_path / "run/epochs-strict.csv").is_file()


def test_a_full_disk_under_tensorboard_is_named(data, tmp_path):
    def full(epoch, logs):
        raise tf.errors.ResourceExhaustedError(None, None, "run/tensorboard/events.out.v2; No space left on device")

    later = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epoch == 1 and full(epoch, logs))
    with pytest.raises(InputError, match="Cannot write .*run: No space left on device.* results so far are in .*run"):
        train(data, tmp_path / "run", TrainConfig.of(SMALL), callbacks=[later], show_progress=False)
    assert (tmp_path / "run/best.keras").is_file()


def test_a_damaged_checkpoint_is_reported_in_one_line_before_training(data, tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/checkpoint-000001.npz").write_bytes(b"")
    keeping = CheckpointSettings(folder=tmp_path / "checkpoints", resume=True)
    with pytest.raises(InputError, match="No checkpoint in .* is whole"):
        train(data, tmp_path / "run", TrainConfig.of(SMALL), checkpoints=keeping)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: The checkpoint ")
    assert line.endswith("is skipped.")


def test_settings_that_do_not_fit_the_data_leave_nothing(data, tmp_path):
    max_length = PreparedData.open(data).max_length
    with pytest.raises(InputError, match=f"`max_edited_length` must be at least `max_length`.*{max_length}"):
        trained(data, tmp_path / "run", max_edited_length=max_length - 1)
    assert not list(tmp_path.iterdir())


def test_data_without_training_targets_is_refused(tmp_path):
    events = [f"u{user},i{user % 4 + step},{step}\n" for user in range(20) for step in range(3)]
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\n" + "".join(events))
    prepare(tmp_path / "events.csv", tmp_path / "data", min_interactions=1, show_progress=False)
    with pytest.raises(InputError, match="none to train on. Prepare users of four or more events"):
        trained(tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # A refit trains on one more event.
    run = trained(tmp_path / "data", tmp_path / "run", refit=True, refit_epochs=1)
    assert run.popularity.sum() == 40


@pytest.mark.parametrize("folder", ["file/run", "file/deep/run"])
def test_a_folder_that_cannot_be_created_is_named(data, tmp_path, folder):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="Cannot write .*file.*: Not a directory. Choose a folder that can be written"):
        trained(data, tmp_path / folder)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_largest_seed_trains(pretrained):
    run, _ = pretrained
    assert run.record["settings"]["seed"] == 2**32 - 1
    assert run.record["best_epoch"] == 1


def test_sampled_negatives_work_from_training_to_evaluation(data, tmp_path):
    run = trained(data, tmp_path / "run", preset="laclrec", width=8, epochs=1, n_negatives=60, pretrain_epochs=1)
    # One epoch learns little, but the sample estimates the loss over the whole catalogue.
    losses = [float(row["next_item_loss"]) for row in logged(run)]
    assert losses == pytest.approx([math.log(run.model.n_items)], rel=0.1)
    assert run.model.n_negatives == 60
    # By default there is no running average, which would update the whole item table at every step.
    assert not any("average" in variable.path for variable in run.compiled_model().optimizer.variables)
    assert 0 <= evaluate(run.folder, show_progress=False)["recall@10"] <= 1


class Break(keras.callbacks.Callback):
    """Make a weight NaN when an epoch begins."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.item_vectors.assign(self.model.item_vectors * np.nan)


@pytest.mark.parametrize("averaging_epochs", [0, 1])
def test_a_training_that_diverges_keeps_its_best_epoch(data, tmp_path, averaging_epochs):
    settings = TrainConfig.of(SMALL | {"epochs": 6, "averaging_epochs": averaging_epochs})
    with pytest.warns(session.DivergenceWarning, match=r"The loss is nan in epoch 3.*keeps the weights of epoch \d"):
        run = train(data, tmp_path / "run", settings, callbacks=[Break(2)], show_progress=False)
    assert run.record["best_epoch"] <= 2 == run.record["epochs_run"]
    assert run.record["diverged"].startswith("The loss is nan in epoch 3, at step ")
    found = evaluate(run.folder, split="validation", show_progress=False)
    assert found["ndcg@10"] == pytest.approx(run.record["validation"]["ndcg@10"], abs=1e-6)
    assert len((run.folder / "epochs-strict.csv").read_text().splitlines()) == 3
    assert not (run.folder / "best.keras").exists() and not (run.folder / "checkpoints").exists()


def test_a_broken_weight_that_no_loss_shows_stops_the_training_too(data, tmp_path):
    class BreakLate(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            self.model.augmenter.operation_head.bias.assign([np.inf, 0, 0])

    settings = TrainConfig.of(SMALL | {"averaging_epochs": 0})
    with pytest.raises(InputError, match=r"weight .*bias holds NaN or inf after epoch 1\. Training stops, and no"):
        train(data, tmp_path / "run", settings, callbacks=[BreakLate()], show_progress=False)
    assert not (tmp_path / "run").exists()


def test_a_diverging_training_is_one_line_and_leaves_nothing(data, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(
            ["train", str(data), "--out", str(tmp_path / "run"), "--preset=sasrec", "--set=learning_rate=1e10"]
            + ["--set=targets_per_batch=350"]
        )
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "in epoch 1" in error and "Lower `learning_rate`, 10000000000.0" in error
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_never_holds_broken_weights(data, tmp_path):
    def nothing_broken(state: TrainingState) -> bool:
        return all(np.isfinite(values).all() for values in state.arrays.values() if values.dtype.kind == "f")

    kept = TrainingCheckpoints(tmp_path / "kept", kept=100)
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "StopOnDivergence", keras.callbacks.Callback)  # it would stop the training first
        train(
            data,
            tmp_path / "run",
            TrainConfig.of(SMALL | {"epochs": 4}),
            callbacks=[Break(1), keras.callbacks.LambdaCallback(on_epoch_begin=interrupt_at(2))],
            checkpoints=CheckpointSettings(minutes=0, folder=kept.folder, kept=kept.kept),
            show_progress=False,
        )
    newest = kept.newest()
    assert newest is not None and newest.about["epoch"] == 0 and nothing_broken(newest)


def interrupt_at(interrupted: int):
    def check(epoch, logs=None):
        if epoch == interrupted:
            raise KeyboardInterrupt

    return check


def test_a_finished_run_can_be_trained_longer(data, tmp_path):
    shorter, longer = (TrainConfig.of(SMALL | {"epochs": epochs, "patience": 100}) for epochs in (2, 3))
    resume = CheckpointSettings(resume=True)
    at_once = train(data, tmp_path / "at-once", longer, show_progress=False)
    first = train(data, tmp_path / "run", shorter, show_progress=False)
    evaluate(first.folder, show_progress=False)
    assert first.record["can_train_longer"] and first.record["epochs_run"] == 2
    run = train(data, tmp_path / "run", longer, checkpoints=resume, show_progress=False)
    for ours, theirs in zip(run.model.get_weights(), at_once.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert run.record["validation"] == at_once.record["validation"] and run.record["epochs_run"] == 3
    rows = [(each.folder / "epochs-strict.csv").read_text().splitlines() for each in (run, at_once)]
    assert len(rows[0]) == len(rows[1]) == 4
    assert not list(run.folder.glob("evaluation-*.json"))  # they were of the model before
    assert train(data, tmp_path / "run", longer, checkpoints=resume, show_progress=False).record == run.record


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"patience": 1, "epochs": 12, "learning_rate": 0.5}, "it stopped early, after"),
        ({"learning_rate_schedule": "cosine", "epochs": 1}, "its learning rate decays"),
        ({"refit": True, "epochs": 1}, "a refit has no validation"),
    ],
)
def test_a_run_that_cannot_be_trained_longer_is_named(data, tmp_path, settings, reason):
    train(data, tmp_path / "run", TrainConfig.of(SMALL | settings), show_progress=False)
    longer = TrainConfig.of(SMALL | settings | {"epochs": 30})
    with pytest.raises(InputError, match=f"epochs differ. It cannot be trained longer: {reason}"):
        train(data, tmp_path / "run", longer, checkpoints=CheckpointSettings(resume=True), show_progress=False)


def test_a_lost_last_checkpoint_does_not_overwrite_the_run(data, tmp_path):
    run = train(data, tmp_path / "run", TrainConfig.of(SMALL | {"epochs": 1}), show_progress=False)
    TrainingCheckpoints(run.folder / "checkpoints").remove()
    with pytest.raises(InputError, match="has no checkpoint of the run .*cannot be trained longer"):
        train(data, run.folder, TrainConfig.of(SMALL), checkpoints=CheckpointSettings(resume=True), show_progress=False)
    assert RunFolder.open(run.folder).record == run.record
