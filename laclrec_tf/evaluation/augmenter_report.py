"""Measure what a run's augmenter does, and plot it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from laclrec_tf.data.simulated import planted_histories, planted_ids
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.augmenter_repairs import (
    Deletions,
    corruption_popularity,
    deletions_of,
    planted_deletions,
    repairs_of,
)
from laclrec_tf.evaluation.views import ViewVectors, view_vectors
from laclrec_tf.ops.edits import DELETE
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.output_files import ReportFile, new_folder

matplotlib.use("Agg")
GREY = "tab:gray"


def augmenter_report(
    run: str | Path, out: str | Path, *, truth: str | Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """Measure a run's augmenter and plot the results.

    The validation histories (everything before the validation item) are corrupted as in training, to measure
    precision and recall of the operation head's deletions, and the generator's rank of each missing item among the
    items that the corrupted history does not contain, given the items of its run that follow it. Noise is planted
    in the validation histories, 15 % of the events and drawn by popularity, to measure what is deleted and how well
    noise is found, anywhere and among the last events. On the unchanged histories, the user vectors of the learned
    and the random view are compared with the raw one. With `truth`, the shares of planted noise and of all other
    events that are deleted are measured as well.

    Args:
        run: folder made by `laclrec-tf train`.
        out: folder to write: `augmenter.json`, `operations.png`, `insertions.png`, `views.png`, and with `truth`
            `planted_noise.png`.
        truth: for a run on simulated events, their `.truth.csv` file. Default: None.
        seed: seed of corruptions and random views. Default: 0.

    Returns:
        The content of `augmenter.json`, with the keys `deletions`, `popular_noise`, `insertions`, `views` and
        `planted_noise`.

    Raises:
        InputError: the run cannot be read or has no trained augmenter, `out` has content or cannot be written, or
            `truth` does not fit the run.
    """
    folder, out = RunFolder.open(run), Path(out)
    model = folder.model
    if not model.has_augmenter:
        raise InputError(
            f"{folder.folder} has no trained augmenter (preset {folder.record['settings']['preset']}). "
            "Give a laclrec run."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already and is not overwritten. Give another --out, or delete it first.")
    pairs = folder.data.split().pairs("validation")
    histories = [history[-model.max_length :] for history, _ in pairs]
    planted = None if truth is None else planted_histories(folder.data, truth)
    with new_folder(out, lambda _: False):
        report: dict[str, Any] = {
            "run": str(run),
            "preset": folder.record["settings"]["preset"],
            "data_hash": folder.record["data_hash"],
            "seed": seed,
            "histories": len(histories),
        }
        repairs = repairs_of(model, histories, seed, corruption_popularity(folder))
        ranks = repairs.insertion_ranks
        deletions = Deletions(repairs.probabilities[:, DELETE], repairs.decided == DELETE, repairs.operations == DELETE)
        report["deletions"] = deletions.summary()
        popular_noise = planted_deletions(model, histories, folder.popularity, seed)
        report["popular_noise"] = _with_quality(popular_noise, folder.popularity)
        popular = np.cumsum(np.sort(folder.popularity)[::-1]) / folder.popularity.sum()
        report["insertions"] = insertion_summary(ranks, model.n_items, popular)
        similarity = view_vectors(model, histories, seed).similarity()
        report["views"] = {
            "cosine_raw_learned": float(np.mean(similarity["learned"])),
            "cosine_raw_random": float(np.mean(similarity["random"])),
            "learned_is_nearer": float(np.mean(similarity["learned_is_nearer"])),
            "learned_is_raw": float(np.mean(similarity["learned"] > 1 - 1e-6)),
        }
        plot_operations(*deletions.curve()[:2], report["deletions"], out / "operations.png")
        plot_insertions(ranks, model.n_items, popular, out / "insertions.png")
        plot_views(similarity, out / "views.png")
        if planted is not None:
            noise = deletions_of(model, *planted_ids(planted, folder.vocabulary))
            report["planted_noise"] = _with_quality(noise, folder.popularity)
            plot_planted_noise(*noise.curve()[1:], report["planted_noise"], out / "planted_noise.png")
        ReportFile(out / "augmenter.json").write_json(report)
    return report


def _with_quality(deletions: Deletions, popularity: np.ndarray) -> dict[str, Any]:
    return deletions.summary() | {"detection": deletions.quality(popularity)}


def insertion_summary(ranks: np.ndarray, n_items: int, popular: np.ndarray) -> dict[str, float]:
    """Return the hit rates of the generator's first 1 and 10 items, of random items, and of the most popular items.

    Args:
        ranks: `[T]`, rank of each missing item over the catalogue, from 0.
        n_items: catalogue size `N`.
        popular: `[N]`, share of all events that the k most popular items have, for k from 1.

    Example:
        >>> insertion_summary(np.array([0, 3]), 20, np.linspace(0.05, 1.0, 20))["hit@1"]
        0.5
    """
    summary: dict[str, float] = {"missing_items": len(ranks)}
    for k in (1, 10):
        summary[f"hit@{k}"] = float(np.mean(ranks < k)) if len(ranks) else float("nan")
        summary[f"hit@{k}_at_random"] = min(1.0, k / n_items)
        summary[f"hit@{k}_of_most_popular"] = float(popular[min(k, len(popular)) - 1])
    return summary


def plot_operations(precision: np.ndarray, recall: np.ndarray, summary: Mapping[str, float], file: Path) -> None:
    """Plot precision against recall of deletions on corrupted histories, over all thresholds.

    Args:
        precision: `[T]`.
        recall: `[T]`.
        summary: result of `Deletions.summary`.
        file: PNG file to write.
    """
    figure, axis = _new("deletions on corrupted histories", "recall", "precision")
    axis.plot(recall, precision, label="augmenter, every threshold")
    axis.plot(summary["recall"], summary["precision"], "o", color="C0", label="its decisions")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    _save(figure, axis, file)


def plot_insertions(ranks: np.ndarray, n_items: int, popular: np.ndarray, file: Path) -> None:
    """Plot the share of missing items among the generator's first k, for k up to 100.

    Args:
        ranks: `[T]`, rank of each missing item over the catalogue, from 0.
        n_items: catalogue size `N`.
        popular: `[N]`, share of all events that the k most popular items have, for k from 1.
        file: PNG file to write.
    """
    k = np.arange(1, min(100, n_items) + 1)
    figure, axis = _new("insertions into corrupted histories", "k", "missing items among the first k")
    axis.plot(k, np.searchsorted(np.sort(ranks), k) / max(1, len(ranks)), label="augmenter")
    axis.plot(k, popular[np.minimum(k, len(popular)) - 1], color="C1", label="most popular items")
    axis.plot(k, k / n_items, color=GREY, linestyle="--", label="at random")
    axis.set(xscale="log", ylim=(0, None))
    _save(figure, axis, file)


def plot_views(similarity: Mapping[str, np.ndarray], file: Path) -> None:
    """Plot the similarity of the learned and the random view to the raw history.

    Args:
        similarity: `learned` and `random`, `[U]` cosines with the raw history's user vector.
        file: PNG file to write.
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
    """Plot the share of planted noise that is deleted against that of all other events, over all thresholds.

    Args:
        recall: `[T]`, share of the noise that is deleted.
        lost: `[T]`, share of all other events that are deleted.
        summary: result of `Deletions.summary`.
        file: PNG file to write.
    """
    figure, axis = _new("planted noise", "other events deleted", "noise deleted")
    axis.plot([0, *lost], [0, *recall], label="augmenter, every threshold")
    axis.plot(summary["good_lost"], summary["recall"], "o", color="C0", label="its decisions")
    axis.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="at random")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    _save(figure, axis, file)


