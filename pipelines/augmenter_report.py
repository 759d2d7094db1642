"""What a run's augmenter does: repairing broken histories, changing real ones, finding planted noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.ops.edits import DELETE
from laclrec_tf.runtime.output_files import ReportFile, new_folder
from pipelines.augmenter_plots import plot_insertions, plot_operations, plot_planted_noise, plot_views
from pipelines.broken_histories import repairs_of
from pipelines.deletions import Deletions, deletions_of
from pipelines.planted_noise import planted_histories, planted_ids
from pipelines.run_folder import RunFolder
from pipelines.view_vectors import view_vectors


def augmenter_report(
    run: str | Path, out: str | Path, *, truth: str | Path | None = None, seed: int = 0
) -> dict[str, Any]:
    """Measure a run's augmenter and plot what came of it.

    On the validation histories (everything before the validation item), broken as in training: precision and recall
    of deletions, and how high the generator ranks a missing item among those that the broken history does not hold,
    given the run's items behind it. On the same histories as they are: how near the learned and the random view are
    to the raw one. With `truth` also how much planted noise is deleted, and how much else.

    Args:
        run: a folder made by `laclrec-tf train`.
        out: the folder to make: `augmenter.json`, `operations.png`, `insertions.png`, `views.png`, and with `truth`
            `planted_noise.png`.
        truth: for a run on simulated events, the `.truth.csv` beside them. Default: none.
        seed: of corruptions and random views. Default: 0.

    Returns:
        What `augmenter.json` holds, under `deletions`, `insertions`, `views` and `planted_noise`.

    Raises:
        InputError: the run cannot be read or has no trained augmenter, `out` holds something already or cannot be
            written, or `truth` does not fit.
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
    whole = folder.data.histories()[1]
    histories = [pair[0] for history in whole if (pair := held_out(history, "validation")) is not None]
    planted = None if truth is None else planted_histories(folder.data, truth)
    with new_folder(out, lambda _: False):
        report: dict[str, Any] = {
            "run": str(run),
            "preset": folder.record["settings"]["preset"],
            "data_hash": folder.record["data_hash"],
            "seed": seed,
            "histories": len(histories),
        }
        repairs = repairs_of(model, histories, seed)
        ranks = repairs.insertion_ranks
        deletions = Deletions(repairs.probabilities[:, DELETE], repairs.decided == DELETE, repairs.operations == DELETE)
        report["deletions"] = deletions.summary()
        popular = np.cumsum(np.sort(folder.popularity)[::-1]) / folder.popularity.sum()
        report["insertions"] = insertion_summary(ranks, model.n_items, popular)
        similarity = view_vectors(model, histories, seed).similarity()
        report["views"] = _view_summary(similarity)
        plot_operations(*deletions.curve()[:2], report["deletions"], out / "operations.png")
        plot_insertions(ranks, model.n_items, popular, out / "insertions.png")
        plot_views(similarity, out / "views.png")
        if planted is not None:
            noise = deletions_of(model, *planted_ids(planted, folder.vocabulary))
            report["planted_noise"] = noise.summary()
            plot_planted_noise(*noise.curve()[1:], report["planted_noise"], out / "planted_noise.png")
        ReportFile(out / "augmenter.json").write_json(report)
    return report


def insertion_summary(ranks: np.ndarray, n_items: int, popular: np.ndarray) -> dict[str, float]:
    """Say how often a missing item is the generator's first choice or among its first ten, and by other means.

    Args:
        ranks: `[T]` of each missing item over the catalogue, from 0.
        n_items: catalogue size `N`.
        popular: `[N]`, share of all events that are of the k most popular items.

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


def _view_summary(similarity: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        "cosine_raw_learned": float(np.mean(similarity["learned"])),
        "cosine_raw_random": float(np.mean(similarity["random"])),
        "learned_is_nearer": float(np.mean(similarity["learned_is_nearer"])),
        "learned_is_raw": float(np.mean(similarity["learned"] > 1 - 1e-6)),
    }
