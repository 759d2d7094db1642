"""Files of neighbours: every format, with and without weights, and what is wrong with a row."""

from __future__ import annotations

import gzip

import polars as pl
import pytest

from laclrec_tf.data.item_vectors import read_neighbours
from laclrec_tf.errors import InputError

ROWS = [("007", "tent", 2.0), ("007", "stove", 0.5)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("n.csv", b"item,neighbour,weight\n007,tent,2\n007,stove,0.5\n"),
        ("n.tsv", b"weight\tmore\tneighbour\titem\n2\tx\ttent\t007\n.5\ty\tstove\t007\n"),
        ("n.csv.gz", gzip.compress(b"item,neighbour,weight\n007,tent,2\n007,stove,0.5\n", mtime=0)),
        ("n.jsonl", b'{"item":"007","neighbour":"tent","weight":2}\n{"item":"007","neighbour":"stove","weight":0.5}\n'),
    ],
)
def test_formats(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_neighbours(tmp_path / name).rows() == ROWS


def test_parquet(tmp_path):
    pl.DataFrame({"item": [7, 7], "neighbour": [1, 2], "weight": [2, 3]}).write_parquet(tmp_path / "n.parquet")
    assert read_neighbours(tmp_path / "n.parquet").rows() == [("7", "1", 2.0), ("7", "2", 3.0)]


def test_without_weights_all_weigh_the_same(tmp_path):
    (tmp_path / "n.csv").write_text("item,neighbour\n007,tent\n007,stove\n")
    assert read_neighbours(tmp_path / "n.csv")["weight"].to_list() == [1.0, 1.0]
    (tmp_path / "n.jsonl").write_text('{"item":1,"neighbour":2}\n')
    assert read_neighbours(tmp_path / "n.jsonl").rows() == [("1", "2", 1.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "item,neighbour,weight\na,b,1\nc,d,much\n",
            r"row 2 \(line 3\): the weight 'much' is no finite number above 0",
        ),
        ("item,neighbour,weight\na,b,0\n", r"row 1 \(line 2\): the weight '0' is no"),
        ("item,neighbour,weight\na,b,-1\n", r"the weight '-1' is no"),
        ("item,neighbour,weight\na,b,nan\n", r"the weight 'nan' is no"),
        ("item,neighbour,weight\na,b,inf\n", r"the weight 'inf' is no"),
        ("item,neighbour,weight\na,b,\n", r"the weight None is no"),
        ("item,neighbour\na,b\n,b\n", r"row 2 \(line 3\): the item is empty. Fill it in"),
        ("item,neighbour\na, \n", r"row 1 \(line 2\): the neighbour is empty. Fill it in"),
        ("item,neighbor\na,b\n", r"no column 'neighbour'. Did you mean neighbor\? .* Rename it.$"),
        ("item,neighbour,weight,weight\na,b,1,2\n", r"the column 'weight' comes 2 times"),
        ("item,neighbour\n", "holds no rows"),
        ("", "is empty"),
    ],
)
def test_mistakes_are_named(tmp_path, content, message):
    file = tmp_path / "n.csv"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_neighbours(file)
    assert str(error.value).startswith(str(file))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="n.csv does not exist"):
        read_neighbours(tmp_path / "n.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_neighbours(tmp_path)
    (tmp_path / "n.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        read_neighbours(tmp_path / "n.parquet")
