"""Plots of what an augmenter does, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GREY = "tab:gray"


def plot_operations(precision: np.ndarray, recall: np.ndarray, summary: Mapping[str, float], file: Path) -> None:
    """Plot precision against recall of deletions on broken histories, over all thresholds.

    Args:
        precision: `[T]`.
        recall: `[T]`.
        summary: of `pipelines.augmenter_report.Deletions`.
        file: the PNG to write.
    """
    figure, axis = _new("deletions on broken histories", "recall", "precision")
    axis.plot(recall, precision, label="augmenter, every threshold")
    axis.plot(summary["recall"], summary["precision"], "o", color="C0", label="its decisions")
    axis.axhline(summary["precision_at_random"], color=GREY, linestyle="--", label="at random")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    _save(figure, axis, file)


def plot_insertions(ranks: np.ndarray, n_items: int, popular: np.ndarray, file: Path) -> None:
    """Plot the share of missing items among the generator's first k, for k up to 100.

    Args:
        ranks: `[T]` of each missing item over the catalogue, from 0.
        n_items: catalogue size `N`.
        popular: `[N]`, share of all events that are of the k most popular items.
        file: the PNG to write.
    """
    k = np.arange(1, min(100, n_items) + 1)
    figure, axis = _new("insertions into broken histories", "k", "missing items among the first k")
    axis.plot(k, np.searchsorted(np.sort(ranks), k) / max(1, len(ranks)), label="augmenter")
    axis.plot(k, popular[np.minimum(k, len(popular)) - 1], color="C1", label="most popular items")
    axis.plot(k, k / n_items, color=GREY, linestyle="--", label="at random")
    axis.set(xscale="log", ylim=(0, None))
    _save(figure, axis, file)


def plot_views(similarity: Mapping[str, np.ndarray], file: Path) -> None:
    """Plot how near the learned and the random view are to the raw history.

    Args:
        similarity: `learned` and `random`, `[U]` cosines with the raw history's user vector.
        file: the PNG to write.
    """
    figure, axis = _new(
        "views of real histories", "cosine with the raw history's user vector", "share of histories below"
    )
    for name in ("learned", "random"):
        values = np.sort(similarity[name])
        axis.plot(values, np.arange(1, len(values) + 1) / len(values), label=f"{name} view")
    axis.set(ylim=(0, 1))
    _save(figure, axis, file)


def plot_planted_noise(recall: np.ndarray, lost: np.ndarray, summary: Mapping[str, float], file: Path) -> None:
    """Plot how much planted noise goes against how much else goes with it, over all thresholds.

    Args:
        recall: `[T]`, share of the noise that is deleted.
        lost: `[T]`, share of all other events that are deleted.
        summary: of `pipelines.augmenter_report.Deletions`.
        file: the PNG to write.
    """
    figure, axis = _new("planted noise", "other events deleted", "noise deleted")
    axis.plot([0, *lost], [0, *recall], label="augmenter, every threshold")
    axis.plot(summary["good_lost"], summary["recall"], "o", color="C0", label="its decisions")
    axis.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="at random")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    _save(figure, axis, file)


def _new(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
    axis.set(title=title, xlabel=x_label, ylabel=y_label)
    return figure, axis


def _save(figure: Figure, axis: Axes, file: Path) -> None:
    axis.legend(fontsize=8, frameon=False)
    figure.savefig(file, dpi=80)
    plt.close(figure)
