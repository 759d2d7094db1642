"""Answers as columns, by hand."""

from __future__ import annotations

from laclrec_tf.recommender_tables import edit_columns, history_columns, ranked_columns
from laclrec_tf.serving.client.answers import AugmentedHistory, Recommendation, SimilarItems


def test_ranked_lists():
    answers = [Recommendation(("tent", "mug"), (2.5, -1.0)), Recommendation((), ()), Recommendation(("mug",), (0.5,))]
    assert ranked_columns(answers, "item_id") == {
        "rank": (int, [1, 2, 1]),
        "item_id": (str, ["tent", "mug", "mug"]),
        "score": (float, [2.5, -1.0, 0.5]),
    }
    similar = [SimilarItems("tent", ("mug",), (0.75,), known=True)]
    assert list(ranked_columns(similar, "similar_item_id")) == ["rank", "similar_item_id", "score"]
    assert ranked_columns(similar, "similar_item_id")["similar_item_id"] == (str, ["mug"])


def test_edits():
    edits = AugmentedHistory(
        history=("tent", "mug"),
        operations=("insert", "delete"),
        probabilities=((0.25, 0.125, 0.625), (0.25, 0.5, 0.25)),
        inserted=(("rope", "lamp"), ()),
        edited_history=("rope", "lamp", "tent"),
    )
    assert edit_columns([edits, edits]) == {
        "position": (int, [1, 2, 1, 2]),
        "item_id": (str, ["tent", "mug"] * 2),
        "operation": (str, ["insert", "delete"] * 2),
        "keep": (float, [0.25, 0.25] * 2),
        "delete": (float, [0.125, 0.5] * 2),
        "insert": (float, [0.625, 0.25] * 2),
        "inserted": (int, [2, 0] * 2),
    }


def test_histories():
    assert history_columns([["tent", "mug"], [], ("lamp",)]) == {
        "position": (int, [1, 2, 1]),
        "item_id": (str, ["tent", "mug", "lamp"]),
    }
    assert history_columns([]) == {"position": (int, []), "item_id": (str, [])}
