"""Item vectors of co-occurrence and of neighbours, and the files of neighbours and titles."""

from __future__ import annotations

import gzip

import numpy as np
import polars as pl
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.item_vectors import (
    cooccurrence_vectors,
    cooccurrence_weights,
    mutual_information,
    neighbour_vectors,
    read_neighbours,
    read_titles,
)
from laclrec_tf.errors import InputError

ROWS = [("007", "tent", 2.0), ("007", "stove", 0.5)]
TABLE = np.array([[3.0, 4.0], [0.0, 10.0], [6.0, 0.0]])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"item_id,title,price\n007,Two-person  tent ,9\n8,\n9,Mug\n"),
        ("t.tsv.gz", gzip.compress(b"title\titem_id\nTwo-person tent\t007\nMug\t9\n", mtime=0)),
        ("t.jsonl", b'{"item_id":"007","title":"Two-person\\ntent"}\n{"item_id":9,"title":"Mug"}\n'),
    ],
)
def test_formats_of_titles(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_titles(tmp_path / name) == {"007": "Two-person tent", "9": "Mug"}


def test_parquet_with_numbers(tmp_path):
    pl.DataFrame({"item_id": [7, 9, 7], "title": [1984, None, 1985]}).write_parquet(tmp_path / "t.parquet")
    assert read_titles(tmp_path / "t.parquet") == {"7": "1985"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("item_id,name\n7,tent\n", "no column 'title'.*Columns found: 'item_id', 'name'. Rename the column."),
        ("item_id,title\n7,tent\n ,mug\n", "t.csv, .*3.*: the item_id is empty. Fill it in or remove the row."),
        ("", "is empty"),
    ],
)
def test_mistakes(tmp_path, content, text):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=text):
        read_titles(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("n.csv", b"item,neighbour,weight\n007,tent,2\n007,stove,0.5\n"),
        ("n.tsv", b"weight\tmore\tneighbour\titem\n2\tx\ttent\t007\n.5\ty\tstove\t007\n"),
        ("n.csv.gz", gzip.compress(b"item,neighbour,weight\n007,tent,2\n007,stove,0.5\n", mtime=0)),
        ("n.jsonl", b'{"item":"007","neighbour":"tent","weight":2}\n{"item":"007","neighbour":"stove","weight":0.5}\n'),
    ],
)
def test_formats_of_neighbours(tmp_path, name, content):
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


def test_a_weight_is_never_overlooked_because_it_comes_late(tmp_path):
    file = tmp_path / "n.jsonl"
    file.write_text('{"item":1,"neighbour":2}\n' * 2000 + '{"item":1,"neighbour":3,"weight":5}\n')
    with pytest.raises(InputError, match=r"row 1 \(line 1\): the weight None is not a finite number above 0"):
        read_neighbours(file)
    file.write_text('{"item":1,"neighbour":2,"weight":5,"x":NaN}\n' * 2000)
    assert read_neighbours(file)["weight"].unique().to_list() == [5.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "item,neighbour,weight\na,b,1\nc,d,much\n",
            r"row 2 \(line 3\): the weight 'much' is not a finite number above 0. Correct the row.",
        ),
        ("item,neighbour,weight\na,b,0\n", r"row 1 \(line 2\): the weight '0' is not a"),
        ("item,neighbour,weight\na,b,-1\n", r"the weight '-1' is not a"),
        ("item,neighbour,weight\na,b,nan\n", r"the weight 'nan' is not a"),
        ("item,neighbour,weight\na,b,inf\n", r"the weight 'inf' is not a"),
        ("item,neighbour,weight\na,b,\n", r"the weight None is not a"),
        ("item,neighbour\na,b\n,b\n", r"row 2 \(line 3\): the item is empty. Fill it in"),
        ("item,neighbour\na, \n", r"row 1 \(line 2\): the neighbour is empty. Fill it in"),
        ("item,neighbor\na,b\n", r"no column 'neighbour'. Did you mean neighbor\? .* Rename the column.$"),
        ("item,neighbour,weight,weight\na,b,1,2\n", r"the column 'weight' occurs 2 times"),
        ("item,neighbour\n", "contains no rows"),
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
    with pytest.raises(InputError, match="not a complete Parquet file"):
        read_neighbours(tmp_path / "n.parquet")


