"""The record of pushes: a line for each, whatever happened to the one before."""

from __future__ import annotations

from datetime import datetime

from laclrec_tf.serving.release.publication import RECORD_FILE, append_record, read_record


def test_lines_come_back_in_order(tmp_path):
    append_record(tmp_path, "push", 1, candidate="größe/1")
    append_record(tmp_path, "remove", 1)
    first, second = read_record(tmp_path)
    assert {name: first[name] for name in ("action", "version", "candidate")} == {
        "action": "push",
        "version": 1,
        "candidate": "größe/1",
    }
    assert (second["action"], second["version"]) == ("remove", 1)
    assert datetime.fromisoformat(first["time"]).utcoffset().total_seconds() == 0
    assert len((tmp_path / RECORD_FILE).read_bytes().splitlines()) == 2


def test_a_line_cut_short_harms_no_other(tmp_path):
    append_record(tmp_path, "push", 1)
    with (tmp_path / RECORD_FILE).open("a") as file:
        file.write('{"action": "pu')
    append_record(tmp_path, "push", 2)
    append_record(tmp_path, "push", 3)
    assert [entry["version"] for entry in read_record(tmp_path)] == [1, 2, 3]


def test_lines_of_others_are_left_out(tmp_path):
    (tmp_path / RECORD_FILE).write_bytes(b'3\n{"version": "4"}\n\xff\n\n')
    append_record(tmp_path, "push", 5)
    assert [entry["version"] for entry in read_record(tmp_path)] == [5]
