"""Plots of what an augmenter does, one file each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pipelines.deletions import Deletions
from pipelines.view_vectors import ViewVectors

GREY = "tab:gray"


def plot_operations(precision: np.ndarray, recall: np.ndarray, summary: Mapping[str, float], file: Path) -> None:
    """Plot precision against recall of deletions on broken histories, over all thresholds.

    Args:
        precision: `[T]`.
        recall: `[T]`.
        summary: of `pipelines.deletions.Deletions`.
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
        summary: of `pipelines.deletions.Deletions`.
        file: the PNG to write.
    """
    figure, axis = _new("planted noise", "other events deleted", "noise deleted")
    axis.plot([0, *lost], [0, *recall], label="augmenter, every threshold")
    axis.plot(summary["good_lost"], summary["recall"], "o", color="C0", label="its decisions")
    axis.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="at random")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    _save(figure, axis, file)


def plot_sharpening(epochs: Sequence[Deletions], file: Path, *, joint_from: int | None = None) -> None:
    """Plot how far apart noise and other events come over the epochs, and how well noise is found.

    Args:
        epochs: after each epoch, the same events.
        file: the PNG to write.
        joint_from: mark the epoch, from 1, in which the augmenter no longer trained alone. Default: none.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    numbers = np.arange(1, len(epochs) + 1)
    for label, color, wanted in (("planted noise", "C3", True), ("other events", GREY, False)):
        of_each = [each.probabilities[each.is_noise == wanted] for each in epochs]
        low, middle, high = np.array([np.quantile(values, (0.25, 0.5, 0.75)) for values in of_each]).T
        left.fill_between(numbers, low, high, color=color, alpha=0.25, linewidth=0)
        left.plot(numbers, middle, color=color, label=label)
    left.set(title="how likely an event is to be deleted", xlabel="epoch", ylabel="probability: median and middle half")
    summaries = [each.summary() for each in epochs]
    for name, color in (("recall", "C0"), ("precision", "C1")):
        right.plot(numbers, [summary[name] for summary in summaries], color=color, label=name)
    right.axhline(summaries[-1]["precision_at_random"], color=GREY, linestyle="--", label="precision at random")
    right.set(title="deletions of planted noise", xlabel="epoch", ylim=(0, 1.02))
    if joint_from is not None:
        for axis in (left, right):
            axis.axvline(joint_from - 0.5, color="black", linestyle=":", linewidth=1)
    left.legend(fontsize=8, frameon=False)
    _save(figure, right, file)


def plot_view_map(views: ViewVectors, share: float, file: Path, *, most: int = 40) -> None:
    """Plot where the learned and the random view of some histories lie in the plane, each at the end of an arrow.

    Args:
        views: of `ViewVectors.in_plane`.
        share: of the raw vectors' variance that the plane shows.
        file: the PNG to write.
        most: arrows a panel, evenly among all histories. Default: 40.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), sharex=True, sharey=True, layout="constrained")
    chosen = np.unique(np.linspace(0, len(views.raw) - 1, most).astype(int))
    for axis, name, color in zip(panels, ("learned", "random"), ("C0", "C1"), strict=True):
        start, end = views.raw[chosen], getattr(views, name)[chosen]
        axis.plot(*views.raw.T, ".", color="lightgray", markersize=2, label="raw histories", zorder=0)
        axis.quiver(*start.T, *(end - start).T, angles="xy", scale_units="xy", scale=1, color=color, width=0.004)
        axis.plot(*end.T, "o", color=color, markersize=3, label=f"{name} view")
        axis.set(title=f"raw history to {name} view", xlabel=f"first two components, {share:.0%} of the variance")
        axis.set(xticks=[], yticks=[])
    panels[0].legend(fontsize=8, frameon=False)
    _save(figure, panels[1], file)


def _new(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
    axis.set(title=title, xlabel=x_label, ylabel=y_label)
    return figure, axis


def _save(figure: Figure, axis: Axes, file: Path) -> None:
    axis.legend(fontsize=8, frameon=False)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    plt.close(figure)
    # A plot has few colours; with a palette its file is a third as large.
    Image.open(drawn).convert("RGB").quantize(64).save(file, optimize=True)
