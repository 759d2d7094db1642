"""Calibration in a training: no held-out event is trained on, a refit takes it over, an interruption loses nothing."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.data import splits
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import is_set_aside, set_aside_share, training_part
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.layers.edit_mixture import COEFFICIENTS
from laclrec_tf.models.ranking_model import RANKING_METRICS
from laclrec_tf.training import calibration, session, setup
from laclrec_tf.training.checkpoints import CheckpointSettings
from laclrec_tf.training.session import TrainingSession
from laclrec_tf.training.train import train

SETTINGS = {"preset": "sasrec", "width": 8, "epochs": 2, "patience": 2, "calibration_share": 0.04}


@pytest.fixture
def few_are_enough(monkeypatch):
    """Set users aside of data of 150 users."""
    for module in (splits, session):
        monkeypatch.setattr(module, "MIN_SET_ASIDE", 5)


@pytest.fixture
def trained_on(monkeypatch):
    """Return a list of what each part of a training is trained on, by user."""
    seen = []
    original = TrainingSession._training

    def watched(self, part, split):
        training = original(self, part, split)
        seen.append((part, dict(zip(split.users, training, strict=True))))
        return training

    monkeypatch.setattr(TrainingSession, "_training", watched)
    return seen


def test_nothing_held_out_is_trained_on_and_a_refit_takes_the_calibration_over(
    data, tmp_path, few_are_enough, trained_on
):
    run = train(data, tmp_path / "run", SETTINGS | {"refit": True}, show_progress=False)
    users, histories = PreparedData.open(data).histories()
    share = set_aside_share(len(users), sum(map(len, histories)), 0.04)
    assert share > 0.2
    n_aside = 0
    for part, training in trained_on:
        for user, history in zip(users, histories, strict=True):
            held_out = 1 if part == "refit" else 3 if is_set_aside(user, len(history) - 2, share) else 2
            held_out = 0 if len(history) < 3 else held_out
            n_aside += held_out == 3
            np.testing.assert_array_equal(training[user], history[: len(history) - held_out])
    assert n_aside > 0
    edits = run.record["edits"]
    assert edits["users"] == sum(
        is_set_aside(user, len(items) - 2, share) for user, items in zip(users, histories, strict=True)
    )
    np.testing.assert_allclose(run.model.mixture.learned, [edits["learned"][name] for name in COEFFICIENTS], rtol=1e-6)
    assert run.model.chosen_edits == edits["chosen"]
    deletions = run.record["deletions"]
    assert deletions["users"] == edits["users"] and run.model.is_calibrated
    np.testing.assert_allclose(run.model.evidence.coefficients, [*deletions["coefficients"].values()], rtol=1e-6)
    assert "insertions" not in run.record, "the preset has no augmenter"
    # The refit's own numbers of events.
    counts = np.bincount(np.concatenate([history[:-1] for history in histories]), minlength=151)[1:]
    shares = np.log(np.maximum(counts, 0.5) / counts.sum())
    np.testing.assert_allclose(run.model.mixture.log_popularity[1:-2], shares, rtol=1e-5)


def test_windows_train_on_all_events_but_the_held_out_ones(data, tmp_path, few_are_enough, trained_on, monkeypatch):
    folder = tmp_path / "data"
    prepared = prepare(data.parent / "events.csv", folder, min_interactions=1, max_length=6, window="sliding")
    users, histories = prepared.histories()
    made, calibrated_on = [], []
    original, calibrate = setup.training_dataset, session.calibrate

    def watched(*arguments, **named):
        batches = original(*arguments, **named)
        made.append(batches)
        return batches

    def noted(model, before, *arguments, **named):
        calibrated_on.extend(before)
        return calibrate(model, before, *arguments, **named)

    monkeypatch.setattr(setup, "training_dataset", watched)
    monkeypatch.setattr(session, "calibrate", noted)
    settings = SETTINGS | {"preset": "laclrec", "epochs": 1, "n_recommender_blocks": 0}
    run = train(folder, tmp_path / "run", settings, show_progress=False)
    part, training = trained_on[0]
    share = set_aside_share(len(users), sum(map(len, histories)), 0.04)
    aside = [
        user for user, history in zip(users, histories, strict=True) if is_set_aside(user, len(history) - 2, share)
    ]
    for user, history in zip(users, histories, strict=True):
        n_held_out = 0 if len(history) < 3 else 3 if user in aside else 2
        assert training[user].tolist() == history[: len(history) - n_held_out].tolist()
    targets = np.concatenate([batch["target"][batch["target"] > 0] for batch in made[0]])
    expected = np.concatenate([items[1:] for items in training.values()])
    assert sorted(targets) == sorted(expected), "each event of a training part but its first, once"
    assert max(map(len, histories)) > 6 >= max(batch["history"].shape[1] for batch in made[0])
    # The model reads the last six events, two of which are held out; popularity counts all.
    assert aside and max(map(len, calibrated_on)) == 4
    counts = np.bincount(np.concatenate([training_part(history) for history in histories]), minlength=151)[1:]
    assert np.load(run.folder / "popularity.npy").tolist() == counts[: prepared.vocabulary.n_items].tolist()
    assert (run.record["window"], run.record["max_length"], run.model.max_length) == ("sliding", 6, 6)
    report = evaluate(run.folder, split="validation", edits="none", show_progress=False)
    assert report["users"] == sum(len(history) >= 3 for history in histories)


def test_a_chosen_mixture_is_validated(data, tmp_path, few_are_enough, monkeypatch):
    calibrate = calibration.calibrate_edits
    uniform = {"chosen": "uniform"}
    monkeypatch.setattr(calibration, "calibrate_edits", lambda *args, **kw: calibrate(*args, **kw) | uniform)
    run = train(data, tmp_path / "run", SETTINGS | {"epochs": 1}, show_progress=False)
    report = evaluate(run.folder, split="validation", show_progress=False)
    assert report["edits"] == "uniform"
    assert run.record["edits"]["validation"] == {name: pytest.approx(report[name]) for name in RANKING_METRICS}
    assert run.record["edits"]["validated_users"] == report["users"]
    assert run.record["validation"]["ndcg@10"] != report["ndcg@10"]


def test_an_augmenter_is_calibrated_too(data, tmp_path, few_are_enough):
    settings = SETTINGS | {"preset": "laclrec", "epochs": 1, "n_recommender_blocks": 0}
    run = train(data, tmp_path / "run", settings, show_progress=False)
    insertions = run.record["insertions"]
    assert float(run.model.augmenter.insertion_threshold) == pytest.approx(insertions["threshold"])
    assert insertions["rate"] <= insertions["prior"]
    assert set(run.record["deletions"]["quality"]) == {"evidence", "popularity", "operation_head"}


def test_a_refit_of_given_epochs_trains_on_all_events_and_is_not_calibrated(data, tmp_path, few_are_enough, trained_on):
    settings = SETTINGS | {"refit": True, "refit_epochs": 1}
    run = train(data, tmp_path / "run", settings, show_progress=False)
    _, histories = PreparedData.open(data).histories()
    assert {part for part, _ in trained_on} == {"refit"}
    for _, training in trained_on:
        assert sum(map(len, training.values())) == sum(len(history[:-1]) for history in histories)
    assert "edits" not in run.record
    with pytest.raises(ValueError, match="must be 'none' for a model that was not calibrated"):
        run.model.recommend([[1, 2, 3]], edits="learned")


def test_a_refit_of_given_epochs_takes_over_the_calibration_of_a_strict_run(data, tmp_path, few_are_enough):
    strict = train(data, tmp_path / "strict", SETTINGS | {"epochs": 1}, show_progress=False)
    settings = SETTINGS | {"epochs": 1, "refit": True, "refit_epochs": 1}
    for wrong, problem in (
        (SETTINGS | {"epochs": 1}, "have no `refit_epochs`"),
        (settings | {"width": 16}, "has other settings: model"),
    ):
        with pytest.raises(InputError, match=problem):
            train(data, tmp_path / "run", wrong, show_progress=False, calibrated=strict)
    run = train(data, tmp_path / "run", settings, show_progress=False, calibrated=strict)
    for name in ("edits", "deletions"):
        assert run.record[name] == strict.record[name]
    assert run.model.chosen_edits == strict.model.chosen_edits
    np.testing.assert_array_equal(run.model.mixture.learned, strict.model.mixture.learned)
    np.testing.assert_array_equal(run.model.evidence.coefficients, strict.model.evidence.coefficients)
    # The popularity is that of the refit's own events.
    assert np.any(run.model.mixture.log_popularity.numpy() != strict.model.mixture.log_popularity.numpy())


def test_no_users_set_aside_is_no_calibration(data, tmp_path):
    settings = SETTINGS | {"epochs": 1, "calibration_share": 0.01}  # fewer than 50 users are too few
    run = train(data, tmp_path / "run", settings, show_progress=False)
    assert "edits" not in run.record
    assert run.model.chosen_edits == "none"


def test_an_interruption_during_the_calibration_is_resumed(data, tmp_path, few_are_enough, monkeypatch):
    expected = train(data, tmp_path / "whole", SETTINGS, show_progress=False)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session, "calibrate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "run", SETTINGS, show_progress=False)
    assert (tmp_path / "run" / "best.keras").exists()
    assert not (tmp_path / "run" / "run.json").exists()
    resumed = train(data, tmp_path / "run", SETTINGS, checkpoints=CheckpointSettings(resume=True), show_progress=False)
    for name in ("best_epoch", "epochs_run", "validation", "edits", "can_train_longer"):
        assert resumed.record[name] == expected.record[name]
    for one, other in zip(resumed.model.weights, expected.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not (tmp_path / "run" / "best.keras").exists()
