"""Queries become requests with every input, and outputs become typed results."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving import Ranking, Recommendation, SimilarItems
from laclrec_tf.serving.client import queries
from laclrec_tf.serving.client.queries import (
    HistoryQueries,
    augment_query,
    embed_history_query,
    embed_items_query,
    rank_query,
    recommend_query,
    similar_items_query,
)


class Refusing(HistoryQueries):
    """Fails when a request is sent."""

    def _predict(self, signature, inputs):
        raise AssertionError(signature)


recommend = Refusing().recommend


def strings(rows: list) -> np.ndarray:
    return np.array(rows, dtype=object)


def test_every_input_of_retrieve_is_sent():
    query = recommend_query(["a"], k=3, exclude=(), allow=(), exclude_history=True)
    ((inputs),) = query.requests
    assert query.signature == "retrieve"
    assert {name: (array.shape, array.dtype) for name, array in inputs.items()} == {
        "history": ((1, 1), np.dtype(object)),
        "k": ((), np.dtype(np.int32)),
        "exclude": ((1, 0), np.dtype(object)),
        "allow": ((1, 0), np.dtype(object)),
        "exclude_history": ((), np.dtype(bool)),
    }
    assert (inputs["k"].item(), inputs["exclude_history"].item()) == (3, True)


def test_one_list_for_all_goes_with_every_request_and_lists_for_each_are_parted(monkeypatch):
    monkeypatch.setattr(queries, "BATCH_SIZE", 2)
    query = recommend_query([["a"], ["b"], ["c"]], 1, exclude=["x"], allow=[["p"], ["q"], []], exclude_history=False)
    first, second = query.requests
    assert first["exclude"].tolist() == second["exclude"].tolist() == [[b"x"]]
    assert (first["allow"].tolist(), second["allow"].shape) == ([[b"p"], [b"q"]], (1, 0))
    assert first["history"].tolist() + second["history"].tolist() == [[b"a"], [b"b"], [b"c"]]
    assert second["exclude_history"].item() is False


def test_recommendations_end_with_the_filled_slots():
    query = recommend_query([["a"], ["b"]], 2, (), (), True)
    outputs = {
        "item_ids": strings([[b"x", b"y"], ["é".encode(), b""]]),
        "scores": np.array([[2.0, 1.0], [0.5, -1e30]], np.float32),
        "filled": np.array([2, 1], np.int32),
        "unknown": np.array([0, 3], np.int32),
    }
    assert query.read([outputs]) == [
        Recommendation(("x", "y"), (2.0, 1.0), unknown=0),
        Recommendation(("é",), (0.5,), unknown=3),
    ]


def test_similar_items(monkeypatch):
    monkeypatch.setattr(queries, "BATCH_SIZE", 1)
    query = similar_items_query(["a", "?"], k=2**40)
    assert [inputs["items"].tolist() for inputs in query.requests] == [[b"a"], [b"?"]]
    assert query.requests[0]["k"].item() == 2**31 - 1
    slots = {"item_ids": strings([[b"x", b""]]), "scores": np.array([[0.5, -1e30]], np.float32)}
    parts = [
        slots | {"filled": np.array([1]), "known": np.array([True])},
        slots | {"filled": np.array([0]), "known": np.array([False])},
    ]
    assert query.read(parts) == [
        SimilarItems("a", ("x",), (0.5,), known=True),
        SimilarItems("?", (), (), known=False),
    ]


def test_a_ranking_is_best_first_with_unknown_candidates_last():
    query = rank_query([["a"], ["b"]], [["x", "y", "?", "z"], ["y"]])
    (inputs,) = query.requests
    assert inputs["candidates"].tolist() == [[b"x", b"y", b"?", b"z"], [b"y", b"", b"", b""]]
    scores = np.array([[1.0, 2.0, -128.0, 1.0], [0.5, -128.0, -128.0, -128.0]], np.float32)
    assert query.read([{"scores": scores, "eligible": scores > -128.0, "unknown": np.array([0, 1])}]) == [
        Ranking(("y", "x", "z", "?"), (2.0, 1.0, 1.0, -128.0), (True, True, True, False), unknown=0),
        Ranking(("y",), (0.5,), (True,), unknown=1),
    ]


def test_one_list_of_candidates_is_for_every_history():
    (inputs,) = rank_query([["a"], ["b"]], ["x", "y"]).requests
    assert inputs["candidates"].tolist() == [[b"x", b"y"]] * 2


def test_vectors_of_several_requests_are_one_array(monkeypatch):
    monkeypatch.setattr(queries, "BATCH_SIZE", 2)
    query = embed_history_query([["a"], [], ["?"]])
    assert [inputs["history"].shape for inputs in query.requests] == [(2, 1), (1, 1)]
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    answer = query.read(
        [
            {"user_vectors": vectors[:2], "unknown": np.array([0, 0])},
            {"user_vectors": vectors[2:], "unknown": np.array([1])},
        ]
    )
    np.testing.assert_array_equal(answer.vectors, vectors)
    assert answer.unknown == (0, 0, 1)
    items = embed_items_query(["a", "b", "?"])
    parts = [
        {"item_vectors": vectors[:2], "known": np.array([True, True])},
        {"item_vectors": vectors[2:], "known": np.array([False])},
    ]
    np.testing.assert_array_equal(items.read(parts).vectors, vectors)
    assert items.read(parts).known == (True, True, False)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: similar_items_query("tent", 1), "`items` must be a list of item ids .* Received: 'tent'"),
        (lambda: similar_items_query([], 1), "`items` must be a list of item ids .*at least one"),
        (lambda: embed_items_query([["tent"]]), "`items` must be a list"),
        (lambda: embed_items_query([7]), r"Received: \[7\]"),
        (lambda: similar_items_query(["tent"], 0), "`k` must be at least 1. Received: k=0"),
        (lambda: rank_query([["a"]] * 3, [["x"]] * 2), "`candidates` must be .*Received: 2 lists for 3 histories"),
        (lambda: rank_query(["a"], "x"), "`candidates` must be a list"),
        (lambda: recommend_query([["a"]] * 3, 1, (), [["x"]] * 2, True), "`allow` must be one list"),
        (lambda: augment_query("a"), "`history` must be a list"),
        (lambda: recommend("007,PAD"), "`history` must be a list of item ids .* Received: '007,PAD'"),
        (lambda: recommend(b"007"), "`history` must be a list"),
        (lambda: recommend(None), "`history` must be a list"),
        (lambda: recommend([7, 8]), r"Received: \[7, 8\]"),
        (lambda: recommend([["007"], "PAD"]), "`history` must be a list"),
        (lambda: recommend([["007", 7]]), "`history` must be a list"),
        (lambda: recommend([[["007"]]]), "`history` must be a list"),
        (lambda: recommend(["007"], exclude="PAD"), "`exclude` must be a list"),
        (lambda: recommend([["007"]] * 3, exclude=[["PAD"]] * 2), "Received: 2 lists for 3 histories"),
        (lambda: recommend(["007"], k=0), "`k` must be at least 1. Received: k=0"),
        (lambda: recommend(["007"], k=-(2**40)), "`k` must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused_before_a_request(make, text):
    with pytest.raises(InputError, match=text) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_answer_of_another_version_says_so():
    query = recommend_query(["a"], 1, (), (), True)
    outputs = {"item_ids": strings([[b"x"]]), "scores": np.array([[1.0]])}
    with pytest.raises(InputError, match="no output 'unknown', only item_ids, scores: .* Export it again."):
        query.read([outputs])


@pytest.mark.parametrize("k", [2.5, True, "3", None])
def test_k_must_be_a_whole_number(k):
    with pytest.raises(InputError, match=f"Argument `k` must be a whole number. Received: k={k!r}."):
        recommend_query(["a"], k, (), (), True)


def test_k_may_be_an_integer_of_numpy():
    ((inputs),) = recommend_query(["a"], np.int64(3), (), (), True).requests
    assert inputs["k"].item() == 3
