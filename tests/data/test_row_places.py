"""Where a row stands: lines of text, rows of Parquet."""

from __future__ import annotations

import gzip
from pathlib import Path

from laclrec_tf.data.event_files import row_place


def written(tmp_path: Path, name: str, content: bytes) -> Path:
    file = tmp_path / name
    file.write_bytes(content)
    return file


def test_rows_are_placed_by_line_where_the_file_has_lines(tmp_path):
    content = b'a,b\n"x\ny",1\n\nz,2\nw,3\n'
    file = written(tmp_path, "events.csv", content)
    assert [row_place(file, row) for row in (1, 2, 3, 4)] == [
        "row 1 (line 2)",
        "row 2 (line 4)",
        "row 3 (line 5)",
        "row 4 (line 6)",
    ]
    zipped = written(tmp_path, "events.csv.gz", gzip.compress(content))
    assert row_place(zipped, 4) == "row 4 (line 6)"
    assert row_place(written(tmp_path, "events.jsonl", b"{}\n\n{}\n"), 2) == "row 2 (line 3)"
    assert row_place(written(tmp_path, "events.parquet", b""), 2) == "row 2"
