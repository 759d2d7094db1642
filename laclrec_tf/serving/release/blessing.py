"""Blessing: the check that a candidate recommends well enough to replace the version that is served."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.metrics.ranking import ranking_metrics, served_protocol
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.local.models import recommend_in_batches
from laclrec_tf.serving.version.metadata import METRICS_FILE, Evaluation, ModelMetrics, excludes_history, index_recall

METRIC = "ndcg@10"
TOLERANCE = 0.02


@dataclass(frozen=True)
class HeldOutItems:
    """Held-out items on which versions of different trainings can be compared.

    Args:
        source: origin of the items, for people.
        histories: item strings before the held-out one, oldest first, for each of at least one user.
        targets: the held-out item of each user.
    """

    source: str
    histories: Sequence[Sequence[str]]
    targets: Sequence[str]

    @classmethod
    def test_of(cls, data: str | Path) -> HeldOutItems:
        """Hold out every user's test item, by default the last one.

        Args:
            data: folder of prepared data.

        Raises:
            InputError: the data cannot be read, or no user has a test item.
        """
        prepared = PreparedData.open(data)
        pairs = prepared.split().pairs("test")
        if not pairs:
            raise InputError(f"No user in {prepared.folder} has a test item, which takes three events. Prepare more.")
        return cls(
            f"the test items of {prepared.folder.name} (hash {prepared.data_hash[:12]})",
            [prepared.vocabulary.to_items(before.tolist()) for before, _ in pairs],
            prepared.vocabulary.to_items([target for _, target in pairs]),
        )

    def __repr__(self) -> str:
        return f"HeldOutItems({len(self.targets):,} users, {self.source})"


@dataclass(frozen=True)
class Comparison:
    """One metric of a candidate and of the served version, measured in the same way.

    Args:
        metric: name of the metric.
        evaluation: split and protocol of both numbers.
        candidate: the candidate's number.
        serving: the served version's number.
        tolerance: max share by which the candidate may be worse.
        candidate_users: number of histories that the candidate was evaluated on. Default: None, not recorded.
        serving_users: the same for the served version. It differs if items were retired in between, since users whose
            held-out item is retired are not evaluated. Default: None.
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
        """Whether the candidate is at most `tolerance` worse."""
        return self.candidate >= self.serving * (1 - self.tolerance)

    def __str__(self) -> str:
        """Return both numbers in one line."""
        change = f" ({self.candidate / self.serving - 1:+.1%})" if self.serving else ""
        users = ""
        if None not in (self.candidate_users, self.serving_users) and self.candidate_users != self.serving_users:
            users = f", {self.candidate_users:,} users against {self.serving_users:,}"
        return f"{self.metric} {self.candidate:.4f} against {self.serving:.4f}{change} on {self.evaluation}{users}"


def bless(
    candidate: Path,
    serving: Path,
    *,
    metric: str = METRIC,
    tolerance: float = TOLERANCE,
    held_out: HeldOutItems | None = None,
    exclude_history: bool | None = None,
) -> Comparison:
    """Compare a candidate with the version that is served.

    With `held_out`, both versions recommend for the same histories. Use it for versions of different data, e.g. of last
    week and this week; the served version has not been trained on the newer events.

    Without it, the metrics that the exports carry are compared, which must be of the same data, split and protocol. The
    test split and the protocol that ranks as the candidate recommends are preferred. These metrics come from scores of
    all items, so an approximate index is compared separately, by its recall.

    Args:
        candidate: the candidate's version folder.
        serving: the folder of the version that is served.
        metric: a metric of which more is better; with `held_out`, "recall@k", "mrr@k" or "ndcg@k". Default: "ndcg@10".
        tolerance: max share by which the candidate may be worse. Default: 0.02.
        held_out: held-out items to compare on; the candidate was not trained on the items. Default: None.
        exclude_history: whether both are compared without the items of a history in their lists: with `held_out` both
            recommend so, without it only metrics of that protocol count. Default: None, as the versions say.

    Returns:
        The comparison, in which the candidate is good enough.

    Raises:
        InputError: the candidate is worse, or the two cannot be compared; the message says why.
    """
    check_bar(metric, tolerance, measured_here=held_out is not None)
    if held_out is None:
        comparison = _compare_metrics(candidate, serving, metric, tolerance, exclude_history)
    else:
        ours, theirs = (
            measure_version(each, held_out, k_of(metric), exclude_history)[metric] for each in (candidate, serving)
        )
        users, told = len(held_out.targets), exclude_history
        source = held_out.source + ("" if told is None else f", history {'excluded' if told else 'kept'}")
        comparison = Comparison(metric, source, ours, theirs, tolerance, users, users)
    if not comparison.is_good_enough:
        raise InputError(
            f"{candidate} is worse than {serving}: {comparison}, tolerance {tolerance:.1%}. "
            "Train a better one, or push with --force."
        )
    if held_out is None:
        _compare_indexes(candidate, serving, tolerance)
    return comparison


