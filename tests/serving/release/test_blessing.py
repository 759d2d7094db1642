"""The comparison of a candidate with the version that is served."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.release import blessing
from laclrec_tf.serving.release.blessing import (
    Comparison,
    HeldOutItems,
    bless,
    check_bar,
    k_of,
    measure_version,
)
from laclrec_tf.serving.version.metadata import METADATA_FILE, Evaluation, ModelMetrics

pytestmark = pytest.mark.usefixtures("quick_loads")


@pytest.fixture(scope="module")
def first_three(exported, vocabulary) -> list[str]:
    """Return what the version recommends first for a history of the first item."""
    model = LoadedModel(exported)
    history = np.array([[vocabulary.items[0].encode()]], object)
    items = model.run("retrieve", {"history": history, "k": np.array([3], np.int32)})["item_ids"][0]
    model.close()
    return [item.decode() for item in items]


def test_the_places_of_the_targets_count(exported, vocabulary, first_three):
    first, second, third = first_three
    start = vocabulary.items[0]
    # First place, third place, unknown to the version, and in the history: ranks 0, 2, none, none.
    queries = HeldOutItems("here", [[start]] * 4, [first, third, "nowhere", start])
    assert measure_version(exported, queries, 3) == pytest.approx(
        {"recall@3": 2 / 4, "mrr@3": (1 + 1 / 3) / 4, "ndcg@3": (1 + 1 / math.log2(4)) / 4}
    )
    beyond = HeldOutItems("here", [[start]], [second])
    assert measure_version(exported, beyond, 1) == {"recall@1": 0.0, "mrr@1": 0.0, "ndcg@1": 0.0}


def test_versions_are_measured_with_the_history_if_they_are_told_to_keep_it(exported, vocabulary):
    start = vocabulary.items[0]
    queries = HeldOutItems("here", [[start]], [start])
    every = {told: measure_version(exported, queries, 20, told)["recall@20"] for told in (None, True, False)}
    assert every == {None: 0.0, True: 0.0, False: 1.0}
    comparison = bless(exported, exported, metric="recall@20", held_out=queries, exclude_history=False)
    assert (comparison.candidate, comparison.evaluation) == (1.0, "here, history kept")


@pytest.mark.parametrize("metric", ["ndcg", "ndcg@0", "loss@10", "recall@10 ", "recall@12345", ""])
def test_a_metric_that_cannot_be_measured_is_refused(metric):
    with pytest.raises(InputError, match="must be recall@k, mrr@k or ndcg@k"):
        k_of(metric)


def test_a_version_without_the_signature_is_named(counting_version):
    with pytest.raises(InputError, match="does not recommend: The model has no signature 'retrieve'"):
        measure_version(counting_version, HeldOutItems("here", [["a"]], ["b"]), 3)


@pytest.fixture
def both(tmp_path):
    """Return a function that writes the metrics of a candidate and of a served version."""

    def write(candidate: list[Evaluation], serving: list[Evaluation], hashes=("d", "d")):
        folders = tmp_path / "candidate", tmp_path / "served"
        for folder, evaluations, data_hash in zip(folders, (candidate, serving), hashes, strict=True):
            folder.mkdir()
            ModelMetrics(data_hash=data_hash, evaluations=tuple(evaluations)).write(folder)
        return folders

    return write


def measured(value: float | None, split: str = "validation", protocol: str = "full", **more) -> Evaluation:
    return Evaluation(split, protocol, {"ndcg@10": value, "recall@10": 0.5}, **more)


@pytest.mark.parametrize("candidate", [0.2, 0.11, 0.1, 0.098])
def test_not_worse_than_the_tolerance_passes(both, candidate):
    # 2 % below 0.1 is 0.098.
    comparison = bless(*both([measured(candidate)], [measured(0.1)]))
    assert comparison == Comparison("ndcg@10", "validation, full", candidate, 0.1, 0.02)


def test_worse_is_refused_with_both_numbers(both):
    with pytest.raises(InputError, match=r"is worse than .*: ndcg@10 0.0970 against 0.1000 \(-3.0%\)") as caught:
        bless(*both([measured(0.097)], [measured(0.1)]))
    assert "tolerance 2.0%" in str(caught.value)


def index_of(folder, recall):
    about = {"kind": "partitioned", "recall@20": recall} if recall else {"kind": "exact"}
    (folder / METADATA_FILE).write_text(json.dumps({"metadata": {"index": about}}), encoding="utf-8")


@pytest.mark.parametrize(
    ("candidate", "serving", "passes"), [(0.98, None, True), (0.9799, None, False), (0.5, 0.5, True)]
)
def test_an_index_that_finds_less_is_worse_whatever_the_numbers_of_all_items_say(both, candidate, serving, passes):
    folders = both([measured(0.1)], [measured(0.1)])
    for folder, recall in zip(folders, (candidate, serving), strict=True):
        index_of(folder, recall)
    if passes:
        assert bless(*folders).candidate == 0.1
    else:
        with pytest.raises(
            InputError, match=r"worse .* its index finds 97.99% .* served one's 100.00%, tolerance 2.0%"
        ):
            bless(*folders)
        assert bless(*folders, tolerance=0.03).candidate == 0.1


def test_metric_and_tolerance_are_the_callers(both):
    folders = both([measured(0.05)], [measured(0.1)])
    assert bless(*folders, metric="recall@10", tolerance=0.0).candidate == 0.5
    assert bless(*folders, tolerance=0.5).is_good_enough
    with pytest.raises(InputError, match="is worse"):
        bless(*folders, tolerance=0.49)


def test_a_served_zero_is_beaten_by_anything(both):
    assert str(bless(*both([measured(0.0)], [measured(0.0)]))) == "ndcg@10 0.0000 against 0.0000 on validation, full"


def test_other_numbers_of_users_are_reported(both):
    comparison = bless(*both([measured(0.1, users=1166)], [measured(0.1, users=1200)]))
    assert str(comparison).endswith("on validation, full, 1,166 users against 1,200")
    assert (comparison.candidate_users, comparison.serving_users) == (1166, 1200)


def test_the_test_split_under_full_is_preferred(both):
    ours = [measured(0.1), measured(0.9, "test", "full-with-history"), measured(0.3, "test")]
    comparison = bless(*both(ours, [measured(0.1), measured(0.9, "test", "full-with-history"), measured(0.3, "test")]))
    assert comparison.evaluation == "test, full"
    assert comparison.candidate == 0.3


def test_only_metrics_of_the_protocol_that_was_told_are_compared(both):
    each = [measured(0.2, "test"), measured(0.1, "validation", "full-with-history")]
    folders = both(each, each)
    assert bless(*folders, exclude_history=False).evaluation == "validation, full-with-history"
    assert bless(*folders, exclude_history=True).evaluation == bless(*folders).evaluation == "test, full"


def test_a_protocol_that_was_not_measured_is_named_with_the_remedy(both):
    with pytest.raises(
        InputError, match=r"split and the protocol full-with-history is in .*`laclrec-tf evaluate --keep-history`"
    ):
        bless(*both([measured(0.1)], [measured(0.1)]), exclude_history=False)


@pytest.mark.parametrize(
    ("candidate", "serving"),
    [
        ([measured(0.1)], [measured(0.1, "test")]),
        ([measured(0.1)], [measured(0.1, protocol="full-with-history")]),
        (
            [measured(0.1, protocol="sampled-99", negatives_seed=0)],
            [measured(0.1, protocol="sampled-99", negatives_seed=1)],
        ),
        ([measured(0.1, tie_rule="kind")], [measured(0.1, tie_rule="strict")]),
        ([], [measured(0.1)]),
        ([measured(None)], [measured(0.1)]),
        ([measured(0.1)], [measured(None)]),
    ],
    ids=["split", "protocol", "negatives", "ties", "nothing", "not finite", "served not finite"],
)
def test_metrics_of_different_evaluations_are_not_compared(both, candidate, serving):
    with pytest.raises(InputError, match=r"no ndcg@10 of the same split and protocol is in .*--force"):
        bless(*both(candidate, serving))


def test_an_unknown_metric_is_answered_with_the_known_ones(both):
    with pytest.raises(InputError, match=r"no auc of the same .*The candidate's metrics: ndcg@10, recall@10\. Push"):
        bless(*both([measured(0.1)], [measured(0.1)]), metric="auc")


@pytest.mark.parametrize("hashes", [("d", "e"), (None, "e"), ("d", None), (None, None)])
def test_other_data_is_not_compared(both, hashes):
    hashed = " and ".join("not recorded" if each is None else each for each in hashes)
    with pytest.raises(InputError, match=rf"not measured on the same data \(hash {hashed}\).*--force"):
        bless(*both([measured(0.2)], [measured(0.1)], hashes))


def test_a_version_without_metrics_is_not_compared(both, tmp_path):
    candidate, _ = both([measured(0.2)], [measured(0.1)])
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError, match=r"cannot be compared with .*old has no assets.extra/metrics.json.*--force"):
        bless(candidate, tmp_path / "old")


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan"), float("inf")])
def test_a_tolerance_that_cannot_be_one(tolerance):
    with pytest.raises(InputError, match="`tolerance` must be at least 0 and below 1"):
        check_bar("ndcg@10", tolerance)


def test_no_metric():
    with pytest.raises(InputError, match="`metric` must name a metric"):
        check_bar("", 0.1)


@pytest.fixture
def held_out(monkeypatch):
    """Return held-out items for which a version's folder name is its metric; other tests cover the measurement."""
    monkeypatch.setattr(
        blessing,
        "measure_version",
        lambda folder, held_out, k, exclude_history: dict.fromkeys((f"ndcg@{k}", f"recall@{k}"), float(folder.name)),
    )
    return HeldOutItems("the last items of shop", [["a"], ["b"]], ["b", "a"])


def test_both_are_measured_on_the_same_items(held_out, tmp_path):
    comparison = bless(tmp_path / "0.3", tmp_path / "0.2", held_out=held_out)
    assert comparison == Comparison("ndcg@10", "the last items of shop", 0.3, 0.2, 0.02, 2, 2)


def test_worse_on_the_same_items_is_refused(held_out, tmp_path):
    with pytest.raises(InputError, match=r"recall@5 0.1000 against 0.2000 \(-50.0%\) on the last items of shop"):
        bless(tmp_path / "0.1", tmp_path / "0.2", metric="recall@5", held_out=held_out)
    assert bless(tmp_path / "0.1", tmp_path / "0.2", tolerance=0.5, held_out=held_out).is_good_enough
