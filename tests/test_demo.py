"""The demo, with fewer users and one epoch."""

from __future__ import annotations

import re

import polars as pl
import pytest

from laclrec_tf import demo as demonstration
from laclrec_tf.demo import demo, edits_table, newest_is_noise, noise_deleted, noise_table
from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.answers import AugmentedHistory

pytestmark = pytest.mark.usefixtures("quick_loads")


@pytest.mark.usefixtures("untraced_here")
def test_the_demo_runs_every_stage(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        demonstration,
        "DEMO_SETTINGS",
        {"width": 8, "epochs": 1, "n_recommender_blocks": 0, "max_insertions": 1, "targets_per_batch": 2000},
    )
    monkeypatch.setattr(demonstration, "DEMO_EVENTS", {"users": 120, "items": 36, "noise": 0.15})
    demo(tmp_path / "demo", seed=1)
    out = capsys.readouterr().out
    assert re.search(r"120 users, 36 items, [\d,]+ events", out)
    assert re.search(r"recall@10 0\.\d{3}", out)
    assert "blessed: the first version" in out
    assert "newest event noise" in out and "over its edits, served" in out
    assert "What the augmenter did" in out
    assert out.count(" *") >= 3, "each of three histories has a planted noise event"
    assert re.search(
        r"From 120 test histories it deleted [\d,]+ of [\d,]+ planted noise events and [\d,]+ of [\d,]+ other events\.",
        out,
    )
    assert (tmp_path / "demo/saved_models/demo/1/saved_model.pb").is_file()

    with pytest.raises(InputError, match="is not empty"):
        demo(tmp_path / "demo")


PLANTED = [("a", False), ("b", True), ("c", False)]
# A second "a" before "c", and "b" goes.
EDITED = AugmentedHistory(
    ("a", "b", "c"), ("keep", "delete", "insert"), ((0.0, 0.0, 0.0),) * 3, ((), (), ("a", "d")), ("a", "a", "d", "c")
)


def test_ranks_are_grouped_by_the_newest_event(tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text(
        "user_id,item_id,timestamp,is_noise\n"
        "1,a,5,false\n1,b,9,false\n1,c,7,true\n"  # the newest before the test item b is c
        "2,a,1,true\n2,b,2,false\n2,c,3,false\n"
        "3,a,1,true\n"
    )
    newest = newest_is_noise(truth)
    assert newest.rows() == [("1", True), ("2", False), ("3", None)]
    users = pl.DataFrame({"user_id": ["1", "2"], "rank": [2, 1]})
    table = noise_table({"raw": users}, newest)
    # 1 / log2(3) for the second place.
    assert [next(iter(column.cells)) for column in table.columns] == ["raw", "0.815", "1.000", "0.631"]
    assert next(iter(noise_table({"raw": users[:1]}, newest).columns[2].cells)) == "-"


def test_an_inserted_item_is_marked_though_the_history_holds_it_too():
    table = edits_table([PLANTED], [EDITED])
    before, after = (next(iter(column.cells)) for column in table.columns)
    assert before.plain == "a\nb *\nc"
    assert [before.plain[span.start : span.end] for span in before.spans if "red" in str(span.style)] == ["b *"]
    assert after.plain == "a\na\nd\nc"
    assert [(span.start, span.end) for span in after.spans if span.style == "green"] == [(2, 3), (4, 5)]


def test_a_history_cut_after_the_edits_shows_its_last_items():
    cut = AugmentedHistory(EDITED.history, EDITED.operations, EDITED.probabilities, EDITED.inserted, ("d", "c"))
    after = next(iter(edits_table([PLANTED], [cut]).columns[1].cells))
    assert after.plain == "d\nc"


def test_noise_and_other_events_are_counted_over_all_histories():
    clean = AugmentedHistory(("x", "y"), ("delete", "keep"), ((0.0, 0.0, 0.0),) * 2, ((), ()), ("y",))
    text = noise_deleted([PLANTED, [("x", False), ("y", True)]], [EDITED, clean])
    assert text == "From 2 test histories it deleted 1 of 2 planted noise events and 1 of 3 other events."
