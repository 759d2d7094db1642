"""What is known of a run's quality: the validation of its training, and the reports of its evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.metrics.ranking import TIE_RULE
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving.version.held_out_topk import HeldOutHistories
from laclrec_tf.serving.version.metadata import Evaluation, ModelMetrics, finite

N_HELD_OUT = 64


def keep_evaluation(run: RunFolder, report: Mapping[str, Any]) -> None:
    """Keep a report in the run folder, as `evaluation-SPLIT-PROTOCOL.json`, for its export.

    A run folder that cannot be written stays as it is: the report is printed all the same.

    Args:
        run: the run.
        report: what `evaluate` returned, on the run's own data and without cleaning.
    """
    file = run.folder / f"evaluation-{report['split']}-{report['protocol']}.json"
    partial = file.with_suffix(".partial")
    with suppress(OSError):
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        partial.rename(file)


def run_metrics(run: RunFolder) -> ModelMetrics:
    """Gather what the record of a run and its kept evaluations tell.

    Args:
        run: the run.

    Returns:
        The metrics; counts of the data only where the record or the prepared data tell them.

    Raises:
        InputError: a kept evaluation is damaged.
    """
    record = run.record
    evaluations: dict[str, Evaluation] = {}
    for evaluation in [*_of_training(record), *_kept(run)]:
        before = evaluations.get(evaluation.name)
        if before is not None:  # the training also measured the augmenter
            evaluation = Evaluation(**vars(evaluation) | {"metrics": {**before.metrics, **evaluation.metrics}})
        evaluations[evaluation.name] = evaluation
    return ModelMetrics(
        data_hash=record["data_hash"],
        data_counts=_counts(run),
        trained_on=record["trained_on"],
        seed=record["settings"]["seed"],
        preset=record["settings"]["preset"],
        evaluations=tuple(evaluations.values()),
    )


def held_out_histories(run: RunFolder) -> HeldOutHistories | None:
    """Take histories that a test item is held out of, evenly spread over the users, at most 64.

    Args:
        run: the run.

    Returns:
        The histories before the test item; None when the prepared data is gone or has none.
    """
    try:
        _, histories = run.data.histories()
    except InputError:
        return None
    before = [pair[0] for history in histories if (pair := held_out(history, "test")) is not None]
    if not before:
        return None
    chosen = np.linspace(0, len(before) - 1, min(N_HELD_OUT, len(before))).round().astype(int)
    return HeldOutHistories(
        "the prepared data, before the test item", [run.vocabulary.to_items(before[user].tolist()) for user in chosen]
    )


def _of_training(record: Mapping[str, Any]) -> list[Evaluation]:
    # A refit was trained on the validation items since.
    if record["trained_on"] == "refit" or not record.get("validation"):
        return []
    return [Evaluation("validation", "full", finite(record["validation"]), tie_rule=TIE_RULE)]


def _kept(run: RunFolder) -> list[Evaluation]:
    evaluations = []
    for file in sorted(run.folder.glob("evaluation-*.json"), key=lambda file: file.stem):
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            if any(report[name] != run.record[name] for name in ("data_hash", "trained_on")):
                continue  # of another run, copied here
            metrics = {name: value for name, value in report.items() if "@" in name}
            seed = report["negatives_seed"] if report["protocol"].startswith("sampled") else None
            about = report["split"], report["protocol"], finite(metrics), report["users"], report["tie_rule"], seed
            evaluations.append(Evaluation(*about))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{file} is damaged. Delete it, or run `laclrec-tf evaluate` again.") from None
    return evaluations


def _counts(run: RunFolder) -> Mapping[str, int] | None:
    if "data_counts" in run.record:
        return run.record["data_counts"]
    try:
        return run.data.counts
    except InputError:
        return None
