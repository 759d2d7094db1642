"""Requests for a load test, ready for the wire: histories drawn from the items that the model knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.model_endpoint import ModelEndpoint
from laclrec_tf.serving.model_versions import newest_version

DIFFERENT_REQUESTS = 256


@dataclass(frozen=True)
class ServedItems:
    """What a load test must know of a model.

    Args:
        vocabulary: the items.
        max_length: the longest history that the model reads.
    """

    vocabulary: ItemVocabulary
    max_length: int

    @classmethod
    def read(cls, model: Path) -> ServedItems:
        """Read them from the newest version in a model's folder.

        Raises:
            InputError: there is no version, or it was not written by `laclrec-tf export`.
        """
        _, folder = newest_version(model)
        try:
            about = json.loads((folder / "assets.extra" / "metadata.json").read_text(encoding="utf-8"))
            return cls(ItemVocabulary.load(folder / "assets" / "vocabulary.txt"), int(about["max_length"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder} does not say which items it knows, so no histories can be drawn. "
                "Give a model that `laclrec-tf export` wrote."
            ) from error


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
