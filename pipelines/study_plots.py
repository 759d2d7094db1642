"""What a study found, as plots."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

from pipelines.study_table import StudyTable

# Ten colours do not tell the models of a large study apart.
LINES = [(style, f"C{number}") for style, number in product(("-", "--", ":"), range(10))]


def plot_metrics(tables: Sequence[StudyTable], file: Path) -> None:
    """Plot the mean of recall@10 and ndcg@10 and their standard deviation over seeds, a row a table.

    Args:
        tables: the study's.
        file: the PNG to write.
    """
    heights = [0.7 + 0.22 * len(table.models) for table in tables]
    figure, axes = plt.subplots(
        len(tables), 2, figsize=(9, 0.6 + sum(heights)), squeeze=False, layout="constrained", height_ratios=heights
    )
    for row, table in zip(axes, tables, strict=True):
        names = list(table.models)[::-1]
        for axis, metric in zip(row, ("recall@10", "ndcg@10"), strict=True):
            values = [table.values(name, metric) for name in names]
            spread = [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values]
            # Dots, not bars: a bar's length is read as the value, and these axes do not begin at 0.
            axis.errorbar([np.mean(v) for v in values], names, xerr=spread, fmt="o", markersize=4, capsize=2)
            axis.set_ylim(-0.6, len(names) - 0.4)
            axis.set_title(f"{table.heading}: {metric}", fontsize=8)
            axis.tick_params(labelsize=7)
            axis.grid(axis="x", alpha=0.3)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def plot_curves(records: Sequence[dict[str, Any]], file: Path) -> None:
    """Plot ndcg@10 on validation by epoch, a line a strict training, a panel a data set.

    Args:
        records: one a training, as `pipelines.study.run_cell` wrote them.
        file: the PNG to write.
    """
    data_sets = list(dict.fromkeys(record["data"] for record in records))
    models = list(dict.fromkeys(record["model"] for record in records))
    figure, axes = plt.subplots(
        1, len(data_sets), figsize=(5.5 * len(data_sets) + 2, 3.6), squeeze=False, layout="constrained"
    )
    for axis, data in zip(axes[0], data_sets, strict=True):
        for index, model in enumerate(models):
            style, colour = LINES[index % len(LINES)]
            curves = [r["curve"] for r in records if (r["data"], r["model"]) == (data, model) and r["curve"]]
            for number, curve in enumerate(curves):
                label = model if not number else None
                axis.plot(range(1, len(curve) + 1), curve, style, color=colour, linewidth=1, label=label)
        axis.set(xlabel="epoch", ylabel="validation ndcg@10", title=data)
    axes[0, -1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(file, dpi=80)
    plt.close(figure)