def weights(*rows):
    return scipy.sparse.csr_array(np.array(rows, float).reshape(-1, 3))


def test_a_row_by_hand():
    # 3/4 (3, 4) + 1/4 (0, 10) = (2.25, 5.5); mean norm 3/4 * 5 + 1/4 * 10 = 6.25, of which 0.85.
    rows, found = neighbour_vectors(weights([3, 1, 0]), TABLE)
    expected = np.array([2.25, 5.5]) / np.hypot(2.25, 5.5) * 6.25 * 0.85
    np.testing.assert_allclose(rows, [expected], rtol=1e-6)
    assert rows.dtype == np.float32
    assert found.tolist() == [True]


def test_one_neighbour_gives_a_shorter_copy_of_its_row():
    rows, _ = neighbour_vectors(weights([0, 7, 0]), TABLE)
    np.testing.assert_allclose(rows, [[0, 8.5]], rtol=1e-6)


def test_without_neighbours_the_mean_of_all_rows():
    rows, found = neighbour_vectors(weights([0, 0, 0], [0, 0, 1]), TABLE)
    np.testing.assert_allclose(rows, [[3, 14 / 3], [5.1, 0]], rtol=1e-6)
    assert found.tolist() == [False, True]


@given(st.integers(0, 2**32 - 1))
def test_an_item_that_nothing_is_known_of_is_never_the_best(seed):
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(30, 4)) + generator.normal(size=4)
    rows, _ = neighbour_vectors(scipy.sparse.csr_array((1, 30)), table)
    user = generator.normal(size=4)
    assert (rows @ user)[0] < (table @ user).max()


