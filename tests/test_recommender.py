"""`laclrec_tf.load`, on runs and exported models."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import laclrec_tf
from laclrec_tf.errors import InputError
from laclrec_tf.recommender import Recommender

pytestmark = pytest.mark.usefixtures("quick_loads")

KINDS = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


@pytest.fixture(scope="module")
def model(laclrec_run) -> Recommender:
    return laclrec_tf.load(laclrec_run.folder)


@pytest.fixture(scope="module")
def exported(laclrec_export) -> Recommender:
    return laclrec_tf.load(laclrec_export)


@pytest.fixture
def events(model) -> dict[str, list]:
    """Return events of two users: the first has four known items, the second an unknown one."""
    return {
        "user_id": [7, 7, 3, 7, 7],
        "item_id": [*model.vocabulary.items[:2], "nobody-knows", *model.vocabulary.items[2:4]],
        "timestamp": [4, 3, 1, 2, 1],
    }


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, laclrec_tf; print(sorted({'tensorflow', 'keras', 'polars', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
    assert {"load", "Recommender", "RunFolder"} <= set(dir(laclrec_tf))
    with pytest.raises(AttributeError, match="No laclrec_tf attribute lode"):
        laclrec_tf.lode  # noqa: B018


def test_a_run_and_its_export_give_the_same_answers(model, exported, laclrec_export, events):
    table = pl.DataFrame(events)
    for method in ("recommend", "augment", "clean"):
        mine, saved = getattr(model, method)(table), getattr(exported, method)(table)
        assert_frame_equal(mine, saved, rel_tol=1e-5, abs_tol=1e-5)
    version = laclrec_tf.load(laclrec_export / "1")
    assert version.recommend(["nobody-knows"], k=3) == exported.recommend(["nobody-knows"], k=3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_in_gives_the_same_kind_of_table(model, events, kind):
    answer = model.recommend(KINDS[kind](events), k=2)
    assert type(answer) is type(KINDS[kind](events))
    rows = list(zip(*(pl.DataFrame(answer).to_dict(as_series=False).values()), strict=True))
    items = model.vocabulary.items
    first, second = model.recommend([[items[3], items[2], items[1], items[0]], []], k=2)
    # The items of the second history are unknown, so its answer is the most popular items.
    assert rows == [
        *((7, rank, item, score) for rank, item, score in zip((1, 2), first.item_ids, first.scores, strict=True)),
        *((3, rank, item, score) for rank, item, score in zip((1, 2), second.item_ids, second.scores, strict=True)),
    ]
    assert pl.DataFrame(answer).columns == ["user_id", "rank", "item_id", "score"]


@pytest.mark.parametrize("kind", KINDS)
def test_titles_are_a_column_of_the_answer(model, events, kind, tmp_path):
    answer = pl.DataFrame(model.recommend(KINDS[kind](events), k=2))
    first = answer["item_id"][0]
    titled = pl.DataFrame(model.recommend(KINDS[kind](events), k=2, titles={first: "Red tent"}))
    assert titled.drop("title").equals(answer)
    assert titled["title"].to_list() == ["Red tent" if item == first else None for item in answer["item_id"]]
    (tmp_path / "titles.csv").write_text(f"item_id,title\n{first},Red tent\n")
    assert pl.DataFrame(model.recommend(KINDS[kind](events), k=2, titles=tmp_path / "titles.csv")).equals(titled)
    similar = pl.DataFrame(
        model.similar_items(KINDS[kind]({"item_id": events["item_id"]}), k=3, titles={first: "Red tent"})
    )
    assert set(similar.filter(pl.col("title").is_not_null())["similar_item_id"]) <= {first}


def test_titles_need_a_table(model):
    with pytest.raises(InputError, match=r"`titles` adds a column to a table. Received: lists of item ids"):
        model.recommend([model.vocabulary.items[:2]], titles={})
    with pytest.raises(InputError, match=r"`titles` must be a dictionary or a file. Received: a DataFrame"):
        model.recommend(
            pl.DataFrame({"user_id": ["ann"], "item_id": ["tent"], "timestamp": [1]}), titles=pl.DataFrame()
        )


def test_a_single_column_is_refused(model, events):
    for column in (pd.Series(events["item_id"]), pl.Series(events["item_id"]), pa.chunked_array([events["item_id"]])):
        for method in (model.recommend, model.augment, model.clean):
            with pytest.raises(InputError, match="a single column, which does not say whose items these are. Give the"):
                method(column)


def test_excluded_and_allowed_items(model, events):
    best = model.recommend(pl.DataFrame(events), k=3)["item_id"].to_list()
    table = pl.DataFrame({"history": [list(model.vocabulary.items[3::-1])]})
    assert model.recommend(table, k=1)["item_id"].to_list() == best[:1]
    assert model.recommend(table, k=1, exclude=best[:1])["item_id"].to_list() == best[1:2]
    assert model.recommend(table, allow=best[2:3])["item_id"].to_list() == best[2:3]
    assert model.recommend(table, k=1, exclude_history=False)["row"].to_list() == [0]


def test_edits_of_the_augmenter(model, events):
    table = pl.DataFrame(events).filter(pl.col("user_id") == 7)
    edits = model.augment(table)
    (listed,) = model.augment(list(model.vocabulary.items[3::-1]))
    assert edits["item_id"].to_list() == list(listed.history) == list(model.vocabulary.items[3::-1])
    assert edits["operation"].to_list() == list(listed.operations)
    assert edits.select("keep", "delete", "insert").rows() == list(listed.probabilities)
    assert edits["inserted"].to_list() == [len(run) for run in listed.inserted]
    cleaned = model.clean(table)
    assert cleaned["item_id"].to_list() == list(listed.edited_history)
    assert cleaned["position"].to_list() == list(range(1, cleaned.height + 1))
    assert model.clean(list(model.vocabulary.items[3::-1])) == [list(listed.edited_history)]


def test_similar_items_of_a_table(model):
    item = model.vocabulary.items[0]
    (listed,) = model.similar_items([item], k=2)
    table = model.similar_items(pd.DataFrame({"sku": ["nobody-knows", item]}), k=2, item_column="sku")
    assert table.to_dict(orient="list") == {
        "sku": [item, item],
        "rank": [1, 2],
        "similar_item_id": list(listed.item_ids),
        "score": pytest.approx(list(listed.scores), rel=1e-6),  # sums may differ in the last bit in another batch
    }


def test_repr(model, exported, laclrec_run, laclrec_export):
    about = "150 items, reads the last 50 of a history, with an augmenter)"
    assert repr(model) == f"Recommender(run '{laclrec_run.folder}', laclrec: {about}"
    assert repr(exported) == f"Recommender(SavedModel '{laclrec_export}/1': {about}"


def test_a_model_without_an_augmenter(sasrec_export):
    model = laclrec_tf.load(sasrec_export)
    assert "without an augmenter" in repr(model)
    for method in (model.augment, model.clean):
        with pytest.raises(InputError, match="cannot edit histories. Train a model with an augmenter"):
            method(["a"])


def test_a_retired_item_is_not_recommended(sasrec_run, tmp_path):
    shutil.copytree(sasrec_run.folder, tmp_path / "run")
    order = np.argsort(-sasrec_run.popularity, kind="stable")
    items = [sasrec_run.vocabulary.items[place] for place in order]
    (tmp_path / "run/retired.txt").write_text(f"{items[0]}\n")
    assert laclrec_tf.load(tmp_path / "run").recommend([], k=1)[0].item_ids == (items[1],)


def test_folders_without_a_model(data, tmp_path, laclrec_export):
    def complaint(folder: Path) -> str:
        with pytest.raises(InputError) as raised:
            laclrec_tf.load(folder)
        return str(raised.value)

    assert "contains neither a finished run nor an exported model. Give a run folder" in complaint(data)
    assert "missing is not a folder" in complaint(tmp_path / "missing")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/epochs-0.csv").write_text("epoch\n")
    assert "contains an unfinished run" in complaint(tmp_path / "unfinished")
    shutil.copytree(laclrec_export, tmp_path / "strange")
    (tmp_path / "strange/1/assets.extra/metadata.json").write_text("{}")
    assert "does not say which items it knows" in complaint(tmp_path / "strange")


def test_misspelt_and_superfluous_columns(model, events):
    with pytest.raises(InputError, match="Unknown argument `users_column`"):
        model.recommend(pl.DataFrame(events), users_column="user_id")
    with pytest.raises(InputError, match="`item_column` names a column of a table. Received: lists"):
        model.recommend(["tent"], item_column="sku")


def test_the_code_of_the_page_runs(model, tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs/in-python.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("titles.csv").write_text("item_id,title\ntent,Red tent\n")
    Path("ml-100k.item").write_text("item_id:token\tmovie_title:token_seq\n242\tKolya\n")
    names = {"model": model}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1:4]:  # tables, titles, lists
        exec(block, names)
    assert len(names["events"]) == 3
