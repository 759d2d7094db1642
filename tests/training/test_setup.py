"""Initialisation of the item table, and the learning rate."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.data.batches import evaluation_dataset
from laclrec_tf.data.item_vectors import cooccurrence_vectors
from laclrec_tf.data.prepare import prepare
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.run_folder import write_record
from laclrec_tf.training import session, setup
from laclrec_tf.training import train as training
from laclrec_tf.training.checkpoints import CheckpointSettings
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.setup import (
    compile_model,
    config_for_data,
    initialise_items,
    learning_rate,
    new_model,
    settings_of_data,
)

HISTORIES = [np.array([1, 2, 3]), np.array([2, 3, 4]), np.array([5, 1])]


@pytest.mark.parametrize(
    ("settings", "cooccurrence"),
    [
        ({}, True),
        ({"item_initialisation": "random"}, False),
        ({"n_negatives": 4}, False),
        ({"n_negatives": 4, "item_initialisation": "cooccurrence"}, True),
    ],
)
def test_the_item_table_is_initialised_as_the_settings_say(settings, cooccurrence):
    config = TrainConfig.of({"preset": "sasrec", "width": 4, "seed": 3} | settings)
    model = new_model(config, n_items=5, max_length=4)
    before = model.encoder.item_table.numpy()
    initialise_items(config, model, HISTORIES)
    after = model.encoder.item_table.numpy()
    expected = cooccurrence_vectors(HISTORIES, 5, 4, seed=3) if cooccurrence else before[1:-2]
    np.testing.assert_array_equal(after[1:-2], expected)
    np.testing.assert_array_equal(after[[0, -2, -1]], before[[0, -2, -1]])


def test_held_out_items_do_not_influence_the_item_table(tmp_path, monkeypatch):
    rows = [f"u{user},i{item},{item}" for user in range(4) for item in range(user, user + 6)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    prepare([tmp_path / "events.csv"], tmp_path / "data", min_interactions=0)
    seen = []
    monkeypatch.setattr(session, "initialise_items", lambda config, model, histories: seen.append(histories))
    config = TrainConfig.of({"preset": "sasrec", "width": 4, "epochs": 1, "refit": True})
    training.train(tmp_path / "data", tmp_path / "run", config, show_progress=False)
    strict, refit = seen
    assert [len(history) for history in strict] == [4] * 4
    assert [len(history) for history in refit] == [5] * 4


class Stopped(Exception):
    """The training is stopped before its first step."""


@pytest.mark.parametrize("noise", ["uniform", "popular"])
def test_corruptions_of_training_and_validation_insert_items_as_the_settings_say(tmp_path, monkeypatch, noise):
    rows = [f"u{user},i{item},{item}" for user in range(4) for item in range(user, user + 6)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    data = prepare([tmp_path / "events.csv"], tmp_path / "data", min_interactions=0, show_progress=False)
    seen = {}

    def stop(histories, **arguments):
        seen["training"] = arguments["corruption_noise"]
        raise Stopped

    def watch(histories, targets, **arguments):
        seen["validation"] = arguments["corruption"]["popularity"]
        return evaluation_dataset(histories, targets, **arguments)

    monkeypatch.setattr(setup, "training_dataset", stop)
    monkeypatch.setattr(session, "evaluation_dataset", watch)
    config = TrainConfig.of({"width": 4, "corruption_noise": noise})
    with pytest.raises(Stopped):
        training.train(tmp_path / "data", tmp_path / "run", config, show_progress=False)
    assert seen["training"] == noise
    if noise == "uniform":
        assert seen["validation"] is None
    else:  # u0 has i0 to i3 in training, u1 i1 to i4, u2 i2 to i5, u3 i3 to i6
        expected = dict(zip([f"i{item}" for item in range(9)], [1, 2, 3, 4, 3, 2, 1, 0, 0], strict=True))
        assert dict(zip(data.vocabulary.items, seen["validation"].tolist(), strict=True)) == expected


def rates(steps: list[int], **settings) -> list[float]:
    rate = learning_rate(TrainConfig.of({"learning_rate": 0.01, "epochs": 5} | settings), steps_per_epoch=10)
    return [float(rate(step)) if callable(rate) else rate for step in steps]


def test_the_learning_rate_is_constant():
    assert rates([0, 10, 60]) == [0.01] * 3


def test_the_learning_rate_decays_as_a_cosine():
    # 0.01 (1 + cos(pi t)) / 2 for t = 0, 1/2 and 1 of 50 steps; then for t = 1/2 of the 40 steps after a warm-up.
    assert rates([0, 25, 50], learning_rate_schedule="cosine") == pytest.approx([0.01, 0.005, 0])
    assert rates([10, 30], learning_rate_schedule="cosine", warmup_epochs=1) == pytest.approx([0.01, 0.005])


def test_the_optimizer_follows_the_schedule():
    config = TrainConfig.of({"preset": "sasrec", "width": 4, "learning_rate": 0.01, "warmup_epochs": 1})
    model = new_model(config, n_items=5, max_length=4)
    compile_model(config, model, steps_per_epoch=10)
    model.optimizer.iterations.assign(5)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.005)


@pytest.mark.parametrize(("settings", "excluded"), [({}, False), ({"exclude_history": True}, True)])
def test_a_run_follows_its_data_or_the_settings_on_excluding_histories(tmp_path, settings, excluded):
    # Every newest item repeats the first one.
    rows = [f"u{user},i{item},{time}" for user in range(8) for time, item in enumerate([user, 8, 9, 10, 11, user])]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    data = prepare([tmp_path / "events.csv"], tmp_path / "data", min_interactions=0, show_progress=False)
    config = TrainConfig.of({"preset": "sasrec", "width": 4, "epochs": 1} | settings)
    derived = settings_of_data(config, data)
    assert [each for each in derived if each.name == "exclude_history"] == (
        [] if settings else [("exclude_history", False, "100.0% of the test items are in the history before")]
    )
    assert config_for_data(config, data).model.get("exclude_history", True) == excluded
    run = training.train(data.folder, tmp_path / "run", config, show_progress=False)
    assert (run.exclude_history, run.model.exclude_history) == (excluded, excluded)
    report = evaluate(run.folder, show_progress=False)
    assert report["protocol"] == ("full" if excluded else "full-with-history")
    assert report["targets_in_history"] == 1 and (report["recall@20"] == 0) == excluded
    resume = CheckpointSettings(resume=True)
    again = training.train(data.folder, tmp_path / "run", config, checkpoints=resume, show_progress=False)
    assert training.finished_before(run.folder, config, data).record == again.record == run.record
    item_ids, _ = run.model.recommend([[1, 2]], k=20)
    assert (1 in item_ids.numpy()) != excluded


def test_a_run_from_before_a_setting_is_the_same_training(tmp_path):
    rows = [f"u{user},i{item},{item}" for user in range(6) for item in range(user, user + 6)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    data = prepare([tmp_path / "events.csv"], tmp_path / "data", min_interactions=0, show_progress=False)
    config = TrainConfig.of({"preset": "sasrec", "width": 4, "epochs": 1})
    run = training.train(data.folder, tmp_path / "run", config, show_progress=False)
    del run.record["every_setting"]["exclude_history"], run.record["every_setting"]["corruption_noise"]
    write_record(run.folder, run.record)
    assert training.finished_before(run.folder, config, data) is not None
    keeps = TrainConfig.of({"preset": "sasrec", "width": 4, "epochs": 1, "exclude_history": False})
    with pytest.raises(InputError, match="exclude_history differ"):
        training.finished_before(run.folder, keeps, data)


def test_dropout_follows_from_events_a_weight(tmp_path, capsys):
    # 48 events; at width 4, 11 items and one block 4 * 11 + 12 * 16 = 236 weights: 0.2 events a weight.
    rows = [f"u{user},i{(user + step) % 11},{step}" for user in range(8) for step in range(6)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    data = prepare([tmp_path / "events.csv"], tmp_path / "data", min_interactions=0, show_progress=False)
    few = {"preset": "sasrec", "width": 4, "n_recommender_blocks": 0, "epochs": 1}
    many = few | {"width": 2}  # 70 weights
    for settings, rate in ((few, 0.3), (many, 0.1), (many | {"n_recommender_blocks": 1}, 0.3)):
        derived = settings_of_data(TrainConfig.of(settings), data)
        assert derived[1] == ("dropout", rate, "48 events of 11 items"), settings
    assert config_for_data(TrainConfig.of(many), data).model["dropout"] == 0.1
    assert "dropout" not in config_for_data(TrainConfig.of(few), data).model, "the default stays out of the record"
    given = TrainConfig.of(many | {"dropout": 0.2})
    assert config_for_data(given, data).model["dropout"] == 0.2
    assert [each.name for each in settings_of_data(given, data)] == ["exclude_history"]
    assert [each.name for each in settings_of_data(TrainConfig.of({"preset": "popular"}), data)] == ["exclude_history"]
    run = training.train(data.folder, tmp_path / "run", many)
    assert run.model.dropout == 0.1 and run.record["settings"]["model"]["dropout"] == 0.1
    line = (
        "from the data: exclude_history=True (0.0% of the test items are in the history before); dropout=0.1 (48 events"
    )
    assert line in capsys.readouterr().err
