"""Whether a candidate recommends well enough to take the place of the version that is served."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.metrics.ranking import ranking_metrics
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.models import recommend_in_batches
from laclrec_tf.serving.version.metadata import METRICS_FILE, Evaluation, ModelMetrics, index_recall

METRIC = "ndcg@10"
TOLERANCE = 0.02


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
    finally:
        model.close()
    return ranking_metrics(ranks, (k,))


@dataclass(frozen=True)
class Comparison:
    """One number of a candidate and of the version that is served, measured alike.

    Args:
        metric: its name.
        evaluation: the split and protocol of both.
        candidate: the candidate's number.
        serving: the other one's.
        tolerance: how much worse the candidate may be, as a share of `serving`.
        candidate_users: how many histories the candidate was asked. Default: None, not recorded.
        serving_users: how many the other one; others when items were retired in between, since whoever's held-out
            item is one of them is not asked. Default: None.
    """

    metric: str
    evaluation: str
    candidate: float
    serving: float
    tolerance: float
    candidate_users: int | None = None
    serving_users: int | None = None

    @property
    def is_good_enough(self) -> bool:
        """Whether the candidate is not worse beyond the tolerance."""
        return self.candidate >= self.serving * (1 - self.tolerance)

    def __str__(self) -> str:
        """Say both numbers in one line."""
        change = f" ({self.candidate / self.serving - 1:+.1%})" if self.serving else ""
        users = ""
        if None not in (self.candidate_users, self.serving_users) and self.candidate_users != self.serving_users:
            users = f", {self.candidate_users:,} users against {self.serving_users:,}"
        return f"{self.metric} {self.candidate:.4f} against {self.serving:.4f}{change} on {self.evaluation}{users}"


def check_bar(metric: str, tolerance: float) -> None:
    """Refuse a tolerance that cannot be one, before any work.

    Raises:
        InputError: `tolerance` is not in [0, 1), or `metric` is empty.
    """
    if not (math.isfinite(tolerance) and 0 <= tolerance < 1):
        raise InputError(f"Argument `tolerance` must be at least 0 and below 1. Received: {tolerance}.")
    if not metric:
        raise InputError(f"Argument `metric` must name a metric, {METRIC} for one. Received: ''.")


def bless(candidate: Path, serving: Path, *, metric: str = METRIC, tolerance: float = TOLERANCE) -> Comparison:
    """Compare a candidate with the version that is served.

    Only numbers of the same data, split and protocol are compared; of several such the test split's, and the protocol
    "full", come first. They are of all items scored, so an index that finds only some of them is compared apart, by
    its recall.

    Args:
        candidate: the candidate's version folder.
        serving: the folder of the version that is served.
        metric: one of which more is better. Default: "ndcg@10".
        tolerance: how much worse the candidate may be, as a share of the other's number. Default: 0.02.

    Returns:
        The comparison; the candidate stood it.

    Raises:
        InputError: the candidate is worse, or the two cannot be compared; the message says why.
    """
    check_bar(metric, tolerance)
    remedy = "Push with --force to do without the comparison."
    try:
        ours, theirs = ModelMetrics.read(candidate), ModelMetrics.read(serving)
    except InputError as error:
        raise InputError(f"{candidate} cannot be compared with {serving}: {error} {remedy}") from None
    if ours.data_hash is None or ours.data_hash != theirs.data_hash:
        raise InputError(
            f"{candidate} cannot be compared with {serving}: they were not measured on the same data (hash "
            f"{_short(ours.data_hash)} and {_short(theirs.data_hash)}). Give --data to measure both on, or push with "
            "--force."
        )
    comparison = _comparison(ours, theirs, metric, tolerance)
    if comparison is None:
        raise InputError(
            f"{candidate} cannot be compared with {serving}: no {metric} of the same split and protocol is in the "
            f"{METRICS_FILE.name} of both. {_remedy(ours, theirs, metric)} {remedy}"
        )
    _good_enough(comparison, candidate, serving)
    _check_index(candidate, serving, tolerance)
    return comparison


def bless_on(
    held_out: HeldOutItems, candidate: Path, serving: Path, *, metric: str = METRIC, tolerance: float = TOLERANCE
) -> Comparison:
    """Compare a candidate with the version that is served, asking both for the same held-out items.

    For versions of different data, such as last week's and this week's. The served version has not been trained on
    what came since.

    Args:
        held_out: histories and held-out items, of which the candidate was trained on the former at most.
        candidate: the candidate's version folder.
        serving: the folder of the version that is served.
        metric: "recall@k", "mrr@k" or "ndcg@k". Default: "ndcg@10".
        tolerance: how much worse the candidate may be, as a share of the other's number. Default: 0.02.

    Returns:
        The comparison; the candidate stood it.

    Raises:
        InputError: the candidate is worse, or one of the two cannot be asked; the message says why.
    """
    check_bar(metric, tolerance)
    k = k_of(metric)
    ours, theirs = (measure_version(folder, held_out, k)[metric] for folder in (candidate, serving))
    users = len(held_out.targets)
    return _good_enough(Comparison(metric, held_out.source, ours, theirs, tolerance, users, users), candidate, serving)


def _good_enough(comparison: Comparison, candidate: Path, serving: Path) -> Comparison:
    if not comparison.is_good_enough:
        raise InputError(
            f"{candidate} is worse than {serving}: {comparison}, tolerance {comparison.tolerance:.1%}. "
            "Train a better one, or push with --force."
        )
    return comparison


def _check_index(candidate: Path, serving: Path, tolerance: float) -> None:
    ours, theirs = index_recall(candidate), index_recall(serving)
    if ours < theirs * (1 - tolerance) - 1e-9:  # less than what rounding makes of four decimals
        raise InputError(
            f"{candidate} is worse than {serving}: its index finds {ours:.2%} of the 20 items with the highest scores, "
            f"the served one's {theirs:.2%}, tolerance {tolerance:.1%}. Export with a higher --recall, give --data to "
            "compare what both would answer, or push with --force."
        )


def _comparison(ours: ModelMetrics, theirs: ModelMetrics, metric: str, tolerance: float) -> Comparison | None:
    others = {evaluation.name: evaluation for evaluation in theirs.evaluations}
    for evaluation in sorted(ours.evaluations, key=lambda each: (each.split != "test", each.protocol != "full")):
        rival = others.get(evaluation.name)
        if rival is None or rival.tie_rule != evaluation.tie_rule:
            continue
        candidate, serving = evaluation.metrics.get(metric), rival.metrics.get(metric)
        if candidate is not None and serving is not None:
            users = evaluation.users, rival.users
            return Comparison(metric, evaluation.name, candidate, serving, tolerance, *users)
    return None


def _short(data_hash: str | None) -> str:
    return "not recorded" if data_hash is None else data_hash[:12]


def _remedy(ours: ModelMetrics, theirs: ModelMetrics, metric: str) -> str:
    # Names only, no numbers: what cannot be compared must not be by eye.
    known = {name for evaluation in ours.evaluations for name in evaluation.metrics}
    if known and metric not in known:
        return f"The candidate's metrics: {', '.join(sorted(known))}."
    return (
        f"Candidate: {_listed(ours.evaluations)}. Served: {_listed(theirs.evaluations)}. "
        "Run `laclrec-tf evaluate` before the export."
    )


def _listed(evaluations: Iterable[Evaluation]) -> str:
    return "; ".join(evaluation.name for evaluation in evaluations) or "not measured"
