"""Which files are events, and how their text is opened."""

from __future__ import annotations

import gzip

import pytest

from laclrec_tf.data.event_files import ending_of, open_text, source_of
from laclrec_tf.errors import InputError


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.csv", ".csv"),
        ("A.TSV", ".tsv"),
        ("a.2024.csv.gz", ".csv"),
        ("a.ndjson.GZ", ".ndjson"),
        ("a.parquet", ".parquet"),
    ],
)
def test_the_ending_tells(tmp_path, name, ending):
    (tmp_path / name).touch()
    assert ending_of(tmp_path / name) == ending


@pytest.mark.parametrize("name", ["events.xlsx", "events", "events.parquet.gz", "events.gz", ".csv.zip"])
def test_unknown_endings_list_the_known_ones(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match="unknown ending. Known: .csv, .tsv, .jsonl, .ndjson, .parquet"):
        ending_of(tmp_path / name)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="events.csv does not exist. Check the path"):
        ending_of(tmp_path / "events.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="folder.csv is a folder. Name the files in it"):
        ending_of(tmp_path / "folder.csv")


def test_text_is_opened_without_its_mark_and_whatever_its_bytes(tmp_path):
    content = b"\xef\xbb\xbfcaf\xe9\r\n"
    plain, zipped, clean = tmp_path / "a.csv", tmp_path / "a.csv.gz", tmp_path / "clean.csv"
    plain.write_bytes(content)
    zipped.write_bytes(gzip.compress(content))
    clean.write_bytes(b"a\n")
    for file in (plain, zipped):
        with open_text(file) as text:
            assert text.read() == "caf\ufffd\r\n"
        assert source_of(file) == b"caf\xe9\r\n"
    assert source_of(clean) == clean
