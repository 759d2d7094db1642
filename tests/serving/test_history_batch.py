"""Lists of histories of any kind, as padded arrays."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.history_batch import as_histories, equal_rows, padded_batch


def test_histories_of_any_kind_of_list():
    assert as_histories("history", np.array(["a", "b"])) == [["a", "b"]]
    assert as_histories("history", (item for item in "ab")) == [["a", "b"]]
    assert as_histories("history", [("a",), ["b"], []]) == [["a"], ["b"], []]


def test_padded_batch():
    assert padded_batch([["é", "b"], [], ["c"]]).tolist() == [["é".encode(), b"b"], [b"", b""], [b"c", b""]]
    assert padded_batch([[], []]).shape == (2, 0)


def test_equal_rows():
    inputs = {"history": padded_batch([["a"], ["b"]]), "allow": padded_batch([[]]), "k": np.array([2, 3], np.int32)}
    equal = equal_rows(inputs | {"exclude_history": np.array(False)}, width=2)
    assert {name: array.tolist() for name, array in equal.items()} == {
        "history": [[b"a", b""], [b"b", b""]],
        "allow": [[b"", b""], [b"", b""]],
        "k": [2, 3],
        "exclude_history": [False, False],
    }
    assert equal["k"].dtype == np.int32
    with pytest.raises(InputError, match=r"row_width=1 and 2 items in `history`. Give all clients a larger one"):
        equal_rows({"history": padded_batch([["a", "b"]])}, width=1)
