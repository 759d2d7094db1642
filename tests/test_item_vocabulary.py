"""Item strings and their ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import LINE_BREAKS, PAD_ID, ItemVocabulary

ITEMS = st.text(st.characters(exclude_characters=LINE_BREAKS, exclude_categories=["Cs"]), min_size=1)


def test_items_have_the_ids_from_one_and_special_tokens_follow():
    vocabulary = ItemVocabulary(["tent", "stove", "007"])
    assert vocabulary.items == ("tent", "stove", "007")
    assert vocabulary.n_items == len(vocabulary) == 3
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.mask_id, vocabulary.table_size) == (0, 4, 5, 6)
    assert PAD_ID == 0
    assert vocabulary.to_ids(["007", "kayak", "tent"]) == [3, 0, 1]
    assert vocabulary.to_items([2, 2, 1]) == ["stove", "stove", "tent"]
    assert "stove" in vocabulary and "kayak" not in vocabulary
    assert list(vocabulary) == ["tent", "stove", "007"]


@pytest.mark.parametrize("item_id", [0, -1, 3, 4])
def test_an_id_without_a_string_is_an_error(item_id):
    with pytest.raises(InputError, match=f"must contain ids from 1 to 2. Received: {item_id}"):
        ItemVocabulary(["a", "b"]).to_items([item_id])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "at least one item"),
        (["a", ""], "must be non-empty strings. Received: '' as item 2"),
        (["a", 7], "must be non-empty strings. Received: 7 as item 2"),
        (["a", "b", "a"], "Received: 'a' as items 1 and 3"),
        *[([f"a{character}b"], "must not contain a line break") for character in LINE_BREAKS],
    ],
)
def test_items_that_are_refused(items, message):
    with pytest.raises(InputError) as raised:
        ItemVocabulary(items)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@given(st.lists(ITEMS, min_size=1, unique=True))
def test_saved_items_are_loaded(tmp_path_factory, items):
    file = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    ItemVocabulary(items).save(file)
    assert file.read_bytes() == "".join(f"{item}\n" for item in items).encode()
    assert ItemVocabulary.load(file) == ItemVocabulary(items)


def test_equality_includes_the_order():
    assert ItemVocabulary(["a", "b"]) == ItemVocabulary(["a", "b"])
    assert hash(ItemVocabulary(["a", "b"])) == hash(ItemVocabulary(["a", "b"]))
    assert ItemVocabulary(["a", "b"]) != ItemVocabulary(["b", "a"])
    assert ItemVocabulary(["a"]) != ("a",)


def test_repr_shows_size_and_first_items():
    assert repr(ItemVocabulary("abcd")) == "ItemVocabulary(4 items: 'a', 'b', 'c', ...)"
    assert repr(ItemVocabulary("ab")) == "ItemVocabulary(2 items: 'a', 'b')"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"caf\xe9\n", r"is not UTF-8 text \(byte 3\)"),
        (b"", "is damaged"),
        (b"a\n\nb\n", "is damaged.*as item 2"),
        (b"a\r\nb\r\n", "is damaged.*line break"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content, message):
    file = tmp_path / "vocabulary.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=f"vocabulary.txt.*{message}|{message}"):
        ItemVocabulary.load(file)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", " names no item. Write one item on each line."),
        (b"\n  \n", " names no item. Write one item on each line."),
        (b"tent\n\nmug\ntent\n", ", line 4: the item 'tent' is on line 1 already. Remove one of them."),
        (b"tent\nm\x0bug\n", r", line 2: the item 'm\x0bug' contains a line break. Remove it."),
        (b"tent\rmug\nstove\n", r", line 1: the item 'tent\rmug' contains a line break. Remove it."),
    ],
)
def test_a_mistake_in_a_catalogue_has_its_line(tmp_path: Path, content, problem):
    file = tmp_path / "catalogue.txt"
    file.write_bytes(content)
    with pytest.raises(InputError) as raised:
        ItemVocabulary.read(file)
    assert str(raised.value) == f"{file}{problem}"


def test_a_catalogue_keeps_the_items_as_they_are(tmp_path: Path):
    file = tmp_path / "catalogue.txt"
    file.write_text(" tent \n\n007\n#1\n", encoding="utf-8")
    assert ItemVocabulary.read(file).items == (" tent ", "007", "#1")
