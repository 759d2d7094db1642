"""Signatures whose answers would depend on other requests are found out."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.serving.server.merging import Merging, probe_merging
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
    """`augment` is as wide as the longest history asked for with it; the lists of k items are not."""
    version = ServedVersion("shop", 1, exported)
    assert version.load()
    assert version.merging["serving_default"] is version.merging["retrieve"] is Merging.PADDED
    assert version.merging["augment"] is Merging.NEVER
    version.unload()
