"""Merging and splitting: every request gets its own rows back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.serving.server.merging import MAX_ELEMENTS, Merging, merged, merging_key, probe_merging, rows_of, split
from laclrec_tf.serving.server.served_model import ServedVersion

EXAMPLE = {"history": np.array([[b"a", b"b"], [b"c", b""]], object), "k": np.array(3)}


def longest(inputs):
    width = max(sum(item != b"" for item in row) for row in inputs["history"])
    return {"history": inputs["history"][:, :width]}


@pytest.mark.parametrize(
    ("run", "example", "expected"),
    [
        (lambda inputs: {"first": inputs["history"][:, 0]}, EXAMPLE, Merging.PADDED),
        (lambda inputs: {"history": inputs["history"]}, EXAMPLE, Merging.SAME_SHAPES),
        (longest, EXAMPLE, Merging.NEVER),
        (lambda inputs: {"rows": np.array(len(inputs["history"]))}, EXAMPLE, Merging.NEVER),
        (lambda inputs: {"one": np.zeros((1, 2))}, EXAMPLE, Merging.NEVER),
        (lambda inputs: {"x": inputs["x"]}, {"x": np.zeros((2, 3))}, Merging.PADDED),
        (lambda inputs: {"x": inputs["x"]}, {"x": np.zeros((1, 3))}, Merging.NEVER),
    ],
)
def test_probe(run, example, expected):
    assert probe_merging(run, example) is expected


def test_the_exported_signatures(exported):
    """The answer of `augment` is as wide as the longest history of the batch; lists of k items are not."""
    version = ServedVersion("shop", 1, exported)
    assert version.load()
    assert version.merging["serving_default"] is version.merging["retrieve"] is Merging.PADDED
    assert version.merging["augment"] is Merging.NEVER
    version.unload()


def strings(rows: list[list[str]]) -> np.ndarray:
    width = max(map(len, rows))
    return np.array([[item.encode() for item in row + [""] * (width - len(row))] for row in rows], object).reshape(
        len(rows), width
    )


@pytest.mark.parametrize(
    ("shapes", "rows"),
    [
        ([(3, 5), (1, 2), ()], 3),
        ([(1, 5), (4,)], 4),
        ([(1, 5)], 1),
        ([(3, 5), (2, 5)], None),
        ([(0, 5)], None),
        ([(3, 5), (0, 2)], None),
        ([()], None),
        ([], None),
    ],
)
def test_rows(shapes, rows):
    assert rows_of({str(i): np.zeros(shape) for i, shape in enumerate(shapes)}) == rows


def test_requests_of_different_widths_and_one_row_for_all():
    first = {"history": strings([["a"], ["b"]]), "exclude": strings([["x", "y"]]), "k": np.array(3)}
    second = {"history": strings([["c", "d"]]), "exclude": np.full((1, 0), b"", object), "k": np.array(3)}
    together = merged([first, second], [2, 1])
    assert together["history"].tolist() == [[b"a", b""], [b"b", b""], [b"c", b"d"]]
    assert together["exclude"].tolist() == [[b"x", b"y"], [b"x", b"y"], [b"", b""]]
    assert together["k"].item() == 3
    one, two = split({"n": np.array([1, 2, 3]), "m": np.array([[4], [5], [6]])}, [2, 1])
    assert (one["n"].tolist(), two["n"].tolist()) == ([1, 2], [3])
    assert (one["m"].tolist(), two["m"].tolist()) == ([[4], [5]], [[6]])


@pytest.mark.parametrize("shape", [(), (2,), (4, 1)])
def test_an_output_without_a_row_for_each_row_cannot_be_split(shape):
    assert split({"n": np.zeros(3), "odd": np.zeros(shape)}, [2, 1]) is None


def test_keys():
    def key(merging: Merging = Merging.PADDED, k: int = 3, width: int = 2, **more: np.ndarray) -> object:
        return merging_key({"history": np.full((1, width), b"a", object), "k": np.array(k), **more}, merging)

    assert key() == key(width=5) is not None
    assert key(k=4) != key()
    assert key(Merging.SAME_SHAPES, width=5) != key(Merging.SAME_SHAPES)
    assert key(Merging.SAME_SHAPES) == key(Merging.SAME_SHAPES)
    assert key(Merging.NEVER) is None
    assert key(weights=np.zeros((1, 2))) != key(weights=np.zeros((1, 3)))  # only strings have a padding
    assert key(each=np.array([3, 7])) == key(each=np.array([7])) != key(each=np.array([3]))  # the widest answer
    assert key(exclude=np.full((2, 1), b"", object)) == key()
    assert key(exclude=np.full((0, 1), b"", object)) is None  # no row at all
    assert key(width=MAX_ELEMENTS + 1) is None


def test_one_row_that_would_be_copied_too_often_runs_alone():
    inputs = {"history": np.full((64, 1), b"a", object), "exclude": np.full((1, 1024), b"", object)}
    assert merging_key(inputs, Merging.PADDED) is not None
    inputs["exclude"] = np.full((1, 1025), b"", object)
    assert merging_key(inputs, Merging.PADDED) is None


histories = st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), min_size=1, max_size=3)


@given(st.lists(histories, min_size=1, max_size=5))
def test_every_request_gets_back_what_it_would_alone(requests):
    inputs = [{"history": strings(rows)} for rows in requests]
    rows = [len(request) for request in requests]

    def items(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        joined = [b",".join(item for item in row if item) for row in given["history"]]
        return {"items": np.array(joined, object)}

    for part, alone in zip(split(items(merged(inputs, rows)), rows), map(items, inputs), strict=True):
        assert part["items"].tolist() == alone["items"].tolist()
