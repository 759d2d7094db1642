"""Files of titles: formats, what is left out, and what is wrong with a row."""

from __future__ import annotations

import gzip

import polars as pl
import pytest

from laclrec_tf.data.item_vectors import read_titles
from laclrec_tf.errors import InputError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"item_id,title,price\n007,Two-person  tent ,9\n8,\n9,Mug\n"),
        ("t.tsv.gz", gzip.compress(b"title\titem_id\nTwo-person tent\t007\nMug\t9\n", mtime=0)),
        ("t.jsonl", b'{"item_id":"007","title":"Two-person\\ntent"}\n{"item_id":9,"title":"Mug"}\n'),
    ],
)
def test_formats(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_titles(tmp_path / name) == {"007": "Two-person tent", "9": "Mug"}


def test_parquet_with_numbers(tmp_path):
    pl.DataFrame({"item_id": [7, 9, 7], "title": [1984, None, 1985]}).write_parquet(tmp_path / "t.parquet")
    assert read_titles(tmp_path / "t.parquet") == {"7": "1985"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("item_id,name\n7,tent\n", "no column 'title'.*Columns found: 'item_id', 'name'. Rename it."),
        ("item_id,title\n7,tent\n ,mug\n", "t.csv, .*3.*: the item_id is empty. Fill it in or remove the row."),
        ("", "is empty"),
    ],
)
def test_mistakes(tmp_path, content, text):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=text):
        read_titles(tmp_path / "t.csv")
