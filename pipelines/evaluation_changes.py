"""What noise in the histories, and cleaning them, changes in a study's metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.mean_and_spread import mean_and_spread
from pipelines.study_config import StudyConfig
from pipelines.study_table import StudyTable


def changes_between_evaluations(
    config: StudyConfig, tables: dict[str, StudyTable], metrics: Sequence[str]
) -> list[str]:
    """Say by how much a metric changes from one evaluation to another that has other histories, or cleans them.

    Args:
        config: the study.
        tables: of one data set and way of training, by evaluation.
        metrics: such as "recall@10".

    Returns:
        Lines of Markdown; none where no two evaluations differ in that alone.
    """
    rows = []
    for name, evaluation in config.evaluations.items():
        undone = replace(evaluation, clean=False) if evaluation.clean else replace(evaluation, histories={})
        origins = [other for other, its in config.evaluations.items() if its == undone and other in tables]
        if undone == evaluation or not origins or name not in tables:
            continue
        origin = origins[0]
        for model in tables[name].models:
            changes = []
            for metric in metrics:
                before, after = (np.array(tables[e].values(model, metric)) for e in (origin, name))
                relative = np.divide(after - before, before, out=np.full_like(before, np.nan), where=before > 0)
                changes.append(mean_and_spread(relative, "+.1%"))
            rows.append(f"| {origin} → {name} | {model} | {' | '.join(changes)} |")
    if not rows:
        return []
    table = next(iter(tables.values()))
    return [
        f"## {table.data}, {table.trained_on}, what other histories and cleaning change",
        "",
        "Relative change of each training's metric, mean ± standard deviation over seeds.",
        "",
        f"| from → to | model | {' | '.join(metrics)} |",
        "| --- " * (2 + len(metrics)) + "|",
        *rows,
        "",
    ]
