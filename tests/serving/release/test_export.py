"""Export: the SavedModel, its index and the metrics that it carries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import laclrec_tf
from laclrec_tf.cli.main import main
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving import ExportCheckError, LocalModel, Retriever, export_model
from laclrec_tf.serving.local import fresh_process
from laclrec_tf.serving.release import export
from laclrec_tf.serving.release.export import IndexSettings, held_out_histories, run_metrics
from laclrec_tf.serving.version.warmup import read_warmup_requests

pytestmark = pytest.mark.usefixtures("quick_loads")

# What a client of the SavedModel could run anywhere.
FRESH = """
import json, sys
sys.modules["laclrec_tf"] = None
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
folder, ops = sys.argv[1], json.loads(sys.argv[2])
signatures = tf.saved_model.load(folder).signatures
history = tf.constant([["007", "unknown", "PAD"], ["", "", ""]])
answers = [
    signatures["serving_default"](history=history),
    signatures["retrieve"](history=history, k=tf.constant(15), exclude=tf.constant([["item-9", "x,y"]]),
                           allow=tf.zeros([1, 0], tf.string), exclude_history=tf.constant(True)),
    signatures["augment"](history=history),
]
readable = [
    {name: tf.strings.as_string(t).numpy().astype(str).tolist() if t.dtype != tf.string
           else [[x.decode() for x in row.flat] for row in t.numpy()] for name, t in answer.items()}
    for answer in answers
]
print(json.dumps({"answers": readable, "unknown_ops": [op for op in ops if op_def_registry.get(op) is None]}))
"""


@pytest.fixture
def small() -> Retriever:
    """Return a retriever that is quick to export."""
    model = LACLRec(n_items=2, width=4, n_recommender_blocks=0, max_insertions=1, alpha=0.0, beta=0.0, lambda_aug=0.0)
    return Retriever(model, ItemVocabulary(["tent", "stove"]), np.array([3, 1]))


def read(exported: Path) -> saved_model_pb2.SavedModel:
    return saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())


def all_ops(exported: Path) -> set[str]:
    graph = read(exported).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    functions = {function.signature.name for function in graph.library.function}
    return {node.op for node in nodes} - functions


def test_a_fresh_process_without_this_package_gives_the_live_answers(exported, retriever):
    ops = all_ops(exported)
    command = [sys.executable, "-I", "-c", FRESH, str(exported), json.dumps(sorted(ops))]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    fresh = json.loads(process.stdout)
    assert fresh["unknown_ops"] == []

    history = tf.constant([["007", "unknown", "PAD"], ["", "", ""]])
    live = [
        retriever.serving_default(history),
        retriever.retrieve(history, k=tf.constant(15), exclude=tf.constant([["item-9", "x,y"]])),
        retriever.signatures["augment"](history),
    ]
    for answer, expected in zip(fresh["answers"], live, strict=True):
        assert sorted(answer) == sorted(expected)
        for name, tensor in expected.items():
            if tensor.dtype == tf.string:
                assert answer[name] == [[item.decode() for item in row.flat] for row in tensor.numpy()]
            else:
                np.testing.assert_allclose(np.array(answer[name], np.float64), tensor, rtol=1e-5, atol=1e-5)


def test_only_stock_operations(exported):
    ops = all_ops(exported)
    assert {"LookupTableFindV2", "TopKV2"} <= ops  # the walk reaches into the functions
    assert not ops & {"PyFunc", "PyFuncStateless", "EagerPyFunc", "XlaCallModule", "XlaLaunch"}


def test_nothing_but_inference_is_inside(exported, retriever, model):
    graph = read(exported).meta_graphs[0].object_graph_def
    kinds = {node.user_object.identifier for node in graph.nodes if node.WhichOneof("kind") == "user_object"}
    assert not any("keras" in kind for kind in kinds)
    names = {node.variable.name for node in graph.nodes if node.WhichOneof("kind") == "variable"}
    assert len(names) > 10
    assert not any("optimizer" in name or "seed" in name or "metric" in name for name in names)
    stored = {path.name for path in (exported / "assets").iterdir()}
    assert stored == {"vocabulary.txt"}
    assert ItemVocabulary.load(exported / "assets" / "vocabulary.txt") == retriever.vocabulary


def test_nothing_of_this_machine_is_inside(exported):
    content = (exported / "saved_model.pb").read_bytes()
    assert str(Path(__file__).parents[3]).encode() not in content
    assert b"vocabulary-" not in content  # the temporary folder that the asset came from


def test_signatures_are_named_and_open(exported):
    signatures = read(exported).meta_graphs[0].signature_def
    described = {
        name: (_described(signature.inputs), _described(signature.outputs))
        for name, signature in signatures.items()
        if not name.startswith("__")
    }
    matrix, column, anything = [-1, -1], [-1], None
    best = {"item_ids": matrix, "scores": matrix, "filled": column}
    ten_best = {"item_ids": [-1, 10], "scores": [-1, 10], "filled": column, "unknown": column}
    assert described == {
        "serving_default": ({"history": matrix}, ten_best),
        "predict_examples": ({"examples": column}, ten_best),
        "retrieve": (
            {"history": matrix, "k": anything, "exclude": matrix, "allow": matrix, "exclude_history": anything},
            best | {"unknown": column},
        ),
        "similar_items": ({"items": column, "k": anything}, best | {"known": column}),
        "embed_history": ({"history": matrix}, {"user_vectors": [-1, 8], "unknown": column}),
        "embed_items": ({"items": column}, {"item_vectors": [-1, 8], "known": column}),
        "rank": ({"history": matrix, "candidates": matrix}, {"scores": matrix, "eligible": matrix, "unknown": column}),
        "augment": (
            {"history": matrix},
            {
                "history": matrix,
                "unknown": column,
                "operations": matrix,
                "probabilities": [-1, -1, 3],
                "inserted": [-1, -1, 2],
                "edited_history": matrix,
            },
        ),
    }


def _described(tensors):
    shapes = {name: info.tensor_shape for name, info in tensors.items()}
    return {name: None if shape.unknown_rank else [d.size for d in shape.dim] for name, shape in shapes.items()}


def test_inputs_that_a_server_fills_in(exported):
    signatures = read(exported).meta_graphs[0].signature_def
    defaults = {name: tf.make_ndarray(proto).tolist() for name, proto in signatures["retrieve"].defaults.items()}
    assert defaults == {"k": 10, "exclude": [[]], "allow": [[]], "exclude_history": True}
    assert tf.make_ndarray(signatures["similar_items"].defaults["k"]) == 10


def test_warmup_requests_cover_every_signature_and_run(exported, loaded):
    requests = read_warmup_requests(exported)
    covered = set()
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        loaded.signatures[request.model_spec.signature_name](**inputs)
        rows = max(array.shape[0] for array in inputs.values() if array.shape.rank)
        covered.add((request.model_spec.name, request.model_spec.signature_name, rows))
    names = [name for name in loaded.signatures if not name.startswith("__")]
    assert len(names) == 8
    assert covered == {("shop", name, batch) for name in names for batch in (1, 8, 32)}


def test_metadata_is_kept(exported):
    metadata = json.loads((exported / "assets.extra" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["metadata"] == {"seed": 3}
    assert metadata["n_items"] == 20
    assert len(metadata["signatures"]) == 8 and "augment" in metadata["signatures"]


def test_the_next_version_is_one_above_the_largest(small, tmp_path):
    for name in ("2", "10", "notes", ".partial-old", "v11"):
        (tmp_path / "shop" / name).mkdir(parents=True)
    assert export_model(small, tmp_path / "shop") == tmp_path / "shop" / "11"
    assert {path.name for path in (tmp_path / "shop").iterdir()} == {
        "2",
        "10",
        "notes",
        ".partial-old",
        "v11",
        "11",
    }


def test_other_answers_than_the_live_models_stop_the_export(small, tmp_path, monkeypatch):
    write = export._write

    def write_and_train_on(retriever: Retriever, folder: Path, *rest: str) -> None:
        write(retriever, folder, *rest)
        assert (folder / "saved_model.pb").exists()
        popularity = retriever.selection.popularity
        popularity.assign(popularity * 2.0)

    monkeypatch.setattr(export, "_write", write_and_train_on)
    with pytest.raises(ExportCheckError, match="gives other 'scores' for signature 'serving_default'"):
        export_model(small, tmp_path / "models" / "shop")
    assert list(tmp_path.iterdir()) == []


def test_a_savedmodel_that_does_not_run_stops_the_export(small, tmp_path, monkeypatch):
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no such op')")
    monkeypatch.setattr(fresh_process, "__file__", str(broken))
    with pytest.raises(ExportCheckError, match="no such op"):
        export_model(small, tmp_path / "shop")
    assert list(tmp_path.iterdir()) == [broken]


def refuse(error: OSError) -> Callable[..., None]:
    def method(*_args: object, **_kwargs: object) -> None:
        raise error

    return method


def test_a_target_that_is_a_file(small, tmp_path):
    (tmp_path / "shop").write_text("mine")
    with pytest.raises(InputError, match="shop: it is a file. Give a folder"):
        export_model(small, tmp_path / "shop")
    with pytest.raises(InputError, match="Not a directory"):
        export_model(small, tmp_path / "shop" / "below")
    assert (tmp_path / "shop").read_text() == "mine"


def test_a_target_that_is_itself_a_version(small, exported):
    with pytest.raises(InputError, match="one version of a model. Give the folder above"):
        export_model(small, exported)


def test_a_parent_that_cannot_be_written(small, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", refuse(PermissionError(13, "Permission denied")))
    with pytest.raises(InputError, match="Cannot write to .*: Permission denied"):
        export_model(small, tmp_path / "shop")


def test_a_full_disk_leaves_nothing(small, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(export, "write_warmup_requests", refuse(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left on device") as caught:
        export_model(small, tmp_path / "there" / "new" / "shop")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_weights_that_are_not_finite_are_refused(small, tmp_path):
    variable = small.model_variables[0]
    variable.assign(variable * np.nan)
    with pytest.raises(InputError, match="holds NaN or inf"):
        export_model(small, tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []


def test_metadata_that_json_cannot_hold_is_refused_first(small, tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        export_model(small, tmp_path / "shop", metadata={"when": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"recall": 0.9}, "settings of `--index partitioned`"),
        ({"n_partitions": 3}, "settings of `--index partitioned`"),
        ({"int8": True}, "settings of `--index partitioned`"),
        ({"kind": "partitioned", "recall": 0.0}, "`recall` must be above 0 and at most 1. Received: recall=0.0"),
        ({"kind": "partitioned", "recall": 1.1}, "`recall` must be above 0 and at most 1. Received: recall=1.1"),
        ({"kind": "partitioned", "n_partitions": 0}, "`n_partitions` .* must be at least 1. Received: 0"),
    ],
)
def test_settings_out_of_range(settings, text):
    with pytest.raises(InputError, match=text):
        IndexSettings(**settings)


def test_a_partitioned_export_says_its_recall_and_answers_nearly_like_the_exact_one(
    sasrec_run, sasrec_export, tmp_path, capsys
):
    arguments = ["--index", "partitioned", "--partitions", "20", "--recall", "0.9", "--int8"]
    with pytest.raises(SystemExit) as status:
        main(["export", str(sasrec_run.folder), "--to", str(tmp_path / "shop"), *arguments])
    assert status.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    metadata = json.loads((tmp_path / "shop" / "1" / "assets.extra" / "metadata.json").read_text())["metadata"]
    assert metadata["data_folder"] == "data"  # no path of this machine
    index = metadata["index"]
    assert index["kind"] == "partitioned" and index["int8"] and 1 <= index["probes"] <= index["partitions"]
    assert 0.9 <= index["recall@20"] <= 1
    assert (
        f"{index['probes']} of {index['partitions']} partitions, scores from int8, recall@20 {index['recall@20']:.4f}"
        in printed
    )

    exact, partitioned = (LocalModel(folder) for folder in (sasrec_export, tmp_path / "shop"))
    _, histories = sasrec_run.data.histories()
    queries = [sasrec_run.vocabulary.to_items(history.tolist()) for history in histories[:64]]
    pairs = list(zip(exact.recommend(queries, k=20), partitioned.recommend(queries, k=20), strict=True))
    assert all(len(found.item_ids) == 20 for _, found in pairs)
    shared = [len(set(best.item_ids) & set(found.item_ids)) for best, found in pairs]
    assert np.mean(shared) > 0.8 * 20
    for best, found in pairs:
        scores = dict(zip(best.item_ids, best.scores, strict=True))
        for item, score in zip(found.item_ids, found.scores, strict=True):
            assert item not in scores or scores[item] == pytest.approx(score, rel=1e-4, abs=1e-5)


def test_too_many_partitions_leave_nothing(sasrec_run, tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        main(
            [
                "export",
                str(sasrec_run.folder),
                "--to",
                str(tmp_path / "shop"),
                "--index",
                "partitioned",
                "--partitions",
                "1000",
            ]
        )
    assert status.value.code == 2
    assert "`n_partitions` must be between 1 and the" in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()


@pytest.fixture
def run(evaluated_run, tmp_path) -> RunFolder:
    """Return a copy of the run that a test may spoil."""
    return RunFolder.open(shutil.copytree(evaluated_run, tmp_path / "run"))


def change(run: RunFolder, **changes) -> RunFolder:
    """Change the record; None takes an entry out."""
    record = {name: value for name, value in (run.record | changes).items() if value is not None}
    (run.folder / "run.json").write_text(json.dumps(record))
    return RunFolder.open(run.folder)


def test_validation_and_evaluations_are_gathered(run, data):
    metrics = run_metrics(run)
    assert (metrics.data_hash, metrics.trained_on, metrics.seed, metrics.preset) == (
        PreparedData.open(data).data_hash,
        "strict",
        3,
        "sasrec",
    )
    assert metrics.data_counts == PreparedData.open(data).counts
    validation, test, with_history = metrics.evaluations
    assert [each.name for each in metrics.evaluations] == ["validation, full", "test, full", "test, full-with-history"]
    assert validation.metrics == run.record["validation"]
    report = json.loads((run.folder / "evaluation-test-full.json").read_text())
    assert test.metrics == {name: report[name] for name in report if "@" in name and not name.startswith("served_")}
    assert (len(test.metrics), test.users, test.tie_rule) == (9, report["users"], validation.tie_rule)
    assert with_history.metrics != test.metrics


def test_an_evaluation_on_validation_takes_the_trainings_place(run):
    report = evaluate(run.folder, split="validation", show_progress=False)
    validation = run_metrics(run).evaluations[0]
    assert validation.users == report["users"]
    assert validation.metrics["ndcg@10"] == report["ndcg@10"]
    # The training ranked the same items in the same way.
    assert report["ndcg@10"] == pytest.approx(run.record["validation"]["ndcg@10"], abs=1e-6)


def test_sampled_items_are_told_apart_by_their_seed(run):
    report = json.loads((run.folder / "evaluation-test-full.json").read_text())
    report |= {"protocol": "sampled-99", "negatives_seed": 4}
    (run.folder / "evaluation-test-sampled-99.json").write_text(json.dumps(report))
    assert "test, sampled-99, sampled with seed 4" in [each.name for each in run_metrics(run).evaluations]


def test_a_refit_has_no_validation_of_its_own(run):
    refit = change(run, trained_on="refit")
    assert run_metrics(refit).evaluations == ()  # nor do the evaluations of the strict run count


def test_evaluations_of_another_run_do_not_count(run):
    file = run.folder / "evaluation-test-full.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data_hash": "another"}))
    assert "test, full" not in [each.name for each in run_metrics(run).evaluations]


def test_a_damaged_evaluation_is_named(run):
    (run.folder / "evaluation-test-full.json").write_text("{")
    with pytest.raises(InputError, match="evaluation-test-full.json is damaged. Delete it"):
        run_metrics(run)


def test_held_out_histories_come_from_the_data(run, data):
    held = held_out_histories(run)
    assert held is not None
    assert held.source == "the prepared data, before the test item"
    assert len(held.histories) == 64
    _, histories = PreparedData.open(data).histories()
    first, last = (held_out(histories[user], "test")[0].tolist() for user in (0, -1))
    assert held.histories[0] == run.vocabulary.to_items(first)
    assert held.histories[-1] == run.vocabulary.to_items(last)


def test_a_version_that_mixes_has_the_validation_metrics_of_its_mixture(run):
    edits = {"chosen": "uniform", "users": 60, "validation": {"ndcg@10": 0.25}}
    calibrated = change(run, edits=edits, validation={"ndcg@10": 0.5})
    (found,) = run_metrics(calibrated, "uniform").evaluations
    assert (found.split, found.protocol, found.metrics) == ("validation", "full", {"ndcg@10": 0.25})
    assert run_metrics(calibrated, "none").evaluations[0].metrics == {"ndcg@10": 0.5}
    assert run_metrics(calibrated, "learned").evaluations == ()  # not measured


def test_without_the_data_nothing_is_made_up(run, tmp_path):
    gone = change(run, data_folder=str(tmp_path / "gone"))
    assert held_out_histories(gone) is None
    assert run_metrics(gone).data_counts == run.record["data_counts"]
    assert run_metrics(change(gone, data_counts=None)).data_counts is None
    older = change(change(gone, data_counts=None), data_folder=run.record["data_folder"])
    assert run_metrics(older).data_counts == run.record["data_counts"]


def test_an_export_over_the_edits_answers_as_the_run_and_says_so(run, tmp_path):
    calibrated = change(run, edits={"chosen": "uniform", "users": 60})
    model = calibrated.model
    model.mixture.choice.assign(1)
    model.save(calibrated.folder / "model.keras")
    calibrated = RunFolder.open(calibrated.folder)
    report = evaluate(calibrated.folder, edits="uniform", show_progress=False)
    version = export.export(calibrated.folder, tmp_path / "shop", show_progress=False)  # what the calibration chose
    history = run.vocabulary.to_items([3, 9, 20])
    served = laclrec_tf.load(tmp_path / "shop").recommend([history], k=5)[0]
    live = laclrec_tf.load(calibrated.folder)
    assert "edits: uniform" in repr(live)
    expected = live.recommend([history], k=5)[0]
    assert served.item_ids == expected.item_ids
    assert served.scores == pytest.approx(expected.scores, rel=1e-5)
    assert 0 < sum(served.scores) < 1  # probabilities, where the run without edits has dot products
    metrics = json.loads((version / "assets.extra/metrics.json").read_text())["evaluations"]
    (measured,) = metrics  # those without edits describe another model
    assert measured["metrics"]["ndcg@10"] == report["ndcg@10"]
    card = (version / "assets.extra/model_card.md").read_text()
    assert "- predictions mixed over the edits of a history: uniform" in card


def test_the_card_of_an_export_that_was_told_otherwise_names_the_numbers_of_the_run(run, tmp_path):
    (run.folder / "evaluation-test-full-with-history.json").unlink()
    version = export.export(run.folder, tmp_path / "shop", exclude_history=False, show_progress=False)
    card = (version / "assets.extra/model_card.md").read_text()
    assert "- items of a history: recommended like others, unlike in the run" in card
    assert "lists of a version that does not: validation, full; test, full. How well this version recommends" in card


def test_edits_that_cannot_be_served_are_refused(run, tmp_path, capsys):
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as status:
            main(["export", str(run.folder), "--to", str(tmp_path / "shop"), *arguments])
        assert status.value.code == 2
        assert not (tmp_path / "shop").exists()
        return capsys.readouterr().err

    assert "was not calibrated for the edits of histories" in refused("--edits", "learned")
    assert "'most' is not one of 'chosen', 'none', 'uniform', 'learned'" in refused("--edits", "most")
