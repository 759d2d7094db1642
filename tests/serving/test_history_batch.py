"""Lists of histories of any kind, as padded arrays."""

from __future__ import annotations

import numpy as np

from laclrec_tf.serving.history_batch import as_histories, padded_batch


def test_histories_of_any_kind_of_list():
    assert as_histories("history", np.array(["a", "b"])) == [["a", "b"]]
    assert as_histories("history", (item for item in "ab")) == [["a", "b"]]
    assert as_histories("history", [("a",), ["b"], []]) == [["a"], ["b"], []]


def test_padded_batch():
    assert padded_batch([["é", "b"], [], ["c"]]).tolist() == [["é".encode(), b"b"], [b"", b""], [b"c", b""]]
    assert padded_batch([[], []]).shape == (2, 0)
