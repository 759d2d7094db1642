"""How a version finds items, in words."""

from __future__ import annotations

from laclrec_tf.serving.index_description import index_description


def test_partitions_are_described_with_what_was_measured():
    index = {
        "kind": "partitioned",
        "partitions": 9,
        "probes": 4,
        "int8": False,
        "recall@20": 1.0,
        "measured_on": "2 drawn histories",
    }
    assert index_description(index) == (
        "partitioned index: 4 of 9 partitions, recall@20 1.0000 against exact on 2 drawn histories"
    )
    assert ", scores from int8," in index_description(index | {"int8": True})