def test_opposite_neighbours_leave_a_short_row():
    rows, found = neighbour_vectors(weights([1, 0, 1]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    assert rows.tolist() == [[0.0, 0.0]]
    assert found.tolist() == [True]


def test_no_new_item_no_row():
    rows, found = neighbour_vectors(weights(), TABLE)
    assert rows.shape == (0, 2) and found.shape == (0,)


def test_arguments_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="same number of old items. Received: 3 and 2"):
        neighbour_vectors(weights([1, 0, 0]), TABLE[:2])
    with pytest.raises(InputError, match="`share_of_norm` must be above 0. Received: 0"):
        neighbour_vectors(weights([1, 0, 0]), TABLE, share_of_norm=0)


def test_cooccurrence_by_hand():
    # Old 1, 2, 3, new 4, 5: item 4 stands beside 1, two from 2, beside 3 and two from 3; 5 beside 2, two from 1.
    histories = [np.array([2, 1, 4]), np.array([1, 2, 5]), np.array([3, 3, 4])]
    counts = cooccurrence_weights(histories, n_items=3, n_new=2, window=2).toarray()
    np.testing.assert_allclose(counts, [[1, 0.5, 1.5], [0.5, 1, 0]])


def test_new_items_are_no_neighbours_of_each_other():
    counts = cooccurrence_weights([np.array([3, 4, 3, 4])], n_items=2, n_new=2)
    assert counts.shape == (2, 2) and counts.nnz == 0


def test_an_unknown_id_is_refused():
    with pytest.raises(InputError, match="ids from 1 to 3. Received: 1 to 4"):
        cooccurrence_weights([np.array([1, 4])], n_items=2, n_new=1)


def test_mutual_information_by_hand():
    # Pairs: {1, 2} 1, {2, 3} 1 and, two apart, {1, 3} 1/2; ends of pairs: 1.5, 2, 1.5, of 5.
    information = mutual_information([np.array([1, 2, 3])], n_items=4, window=2).toarray()
    near, far = np.log(1 * 5 / (1.5 * 2)), np.log(0.5 * 5 / (1.5 * 1.5))
    expected = [[0, near, far, 0], [near, 0, near, 0], [far, near, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(information, expected, rtol=1e-12)


def test_what_meets_less_often_than_by_chance_has_no_information():
    # {1, 2} meet once, each meets itself in turn with 3 and 4 nine times: 1 * 38 / (10 * 10) < 1.
    histories = [np.array([1, 2]), *[np.array([1, 3])] * 9, *[np.array([2, 4])] * 9]
    information = mutual_information(histories, n_items=4, window=1).toarray()
    assert information[0, 1] == 0
    assert information[0, 2] == pytest.approx(np.log(9 * 38 / (10 * 9)))


def test_vectors_are_the_strongest_directions():
    # {1, 2} and {1, 5} once each: on 1, 2, 5 the matrix has the directions (1, 0, 0) and (0, 1, 1) / sqrt 2.
    # {3, 4} has its own two. All four are kept, so products of vectors are the projection on them.
    histories = [np.array([1, 2]), np.array([3, 4]), np.array([5, 1])]
    vectors = cooccurrence_vectors(histories, n_items=5, width=4, window=1).astype(float)
    expected = np.diag([1, 0.5, 1, 1, 0.5])
    expected[1, 4] = expected[4, 1] = 0.5
    products = vectors @ vectors.T
    np.testing.assert_allclose(products / products[0, 0], expected, atol=1e-6)
    assert np.mean(vectors**2) == pytest.approx(0.01, rel=1e-6)


def test_windows_end_with_the_history():
    together = mutual_information([np.array([1, 2, 3, 4])], n_items=4, window=3).toarray()
    apart = mutual_information([np.array([1, 2]), np.array([3, 4])], n_items=4, window=3).toarray()
    assert together[1, 2] > 0 == apart[1, 2]


def test_no_coordinate_carries_more_than_another():
    generator = np.random.default_rng(0)
    histories = [generator.integers(1, 101, size=20) for _ in range(200)]
    spread = cooccurrence_vectors(histories, n_items=100, width=8).std(axis=0)
    assert spread.max() < 2 * spread.min()  # unturned, the strongest direction alone has three times the weakest


def test_items_without_neighbours_begin_small_and_apart():
    vectors = cooccurrence_vectors([np.array([1, 2, 1]), np.array([4])], n_items=400, width=16)
    assert vectors.dtype == np.float32 and vectors.shape == (400, 16)
    assert vectors[2:].std() == pytest.approx(0.02, rel=0.1)
    assert len(np.unique(vectors[2:], axis=0)) == 398


@pytest.mark.parametrize(("n_items", "width"), [(1, 4), (2, 4), (5, 4), (4, 64)])
def test_catalogues_smaller_than_a_vector(n_items, width):
    vectors = cooccurrence_vectors([np.arange(1, n_items + 1)] * 2, n_items, width)
    assert vectors.shape == (n_items, width)
    assert np.isfinite(vectors).all() and vectors.any(axis=1).all()


def test_the_seed_decides():
    histories = [np.array([1, 2, 3]), np.array([2, 3, 4]), np.array([4, 5, 6])]
    first, again, other = (cooccurrence_vectors(histories, 6, 3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first @ first.T, other @ other.T, atol=1e-5)
    assert abs(first - other).max() > 1e-3


def test_which_of_two_opposite_directions_is_found_does_not_matter(monkeypatch):
    histories = [np.array([1, 2, 3]), np.array([2, 3, 4]), np.array([4, 5, 6])]
    expected, svds = cooccurrence_vectors(histories, 6, 3), scipy.sparse.linalg.svds

    def another_processor(*arguments, **settings):
        directions, strengths, others = svds(*arguments, **settings)
        return directions * [-1, 1, -1], strengths, others

    monkeypatch.setattr(scipy.sparse.linalg, "svds", another_processor)
    np.testing.assert_array_equal(cooccurrence_vectors(histories, 6, 3), expected)


@pytest.mark.parametrize("histories", [[], [np.array([], np.int32)], [np.array([3])], [np.array([2, 2])]])
def test_histories_without_pairs(histories):
    assert np.isfinite(cooccurrence_vectors(histories, n_items=3, width=2)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_items": 0}, "Argument `n_items` must be at least 1. Received: 0."),
        ({"width": 0}, "Argument `width` must be at least 1. Received: 0."),
        ({"window": 0}, "Argument `window` must be at least 1. Received: 0."),
        ({"scale": 0.0}, "Argument `scale` must be above 0. Received: 0.0."),
        ({"n_items": 2}, "Argument `histories` must hold ids from 1 to 2. Received: 1 to 3."),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError) as error:
        cooccurrence_vectors([np.array([1, 2, 3])], **({"n_items": 3, "width": 2} | arguments))
    assert str(error.value) == message
