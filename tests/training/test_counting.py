"""Counted presets: what is counted, worked by hand, and the run that `train` makes of it, through the real commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf import load
from laclrec_tf.benchmark.index import index_benchmark
from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate, evaluate_users
from laclrec_tf.evaluation.ranking import rank_targets
from laclrec_tf.metrics.ranking import ranking_metrics
from laclrec_tf.models import COUNTED_PRESETS, build_preset
from laclrec_tf.report.report import report
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving.local.fresh_process import answers_of_fresh_process
from laclrec_tf.serving.local.recommend_all import recommend_all
from laclrec_tf.serving.release.export import IndexSettings, export
from laclrec_tf.serving.release.validation import validate
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.version.warmup import WARMUP_FILE
from laclrec_tf.training.config import TrainConfig, setting_names
from laclrec_tf.training.counting import count_model, count_preset
from laclrec_tf.training.grow import grow
from laclrec_tf.training.train import train

# Events: item 1 three times, 2 twice, 3 twice, 4 never.
HISTORIES = [np.array([1, 2, 3]), np.array([1, 3]), np.array([1, 2])]


def test_followers_are_counted_by_distance_and_divided_by_popularity():
    model = count_model(HISTORIES, 4, n_neighbours=2, discount=0.5)
    # 2 follows 1 twice, 3 follows 1 at the distances 2 and 1; of a pair 1 and 2 the divisor is sqrt(3 * 2).
    assert model.neighbours.numpy().tolist() == [[0, 0], [2, 3], [3, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
    expected = [[2 / 6**0.5, 1.5 / 6**0.5], [1 / 4**0.5, 0.0]]
    np.testing.assert_allclose(model.neighbour_weights.numpy()[1:3], expected, rtol=1e-6)


def test_only_the_largest_weights_are_kept():
    model = count_model(HISTORIES, 4, n_neighbours=1)
    assert model.neighbours.numpy().ravel().tolist() == [0, 2, 3, 0, 0, 0, 0]


def test_an_item_may_follow_itself():
    model = count_model([np.array([1, 1])], 2, max_distance=1, n_neighbours=1)
    assert model.recommend([[1]], k=1, exclude_history=False)[0].numpy().tolist() == [[1]]


def test_the_seed_and_not_the_id_decides_between_equally_popular_items():
    first = {int(count_preset("popular", [], 9, seed=seed).recommend([[]], k=1)[0][0, 0]) for seed in range(30)}
    assert len(first) > 4
    again = [count_preset("popular", HISTORIES, 4, seed=3).recommend([[]])[0].numpy().tolist() for _ in range(2)]
    assert again[0] == again[1] and again[0][0][0] == 1


def test_ids_out_of_the_catalogue_are_refused():
    with pytest.raises(InputError, match="from 1 to `n_items`=3, and 0 for padding. Received: 5"):
        count_model([np.array([5])], 3)


def test_presets_rank_as_they_are_named():
    models = {name: count_preset(name, HISTORIES, 4) for name in COUNTED_PRESETS}
    answers = {name: model.recommend([[3, 1]], k=2, exclude_history=False)[0] for name, model in models.items()}
    answers = {name: item_ids.numpy().tolist() for name, item_ids in answers.items()}
    assert answers["popular"][0][0] == 1
    assert answers == answers | {"recent": [[1, 3]], "bigram": [[2, 3]], "item-knn": [[2, 3]]}


def test_a_counted_preset_has_its_own_settings():
    config = TrainConfig.of({"preset": "item-knn", "n_last": 5, "seed": 2})
    assert config.every_setting() == {
        "preset": "item-knn",
        "refit": False,
        "seed": 2,
        "n_last": 5,
        "decay": 1.0,
        "max_distance": 10,
        "n_neighbours": 100,
        "discount": 0.25,
        "exclude_history": True,
    }
    assert set(config.every_setting()) == set(setting_names("item-knn"))
    assert all(TrainConfig.of({"preset": name}).is_counted for name in COUNTED_PRESETS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 3}, "'epochs' changes nothing for the preset bigram, which is counted and not trained"),
        ({"epochs": 100}, "'epochs' changes nothing .*Received: epochs=100. Remove it."),
        ({"width": 8}, "Unknown setting 'width'.* `laclrec-tf settings --preset bigram` lists them"),
        ({"n_last": -1}, "`n_last` must be 0 or above"),
        ({"decay": "fast"}, "Setting 'decay'"),
    ],
)
def test_other_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(InputError, match=message):
        TrainConfig.of({"preset": "bigram", **settings})


def test_a_counted_preset_is_not_built_for_training():
    with pytest.raises(InputError, match="'bigram' is counted and has nothing to train"):
        build_preset("bigram", n_items=5)


# ---- a run ----


@pytest.fixture(scope="module")
def run(data: Path, made_once) -> RunFolder:
    config = TrainConfig.of({"preset": "bigram", "n_neighbours": 5})
    make = lambda folder: train(data, folder / "run", config, show_progress=False)  # noqa: E731
    return RunFolder.open(made_once("bigram", make) / "run")


@pytest.fixture(scope="module")
def version(run: RunFolder, made_once) -> Path:
    make = lambda folder: export(run.folder, folder / "shop", show_progress=False)  # noqa: E731
    return made_once("bigram-export", make) / "shop" / "1"


def test_a_run_has_the_counts_before_the_validation_item(run):
    _, histories = run.data.histories()
    training = [history[:-2] if len(history) > 2 else history for history in histories]
    expected = count_preset("bigram", training, run.vocabulary.n_items, n_neighbours=5)
    for name, value in {each.name: each for each in expected.weights}.items():
        np.testing.assert_array_equal(next(each for each in run.model.weights if each.name == name), value)
    np.testing.assert_array_equal(run.popularity, np.bincount(np.concatenate(training), minlength=151)[1:])
    before, targets = zip(*run.data.split().pairs("validation"), strict=True)
    assert run.record["validation"] == ranking_metrics(rank_targets(expected, before, np.array(targets)))
    assert run.record["settings"] == {"preset": "bigram", "refit": False, "seed": 0, "model": {"n_neighbours": 5}}
    assert not list(run.folder.glob("epochs*")) and not (run.folder / "checkpoints").exists()


def test_where_the_history_is_kept_the_newest_items_are_measured_and_served(data, tmp_path):
    settings = {"preset": "recent", "exclude_history": False}
    kept = train(data, tmp_path / "run", settings, show_progress=False)
    before, targets = zip(*kept.data.split().pairs("validation"), strict=True)
    ranks = rank_targets(kept.model, before, np.array(targets), protocol="full-with-history")
    assert kept.record["validation"] == ranking_metrics(ranks)
    first, second = kept.vocabulary.items[:2]
    assert load(kept.folder).recommend([first, second], k=2)[0].item_ids == (second, first)


def test_a_refit_counts_the_validation_item_too(data, tmp_path, run):
    refit = train(data, tmp_path / "run", {"preset": "bigram", "n_neighbours": 5, "refit": True}, show_progress=False)
    assert refit.record["trained_on"] == "refit"
    assert refit.record["validation"] == run.record["validation"]
    assert refit.popularity.sum() > run.popularity.sum()
    with pytest.raises(InputError, match="is a refit: it was trained on the validation items"):
        evaluate(tmp_path / "run", split="validation", show_progress=False)


def test_evaluation_and_recommendations_agree(run):
    """The share of targets among ten recommendations is recall@10: no tie is broken in two ways."""
    found, users = evaluate_users(run.folder, show_progress=False)
    histories = dict(zip(*run.data.histories(), strict=True))
    queries = [run.vocabulary.to_items(histories[user][:-1].tolist()) for user in users["user_id"]]
    answers = load(run.folder).recommend(queries, k=10)
    hits = [item in answer.item_ids for item, answer in zip(users["item_id"], answers, strict=True)]
    assert np.array_equal(hits, (users["rank"] <= 10).to_numpy())
    assert found["recall@10"] > 0.3
    for protocol in ("full-with-history", "sampled-99"):
        protocol_found = evaluate(run.folder, protocol=protocol, show_progress=False)
        assert 0.3 < protocol_found["recall@10"] <= 1


def test_the_saved_model_ranks_in_a_fresh_process_as_the_run_does(run, version):
    validate(version)  # the manifest, stock operations, and the held-out answers of a new process
    retriever = Retriever(run.model, run.vocabulary, run.popularity)
    assert sorted(retriever.signatures) == ["predict_examples", "rank", "retrieve", "serving_default"]
    responses = answers_of_fresh_process(version, version / WARMUP_FILE)
    assert len(responses) == 4 * 3
    before, targets = zip(*run.data.split().pairs("test")[:20], strict=True)
    ranks = rank_targets(run.model, before, np.array(targets), protocol="full-with-history")
    queries = [run.vocabulary.to_items(history.tolist()) for history in before]
    whole = load(version.parent).model.recommend(queries, k=150, exclude_history=False)
    places = [
        answer.item_ids.index(item) for answer, item in zip(whole, run.vocabulary.to_items(list(targets)), strict=True)
    ]
    assert places == ranks.tolist()


def test_recommend_all_gives_every_user_the_best_items(run, version, tmp_path):
    assert recommend_all(version, [run.data.folder], tmp_path / "best.parquet", k=3, show_progress=False) == 150


def test_what_needs_vectors_says_in_one_line_that_there_are_none(run, version, tmp_path):
    counted = r"has a counted model \(preset bigram\), which has no user vectors"
    with pytest.raises(InputError, match=counted):
        grow(run.folder, run.folder / "vocabulary.txt", tmp_path / "grown", keep_missing=True, show_progress=False)
    with pytest.raises(InputError, match=counted):
        export(run.folder, tmp_path / "shop", index=IndexSettings("partitioned"), show_progress=False)
    with pytest.raises(InputError, match=counted):
        index_benchmark(run.folder, show_progress=False)
    with pytest.raises(InputError, match=counted):
        evaluate(run.folder, edits="learned", show_progress=False)
    with pytest.raises(InputError, match="has no trained augmenter"):
        evaluate(run.folder, clean=True, show_progress=False)
    for model in (load(run.folder), load(version)):
        with pytest.raises(InputError, match="no signature 'similar_items'. It has: predict_examples, rank, retrieve"):
            model.similar_items([run.vocabulary.items[0]])
        with pytest.raises(InputError, match="cannot edit histories"):
            model.augment([[run.vocabulary.items[0]]])


def test_the_report_leaves_out_what_there_is_not(run, tmp_path):
    found = report(run.folder, tmp_path / "report.html", show_progress=False)
    assert "diversity" not in found["lists"] and found["augmenter"] is None
    page = (tmp_path / "report.html").read_text()
    assert "No learning curves: this run is counted." in page
    assert "A counted model reads histories as they are." in page


def test_the_card_says_that_the_model_is_counted(version):
    assert "epochs: none, it is counted" in (version / "assets.extra" / "model_card.md").read_text()


def test_the_commands_count_evaluate_export_and_recommend(data, tmp_path, capsys):
    out, shop = str(tmp_path / "run"), str(tmp_path / "shop")

    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        assert exit_.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    told = said("train", str(data), "--preset", "item-knn", "--set", "n_last=5", "--out", out)
    assert "strict, counted, validation: recall@10 " in told
    validation = json.loads((tmp_path / "run" / "run.json").read_text())["validation"]
    assert f"ndcg@10 {validation['ndcg@10']:.4f}" in told
    again = said("train", str(data), "--preset", "item-knn", "--set", "n_last=5", "--out", out, "--resume")
    assert "was finished before" in again
    assert "item-knn, strict, test split, full protocol" in said("evaluate", out)
    said("export", out, "--to", shop)
    item = RunFolder.open(out).vocabulary.items[0]
    assert len(json.loads(said("recommend", "--model", shop, "--history", item, "--k", "3", "--json"))["item_ids"]) == 3
    assert "n_last = 20" in said("settings", "--preset", "item-knn")


def test_retired_items_are_not_recommended(run):
    best = load(run.folder).recommend([run.vocabulary.items[0]], k=1)[0].item_ids[0]
    retriever = Retriever(run.model, run.vocabulary, run.popularity, retired=[best])
    answer = retriever.serving_default(tf.constant([[run.vocabulary.items[0]]]))
    assert best.encode() not in answer["item_ids"].numpy()[0]
