"""What a study found about augmenters: what they delete and insert, and the plots of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.mean_and_spread import mean_and_spread
from pipelines.study_config import StudyConfig, training_name

# What an augmenter report says, in the order of the columns.
AUGMENTER_COLUMNS = (
    ("deletion precision", "deletions", "precision"),
    ("at random", "deletions", "precision_at_random"),
    ("recall", "deletions", "recall"),
    ("at random", "deletions", "recall_at_random"),
    ("insertion hit@1", "insertions", "hit@1"),
    ("at random", "insertions", "hit@1_at_random"),
    ("of the most popular", "insertions", "hit@1_of_most_popular"),
    ("hit@10", "insertions", "hit@10"),
    ("at random", "insertions", "hit@10_at_random"),
    ("of the most popular", "insertions", "hit@10_of_most_popular"),
    ("cosine raw-learned", "views", "cosine_raw_learned"),
    ("raw-random", "views", "cosine_raw_random"),
    ("learned nearer", "views", "learned_is_nearer"),
    ("learned is raw", "views", "learned_is_raw"),
)
PLANTED_COLUMNS = (
    ("planted noise deleted", "planted_noise", "recall"),
    ("other events deleted", "planted_noise", "good_lost"),
    ("precision", "planted_noise", "precision"),
    ("at random", "planted_noise", "precision_at_random"),
)


def augmenter_section(config: StudyConfig, records: Sequence[dict[str, Any]]) -> list[str]:
    """Write what the augmenters of strict trainings do, a section a data set.

    Args:
        config: the study.
        records: one a training, as `pipelines.study.run_cell` wrote them.

    Returns:
        Lines of Markdown; none where no augmenter was measured.
    """
    lines: list[str] = []
    for data in config.data:
        measured = [record for record in records if record["data"] == data and record.get("augmenter")]
        if not measured:
            continue
        lines += [
            f"## {data}, the augmenter",
            "",
            f"{measured[0]['augmenter']['histories']:,} validation histories, broken as in training (deletions, "
            "insertions) and as they are (views; the learned view of some is the raw history itself); trained strict. "
            "A precision is of the seeds that delete anything. See `laclrec-tf augmenter --help`.",
            "",
            *_table(measured, AUGMENTER_COLUMNS),
        ]
        if config.truth.get(data):
            lines += _table(measured, PLANTED_COLUMNS)
        shown = next((record for record in measured if record["model"] == config.reference), measured[0])
        lines += _plots(shown, ["operations", "insertions", "views"])
        if config.truth.get(data):
            for model in dict.fromkeys((shown["model"], _best_finder(measured))):
                lines += _plots(next(record for record in measured if record["model"] == model), ["planted_noise"])
    return lines


def _table(measured: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str, str]]) -> list[str]:
    lines = [
        f"| model | seeds | {' | '.join(title for title, _, _ in columns)} |",
        "| --- " * (2 + len(columns)) + "|",
    ]
    for model in dict.fromkeys(record["model"] for record in measured):
        reports = [record["augmenter"] for record in measured if record["model"] == model]
        cells = [
            mean_and_spread([report[group].get(name, float("nan")) for report in reports]) for _, group, name in columns
        ]
        lines.append(f"| {model} | {len(reports)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _best_finder(measured: Sequence[dict[str, Any]]) -> str:
    """Return the model that deletes most of the planted noise, in the mean of its seeds."""
    found: dict[str, list[float]] = {}
    for record in measured:
        found.setdefault(record["model"], []).append(record["augmenter"]["planted_noise"]["recall"])
    return max(found, key=lambda model: np.mean(found[model]))


def _plots(record: dict[str, Any], names: Sequence[str]) -> list[str]:
    folder = f"augmenter/{training_name(record['data'], record['model'], record['seed'], 'strict')}"
    plots = (f"![{name}]({folder}/{name}.png)" for name in names)
    return [f"`{record['model']}`, seed {record['seed']}:", "", *plots, ""]
