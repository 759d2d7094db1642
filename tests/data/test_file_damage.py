"""Files that cannot be read: one line says what is wrong and where."""

from __future__ import annotations

import gzip

import pytest

from laclrec_tf.data.event_files import read_columns
from laclrec_tf.errors import InputError

JSON = b'{"user_id":1,"item_id":2,"timestamp":3}\n'
CSV = b"user_id,item_id,timestamp\n007,tent,1\n8,stove,2\n"
COLUMNS = {"user": "user_id", "item": "item_id", "time": "timestamp"}


def gzipped(content: bytes) -> bytes:
    """Compress without the time of day, which would be another parameter in each process that collects."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("cut.csv.gz", gzipped(CSV * 99)[:-12], "gzip content is damaged or cut off"),
        ("not.csv.gz", CSV, "gzip content is damaged or cut off"),
        ("flipped.csv.gz", gzipped(CSV)[:-6] + b"\0" * 6, "gzip content is damaged or cut off"),
        ("cut.parquet", b"PAR1" + b"\0" * 40, "not a whole Parquet file"),
        ("wide.csv", CSV + b"9,kayak,3,4\n", "row 3 (line 4) has 4 fields, the header has 3"),
        ("latin.csv", CSV + b"9,caf\xe9,3\n", "row 3 (line 4) is not UTF-8 text"),
        ("broken.jsonl", JSON + b'\n{"user_id":\n', "row 2 (line 3) is not JSON"),
        ("list.jsonl", JSON + b"[1]\n", "row 2 (line 2) is not a JSON object"),
        ("latin.jsonl", JSON + b'{"user_id":"caf\xe9"}\n', "row 2 (line 2) is not UTF-8 text"),
        ("quote.csv", CSV + b'9,5" nail,3\n', "row 3 (line 4) holds a quote that is not closed"),
        ("open.csv", CSV + b'9,"nail,3\n10,rope,4\n', "row 3 (line 4)"),
    ],
)
def test_damage_is_said_in_one_line_with_its_place(tmp_path, name, content, problem):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_columns(file, COLUMNS)
    message = str(raised.value)
    assert message.startswith(f"{file}: ") and problem in message
    assert len(message.splitlines()) == 1