def check_bar(metric: str, tolerance: float, measured_here: bool = False) -> None:
    """Check the arguments of `bless` before any work.

    Args:
        metric: the metric.
        tolerance: the tolerance.
        measured_here: whether the metric will be measured on held-out items. Default: False.

    Raises:
        InputError: `tolerance` is not in [0, 1), `metric` is empty, or it cannot be measured here.
    """
    if not (math.isfinite(tolerance) and 0 <= tolerance < 1):
        raise InputError(f"Argument `tolerance` must be at least 0 and below 1. Received: {tolerance}.")
    if not metric:
        raise InputError(f"Argument `metric` must name a metric, e.g. {METRIC}. Received: ''.")
    if measured_here:
        k_of(metric)


def k_of(metric: str) -> int:
    """Return the number of recommended items that a metric is measured on.

    Args:
        metric: "recall@k", "mrr@k" or "ndcg@k".

    Returns:
        k.

    Raises:
        InputError: it is another metric.

    Example:
        >>> k_of("ndcg@10")
        10
    """
    match = re.fullmatch(r"(?:recall|mrr|ndcg)@([1-9]\d{0,3})", metric)
    if match is None:
        raise InputError(f"Argument `metric` must be recall@k, mrr@k or ndcg@k to be measured. Received: '{metric}'.")
    return int(match.group(1))


def measure_version(
    version: Path, held_out: HeldOutItems, k: int, exclude_history: bool | None = None
) -> dict[str, float]:
    """Recommend k items for each history, and measure how well the held-out items are found.

    A held-out item counts as missed if a server would not recommend it: the version does not know it, has retired it,
    or excludes it because it is in the history.

    Args:
        version: the version's folder.
        held_out: histories and held-out items.
        k: number of recommended items.
        exclude_history: whether items of a history are not recommended. Default: None, as the version says.

    Returns:
        "recall@k", "mrr@k" and "ndcg@k", averaged over the users, in `[0, 1]`.

    Raises:
        InputError: the version cannot be loaded or does not answer.
    """
    model = LoadedModel(version)
    targets = np.array([target.encode() for target in held_out.targets], dtype=object)
    ranks = np.full(len(targets), k)
    try:
        for rows, answers in recommend_in_batches(model, held_out.histories, k=k, exclude_history=exclude_history):
            found = answers["item_ids"] == targets[rows][:, np.newaxis]
            ranks[rows] = np.where(found.any(axis=1), found.argmax(axis=1), k)
    finally:
        model.close()
    return ranking_metrics(ranks, (k,))


def _compare_metrics(
    candidate: Path, serving: Path, metric: str, tolerance: float, exclude_history: bool | None
) -> Comparison:
    remedy = "Push with --force to skip the comparison."
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
    others = {evaluation.name: evaluation for evaluation in theirs.evaluations}
    served = served_protocol(excludes_history(candidate) if exclude_history is None else exclude_history)
    asked = [each for each in ours.evaluations if exclude_history is None or each.protocol == served]
    for evaluation in sorted(asked, key=lambda each: (each.split != "test", each.protocol != served)):
        other = others.get(evaluation.name)
        if other is None or other.tie_rule != evaluation.tie_rule:
            continue
        numbers = evaluation.metrics.get(metric), other.metrics.get(metric)
        if numbers[0] is not None and numbers[1] is not None:
            users = evaluation.users, other.users
            return Comparison(metric, evaluation.name, numbers[0], numbers[1], tolerance, *users)
    same, option = "the same split and protocol", ""
    if exclude_history is not None:
        same, option = (
            f"the same split and the protocol {served}",
            f" --{'exclude' if exclude_history else 'keep'}-history",
        )
    known = {name for evaluation in ours.evaluations for name in evaluation.metrics}
    # Names only: numbers that cannot be compared must not be shown next to each other.
    reason = (
        f"The candidate's metrics: {', '.join(sorted(known))}."
        if known and metric not in known
        else f"Candidate: {_listed(ours.evaluations)}. Served: {_listed(theirs.evaluations)}. "
        f"Run `laclrec-tf evaluate{option}` before the export."
    )
    raise InputError(
        f"{candidate} cannot be compared with {serving}: no {metric} of {same} is in the {METRICS_FILE.name} of both. "
        f"{reason} {remedy}"
    )


def _compare_indexes(candidate: Path, serving: Path, tolerance: float) -> None:
    ours, theirs = index_recall(candidate), index_recall(serving)
    if ours < theirs * (1 - tolerance) - 1e-9:  # less than the rounding to four decimals
        raise InputError(
            f"{candidate} is worse than {serving}: its index finds {ours:.2%} of the 20 items with the highest scores, "
            f"the served one's {theirs:.2%}, tolerance {tolerance:.1%}. Export with a higher --recall, give --data to "
            "compare the recommendations of both, or push with --force."
        )


def _short(data_hash: str | None) -> str:
    return "not recorded" if data_hash is None else data_hash[:12]


def _listed(evaluations: Iterable[Evaluation]) -> str:
    return "; ".join(evaluation.name for evaluation in evaluations) or "not measured"
