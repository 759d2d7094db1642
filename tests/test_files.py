"""One reader for every text file that a user hands over, and the SHA-256 of files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib

import pytest

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.item_vectors import read_neighbours, read_titles
from laclrec_tf.errors import InputError
from laclrec_tf.files import file_sha256, read_lines, read_text
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.server.config_files import read_batching_parameters, read_model_config
from laclrec_tf.study.config import StudyConfig
from laclrec_tf.training.config import read_settings

BOM = b"\xef\xbb\xbf"
# Every kind of text file: its name, its reader, a content, and what is read.
READERS = {
    "vocabulary": ("new.txt", lambda file: list(ItemVocabulary.read(file)), "tent\ncafé\n", ["tent", "café"]),
    "settings": ("config.yaml", read_settings, "width: 32\npreset: café\n", {"width": 32, "preset": "café"}),
    "study": (
        "study.yaml",
        lambda file: StudyConfig.read(file, to_train=False).data,
        "models: {one: {}}\ndata: {small: café}\n",
        {"small": "café"},
    ),
    "models": (
        "models.config",
        lambda file: [model.name for model in read_model_config(file).model_config_list.config],
        'model_config_list {\n config { name: "café" base_path: "/shop" model_platform: "tensorflow" }\n}\n',
        ["café"],
    ),
    "batching": (
        "batching.txt",
        lambda file: read_batching_parameters(file).max_batch_size,
        "max_batch_size { value: 32 }\n# café\n",
        32,
    ),
    "events": (
        "events.csv",
        lambda file: read_interactions(file).rows(),
        "user_id,item_id,timestamp\n1,café,3\n",
        [("1", "café", 3)],
    ),
    "events of JSON": (
        "events.jsonl",
        lambda file: read_interactions(file).rows(),
        '{"user_id":0,"item_id":"x","timestamp":2}\n{"user_id":1,"item_id":"café","timestamp":3}\n',
        [("0", "x", 2), ("1", "café", 3)],
    ),
    "neighbours": (
        "neighbours.tsv",
        lambda file: read_neighbours(file).rows(),
        "item\tneighbour\nnew\tcafé\n",
        [("new", "café", 1.0)],
    ),
    "titles": ("titles.csv", read_titles, "item_id,title\n007,Café\n", {"007": "Café"}),
}
VARIANTS = {
    "plain": lambda content: content,
    "byte order mark": lambda content: BOM + content,
    "Windows": lambda content: BOM + content.replace(b"\n", b"\r\n"),
    "old Macintosh": lambda content: BOM + content.replace(b"\n", b"\r"),
    "no last line end": lambda content: content.rstrip(),
    "no last line end of Windows": lambda content: content.replace(b"\n", b"\r\n").rstrip(),
    # In a table the first line is the header, and a space is a value.
    "blank lines": lambda content: (
        content + b"\n\r\n" if b"," in content or b"\t" in content else b"\n" + content + b"\n \n\r\n"
    ),
    "gzip": lambda content: gzip.compress(BOM + content),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", READERS)
def test_every_text_file_is_read_by_the_same_rules(tmp_path, kind, variant):
    name, read, content, expected = READERS[kind]
    (tmp_path / name).write_bytes(VARIANTS[variant](content.encode()))
    assert read(tmp_path / name) == expected


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.encode("latin-1"), "(line 2|line 2:).* not UTF-8.* Save the file as UTF-8.$"),
        (lambda text: text.encode("utf-16"), " is UTF-16 text. Save it as UTF-8.$"),
        (lambda text: text.encode("utf-16-be"), ", line 1: a NUL character, so it is not text. Save it as UTF-8.$"),
        (lambda text: gzip.compress(text.encode())[:-9], ": the gzip content is damaged or truncated. "),
        (lambda text: bz2.compress(text.encode()), " is compressed with bzip2. Decompress it, or compress it w"),
        (lambda text: lzma.compress(text.encode()), " is compressed with xz. "),
        (lambda text: zlib.compress(text.encode()), " is compressed with zlib. "),
        (lambda text: b"PK\x03\x04" + bytes(9), " is a ZIP archive or an Excel workbook. "),
        (lambda text: b"PAR1" + bytes(9), " is a Parquet file. Give it a name that ends in .parquet.$"),
    ],
)
def test_what_is_not_text_is_refused_in_one_line(tmp_path, kind, change, problem):
    name, read, content, _ = READERS[kind]
    (tmp_path / name).write_bytes(change(content))
    with pytest.raises(InputError, match=problem) as raised:
        read(tmp_path / name)
    assert str(raised.value).startswith(str(tmp_path / name)) and "\n" not in str(raised.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("length", [100, 1006, 1007, 1008, 5000])
def test_line_ends_are_recognised_behind_a_long_header(tmp_path, end, length):
    # 16 characters before the other column's name, so that the line ends around the 1,024th byte.
    file = tmp_path / "titles.csv"
    file.write_bytes(end.join(["item_id,title,xx" + "x" * length, "007,Tent,1", ""]).encode())
    assert read_titles(file) == {"007": "Tent"}
    assert read_text(file).split("\n")[1:] == ["007,Tent,1", ""]


def test_text_is_the_same_but_for_line_ends(tmp_path):
    file = tmp_path / "text"
    file.write_bytes(b"a\rb\r\n\xe2\x80\xa8c\x0bd")
    assert read_text(file) == "a\rb\n\u2028c\x0bd"
    assert read_lines(file) == [(1, "a\rb"), (2, "\u2028c\x0bd")]
    file.write_bytes(b"")
    assert read_text(file) == "" and read_lines(file) == []


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    for file, reason in ((tmp_path / "gone", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"^Cannot read {file}: {reason}. Check the path.$"):
            read_text(file)


def test_known_digests(tmp_path):
    """Those of FIPS 180-2: "abc", and a million times "a", which is more than is read at a time."""
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert file_sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    file.write_bytes(b"a" * 1_000_000)
    assert file_sha256(file) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "gone")