def plot_sharpening(epochs: Sequence[Deletions], file: Path, *, joint_from: int | None = None) -> None:
    """Plot the deletion probabilities of noise and of other events over the epochs, and how well noise is found.

    Args:
        epochs: deletions of the same events after each epoch.
        file: PNG file to write.
        joint_from: epoch to mark, from 1: the first in which the augmenter was not trained alone. Default: None.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    numbers = np.arange(1, len(epochs) + 1)
    for label, color, wanted in (("planted noise", "C3", True), ("other events", GREY, False)):
        by_epoch = [each.probabilities[each.is_noise == wanted] for each in epochs]
        low, middle, high = np.array([np.quantile(values, (0.25, 0.5, 0.75)) for values in by_epoch]).T
        left.fill_between(numbers, low, high, color=color, alpha=0.25, linewidth=0)
        left.plot(numbers, middle, color=color, label=label)
    left.set(title="how likely an event is to be deleted", xlabel="epoch", ylabel="probability: median and middle half")
    summaries = [each.summary() for each in epochs]
    for name, color in (("recall", "C0"), ("precision", "C1")):
        right.plot(numbers, [summary[name] for summary in summaries], color=color, label=name)
    right.set(title="deletions of planted noise", xlabel="epoch", ylim=(0, 1.02))
    if joint_from is not None:
        for axis in (left, right):
            axis.axvline(joint_from - 0.5, color="black", linestyle=":", linewidth=1)
    left.legend(fontsize=8, frameon=False)
    _save(figure, right, file)


def plot_view_map(views: ViewVectors, share: float, file: Path, *, max_arrows: int = 40) -> None:
    """Plot user vectors in the plane, with arrows from some raw histories to their learned and random views.

    Args:
        views: projections by `ViewVectors.in_plane`.
        share: share of the raw vectors' variance that the plane explains.
        file: PNG file to write.
        max_arrows: max number of arrows in a panel, evenly spread over the histories. Default: 40.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), sharex=True, sharey=True, layout="constrained")
    chosen = np.unique(np.linspace(0, len(views.raw) - 1, max_arrows).astype(int))
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
    # A plot has few colours, so a palette makes its file three times smaller.
    Image.open(drawn).convert("RGB").quantize(64).save(file, optimize=True)
