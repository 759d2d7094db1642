"""How well a version recommends, measured by asking it for held-out items as a shopper would be served."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.metrics.ranking import ranking_metrics
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.models import recommend_in_batches
from laclrec_tf.serving.serving_error import ServingError


@dataclass(frozen=True)
class HeldOutItems:
    """What versions of different trainings can be compared on.

    Args:
        source: where they come from, for people to read.
        histories: per shopper the item strings before the held-out one, oldest first; at least one shopper.
        targets: per shopper the held-out item.
    """

    source: str
    histories: Sequence[Sequence[str]]
    targets: Sequence[str]

    def __repr__(self) -> str:
        return f"HeldOutItems({len(self.targets):,} shoppers, {self.source})"


def k_of(metric: str) -> int:
    """Read from a metric's name how many items tell it.

    Args:
        metric: "recall@k", "mrr@k" or "ndcg@k".

    Returns:
        k.

    Raises:
        InputError: it is none of these.

    Example:
        >>> k_of("ndcg@10")
        10
    """
    match = re.fullmatch(r"(?:recall|mrr|ndcg)@([1-9]\d{0,3})", metric)
    if match is None:
        raise InputError(f"Argument `metric` must be recall@k, mrr@k or ndcg@k to be measured. Received: '{metric}'.")
    return int(match.group(1))


def measure_version(version_folder: Path, held_out: HeldOutItems, k: int) -> dict[str, float]:
    """Ask a version for the best k items of each history, without the history's own, and look for the held-out one.

    An item the version does not know, has retired or finds in the history is missed, as it would be in service.

    Args:
        version_folder: the version's folder.
        held_out: histories and held-out items.
        k: how many items are asked for.

    Returns:
        "recall@k", "mrr@k" and "ndcg@k", averaged over the shoppers, in `[0, 1]`.

    Raises:
        InputError: the version cannot be loaded or does not answer.
    """
    model = LoadedModel(version_folder)
    targets = np.array([target.encode() for target in held_out.targets], dtype=object)
    ranks = np.full(len(targets), k)
    try:
        for rows, answers in recommend_in_batches(model, held_out.histories, k=k):
            found = answers["item_ids"] == targets[rows][:, np.newaxis]
            ranks[rows] = np.where(found.any(axis=1), found.argmax(axis=1), k)
    except ServingError as error:
        raise InputError(f"{version_folder} does not recommend: {error.message}. Export the model again.") from error
    finally:
        model.close()
    return ranking_metrics(ranks, (k,))
