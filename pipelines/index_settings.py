"""How an exported model finds the best items of its catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.retriever.partitioned_index import (
    DEFAULT_RECALL,
    RECALL_AT,
    PartitionedIndex,
    Partitions,
    index_with_recall,
    partition,
)
from laclrec_tf.serving.retriever.retriever import Retriever
from laclrec_tf.serving.version.warmup import example_histories

N_QUERIES = 512


@dataclass(frozen=True)
class IndexSettings:
    """Settings of `laclrec-tf export`.

    Args:
        kind: "exact" scores all items, "partitioned" those of some partitions. Default: "exact".
        recall: for partitions: the share of the 20 best items to be found, above 0 to 1. Default: None, 0.98.
        n_partitions: for partitions: how many to begin with; large ones are cut. Default: None, the square root of the
            number of items.
        int8: for partitions: look for items with 8-bit vectors. Default: False.

    Raises:
        InputError: a setting is out of its range, or is given although all items are scored.

    Example:
        >>> IndexSettings(recall=0.9)
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: --recall, --partitions and --int8 are settings of `--index partitioned`.
    """

    kind: str = "exact"
    recall: float | None = None
    n_partitions: int | None = None
    int8: bool = False

    def __post_init__(self) -> None:
        if self.kind == "exact" and (self.recall, self.n_partitions, self.int8) != (None, None, False):
            raise InputError("--recall, --partitions and --int8 are settings of `--index partitioned`.")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InputError(f"Argument `recall` must be above 0 and at most 1. Received: recall={self.recall}.")
        if self.n_partitions is not None and self.n_partitions < 1:
            raise InputError(
                f"Argument `n_partitions` (--partitions) must be at least 1. Received: {self.n_partitions}."
            )

    def partition(self, table: np.ndarray, item_ids: np.ndarray) -> Partitions:
        """Cluster items `[M]` by their rows in a table `[N + 3, D]`."""
        n_partitions = self.n_partitions or max(1, round(np.sqrt(len(item_ids))))
        return partition(table[item_ids], item_ids, n_partitions)


def partitioned_index(
    folder: RunFolder, retriever: Retriever, settings: IndexSettings
) -> tuple[PartitionedIndex, dict[str, Any]]:
    """Cluster a run's items and look into as few partitions as the recall needs.

    The recall is measured on the histories that the run was trained on, where its data still lies; else on histories
    drawn at random.

    Args:
        folder: the run.
        retriever: the run's, which scores all items.
        settings: of the partitions.

    Returns:
        The index and its description: kind, partitions, probes, int8, recall, and what histories measured it.
    """
    vectors = np.array(retriever.exact_index.item_vectors())
    active = np.setdiff1d(np.arange(1, retriever.n_items + 1), [*retriever.retired_ids]).astype(np.int32)
    partitions = settings.partition(vectors, active)
    users, source = user_vectors(folder, retriever)
    index = index_with_recall(
        retriever.exact_index, partitions, users, settings.recall or DEFAULT_RECALL, settings.int8
    )
    return index, {
        "kind": "partitioned",
        "partitions": index.n_partitions,
        "probes": index.n_probes,
        "int8": index.int8,
        f"recall@{RECALL_AT}": round(index.recall(retriever.exact_index, users), 4),
        "measured_on": f"{len(users)} {source} histories",
    }


def user_vectors(folder: RunFolder, retriever: Retriever) -> tuple[np.ndarray, str]:
    """Embed histories of a run's users.

    Args:
        folder: the run.
        retriever: the run's.

    Returns:
        `[B, D]` float32, at most 512, and where the histories come from: "trained" or "drawn".
    """
    histories, source = _histories(folder, retriever)
    return retriever.embed_history(tf.constant(padded_batch(histories), tf.string))["user_vectors"].numpy(), source


def _histories(folder: RunFolder, retriever: Retriever) -> tuple[list[list[str]], str]:
    try:
        _, histories = folder.data.histories()
    except InputError:
        examples = example_histories(folder.vocabulary, retriever.max_length)
        return [history for history in examples if history][:-1], "drawn"
    chosen = np.random.default_rng(0).permutation(len(histories))[:N_QUERIES]
    return [folder.vocabulary.to_items(histories[i][-retriever.max_length :].tolist()) for i in chosen], "trained"
