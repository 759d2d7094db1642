"""Requests for a load test, ready for the wire: histories drawn from the items that the model knows."""

from __future__ import annotations

import numpy as np

from laclrec_tf.serving.client.connection import ModelEndpoint
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.version.metadata import ServedItems

DIFFERENT_REQUESTS = 256


def load_requests(
    items: ServedItems, endpoint: ModelEndpoint, signature: str, rows: int, k: int, seed: int
) -> list[bytes]:
    """Make requests that differ in their histories.

    Args:
        items: what histories are drawn from: lengths from 1 to `max_length`, every item as likely.
        endpoint: the model asked.
        signature: `serving_default` or `retrieve`. The latter gets `k` and no exclusions; what else it takes is
            left to its defaults.
        rows: histories in each request.
        k: for `retrieve`.
        seed: the same seed gives the same requests.

    Returns:
        Serialised `PredictRequest`s.
    """
    generator = np.random.default_rng(seed)
    requests = []
    for _ in range(DIFFERENT_REQUESTS):
        lengths = generator.integers(1, items.max_length, rows, endpoint=True)
        ids = [generator.integers(1, items.vocabulary.n_items, length, endpoint=True) for length in lengths]
        inputs = {"history": padded_batch([items.vocabulary.to_items(row.tolist()) for row in ids])}
        if signature == "retrieve":
            inputs |= {"k": np.array(k, np.int32), "exclude": padded_batch([[]])}
        requests.append(endpoint.predict_request(signature, inputs).SerializeToString())
    return requests
