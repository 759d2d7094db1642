"""What a run's augmenter does: repairing broken histories, changing real ones, finding planted noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from laclrec_tf.data.random_views import random_view
from laclrec_tf.data.splits import held_out
from laclrec_tf.edits import DELETE
from laclrec_tf.errors import InputError
from laclrec_tf.masking import trim_padding
from laclrec_tf.models import LACLRec
from pipelines.augmenter_plots import plot_insertions, plot_operations, plot_planted_noise, plot_views
from pipelines.broken_histories import history_batches, repairs_of
from pipelines.new_folder import new_folder
from pipelines.planted_noise import planted_histories
from pipelines.report_file import ReportFile
from pipelines.run_folder import RunFolder


@dataclass(frozen=True)
class Deletions:
    """How likely the augmenter finds it that each event is noise, and whether it is.

    Args:
        probabilities: `[E]` float, of DELETE.
        decided: `[E]` bool, the augmenter deletes the event.
        is_noise: `[E]` bool, the truth.
    """

    probabilities: np.ndarray
    decided: np.ndarray
    is_noise: np.ndarray

    def summary(self) -> dict[str, float]:
        """Return precision and recall of the decisions, and of as many deletions drawn at random.

        Example:
            >>> marks = np.array([True, True, False, False])
            >>> Deletions(np.zeros(4), np.array([True, False, False, False]), marks).summary()["recall"]
            0.5
        """
        hits = float(np.sum(self.decided & self.is_noise))
        n_noise, n_deleted, n_events = int(self.is_noise.sum()), int(self.decided.sum()), len(self.is_noise)
        return {
            "events": n_events,
            "noise_events": n_noise,
            "deleted_events": n_deleted,
            "precision": hits / n_deleted if n_deleted else float("nan"),
            "recall": hits / n_noise if n_noise else float("nan"),
            "good_lost": (n_deleted - hits) / max(1, n_events - n_noise),
            "precision_at_random": n_noise / max(1, n_events),
            "recall_at_random": n_deleted / max(1, n_events),
        }

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return precision, recall and the share of good events lost at every threshold: three `[T]` arrays.

        Example:
            >>> precision, recall, lost = Deletions(np.array([0.9, 0.2]), np.zeros(2), np.array([1, 0])).curve()
            >>> precision.tolist(), recall.tolist(), lost.tolist()
            ([1.0, 0.5], [1.0, 1.0], [0.0, 1.0])
        """
        order = np.argsort(-self.probabilities, kind="stable")
        noise = np.asarray(self.is_noise, bool)[order]
        # Events that are equally likely noise go together.
        last = np.append(np.diff(self.probabilities[order]) != 0, True)
        hits, misses = np.cumsum(noise)[last], np.cumsum(~noise)[last]
        return hits / (hits + misses), hits / max(1, noise.sum()), misses / max(1, np.sum(~noise))


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
        report["insertions"] = _insertion_summary(ranks, model.n_items, popular)
        similarity = _similarities(model, histories, seed)
        report["views"] = _view_summary(similarity)
        plot_operations(*deletions.curve()[:2], report["deletions"], out / "operations.png")
        plot_insertions(ranks, model.n_items, popular, out / "insertions.png")
        plot_views(similarity, out / "views.png")
        if planted is not None:
            ids = [np.array(folder.vocabulary.to_ids(item for item, _ in history), np.int32) for history in planted]
            marks = np.concatenate([[is_noise for _, is_noise in history] for history in planted]).astype(bool)
            noise = _deletions_of(model, ids, marks)
            report["planted_noise"] = noise.summary()
            plot_planted_noise(*noise.curve()[1:], report["planted_noise"], out / "planted_noise.png")
        ReportFile(out / "augmenter.json").write_json(report)
    return report


def _deletions_of(model: LACLRec, histories: Sequence[np.ndarray], is_noise: np.ndarray) -> Deletions:
    order = np.argsort([len(history) for history in histories], kind="stable")
    starts = np.cumsum([0, *(len(history) for history in histories)])
    marks = np.concatenate([is_noise[starts[row] : starts[row + 1]] for row in order])
    probabilities, decided = [], []
    for history in history_batches(histories):
        edits = model.edit(history)
        real = history.numpy() > 0
        probabilities.append(edits.probabilities.numpy()[..., DELETE][real])
        decided.append(edits.operations.numpy()[real] == DELETE)
    return Deletions(np.concatenate(probabilities), np.concatenate(decided), marks)


def _similarities(model: LACLRec, histories: Sequence[np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Return by view the cosine of each user vector with that of the raw history, and which dot product is larger."""
    found: dict[str, list[np.ndarray]] = {"learned": [], "random": [], "learned_is_nearer": []}
    for number, history in enumerate(history_batches(histories)):
        raw = model(history, training=False)
        view = random_view(history, mask_id=model.n_items + 2, seed=tf.constant([seed, number], tf.int64))
        views = {
            "learned": model(trim_padding(model.edit(history).edited), training=False),
            "random": model(trim_padding(view), training=False),
        }
        for name, vectors in views.items():
            found[name].append(ops.sum(ops.normalize(raw) * ops.normalize(vectors), axis=-1).numpy())
        products = [ops.sum(raw * vectors, axis=-1).numpy() for vectors in views.values()]
        found["learned_is_nearer"].append(products[0] > products[1])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _insertion_summary(ranks: np.ndarray, n_items: int, popular: np.ndarray) -> dict[str, float]:
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
