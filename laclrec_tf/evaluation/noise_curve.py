"""How well runs rank when noise arrives in the histories, with and without mixing over the edits of each history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laclrec_tf.data.planted_noise import NoiseKind, NoisePlace, plant_noise
from laclrec_tf.data.splits import Split
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.ranking import rank_targets
from laclrec_tf.layers.edit_mixture import EDITS
from laclrec_tf.metrics.ranking import ranking_metrics, served_protocol
from laclrec_tf.metrics.significance import paired_bootstrap
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.output_files import ReportFile
from laclrec_tf.runtime.terminal import progress_bar

METRICS = ("recall@10", "ndcg@10", "mrr@10")


def noise_curve(
    runs: Sequence[str | Path],
    *,
    rates: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4),
    kind: NoiseKind = "popular",
    where: NoisePlace = "anywhere",
    split: Split = "test",
    exclude_history: bool | None = None,
    json_out: str | Path | None = None,
    seed: int = 0,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Rank every user's held-out item for histories with planted noise, by kind of edits.

    The noise is planted in the histories only, as it arrives at serving: the runs are trained on the data as they are.
    Each run sees the same noisy histories, and items are ranked as the runs recommend: without those of the history
    unless they keep it. A held-out item is never planted. Users whose held-out item is retired are skipped.

    Args:
        runs: folders of runs on the same data, such as one for each seed. Metrics are means over runs; a difference is
            tested on each user's mean over runs.
        rates: shares of noise, see `plant_noise`. Default: 0 to 0.4.
        kind: "popular", "uniform" or "replace". Default: "popular", drawn by the number of training events.
        where: "anywhere" or "last". Default: "anywhere".
        split: "test" or "validation", of whose targets the calibration has seen a part. Default: "test".
        exclude_history: whether the items of a history are not recommended. Default: None, as the runs say.
        json_out: file for the result. Default: None.
        seed: seed of the noise. Default: 0.
        show_progress: whether to show a progress bar. Default: True.

    Returns:
        `runs`, `preset`, `seeds` of the trainings, `trained_on`, `data`, the name of the prepared folder, `data_hash`,
        `split`, `protocol`, `kind`, `where`, `seed`, and `rows`. A row has `rate`,
        `last`, "any", or "real" or "noise" for the histories whose newest event is that, `users`, for each kind of
        edits `recall@10`, `ndcg@10` and `mrr@10`, and `differences` of ndcg@10, such as "learned - uniform", each
        `difference`, relative to the second (None if that is 0), and `p_value`. Runs that were not calibrated have the
        kind "none" only.

    Raises:
        InputError: a run cannot be read, the runs differ in their data, or an argument is out of its range.

    Example:
        >>> found = noise_curve(["run"], rates=[0.2])  # doctest: +SKIP
        >>> found["rows"][0]["learned"]["ndcg@10"]  # doctest: +SKIP
        0.0571
    """
    file = None if json_out is None else ReportFile(json_out)
    if not runs or not rates:
        raise InputError("Arguments `runs` and `rates` must not be empty.")
    folders = [RunFolder.open(run) for run in runs]
    first = folders[0]
    for folder in folders[1:]:
        same = {
            "data_hash": folder.record["data_hash"] == first.record["data_hash"],
            "trained_on": folder.record["trained_on"] == first.record["trained_on"],
            "catalogue": (folder.vocabulary.items, folder.retired) == (first.vocabulary.items, first.retired),
        }
        for name, is_same in same.items():
            if not is_same:
                raise InputError(f"{folder.folder} and {first.folder} differ in {name}. Give runs on the same data.")
        if exclude_history is None and folder.exclude_history != first.exclude_history:
            raise InputError(
                f"{folder.folder} and {first.folder} differ in whether they exclude the items of a history. "
                "Give --exclude-history or --keep-history."
            )
    protocol = served_protocol(first.exclude_history if exclude_history is None else exclude_history)
    if split == "validation" and first.record["trained_on"] == "refit":
        raise InputError(f"{first.folder} is a refit: it was trained on the validation items. Use the test split.")
    retired = np.array(first.vocabulary.to_ids(first.retired), np.int32)
    pairs = [pair for pair in first.data.split().pairs(split) if pair[1] not in retired]
    histories, targets = [history for history, _ in pairs], np.array([target for _, target in pairs])
    planting: dict[str, Any] = {"n_items": first.vocabulary.n_items, "kind": kind, "where": where, "seed": seed}
    planting |= {"popularity": first.popularity, "never": list(targets[:, np.newaxis])}
    planted = [plant_noise(histories, rate, **planting) for rate in rates]
    noisy = [history for of_rate, _ in planted for history in of_rate]
    kinds = EDITS if all("edits" in folder.record for folder in folders) else EDITS[:1]
    ranks: dict[str, np.ndarray] = {}  # [R, rates, U]
    with progress_bar(disable=not show_progress) as progress:
        task = progress.add_task("ranking", total=len(noisy) * len(kinds) * len(folders))
        for edits in kinds:
            of_runs = [
                rank_targets(
                    folder.model,
                    noisy,
                    np.tile(targets, len(rates)),
                    protocol=protocol,
                    edits=edits,
                    retired=retired,
                    on_batch=lambda users: progress.update(task, advance=users),
                )
                for folder in folders
            ]
            ranks[edits] = np.reshape(of_runs, (len(folders), len(rates), len(pairs)))
    rows: list[dict[str, Any]] = []
    for number, rate in enumerate(rates):
        is_last_noise = np.array([marks[-1] for marks in planted[number][1]])
        groups = {"any": np.ones(len(pairs), bool), "real": ~is_last_noise, "noise": is_last_noise}
        rows += [
            {"rate": float(rate), "last": last, **_row({edits: ranks[edits][:, number, users] for edits in kinds})}
            for last, users in groups.items()
            if last == "any" or (users.any() and is_last_noise.any())
        ]
    found = {
        "runs": [str(run) for run in runs],
        "preset": first.record["settings"]["preset"],
        "seeds": [folder.record["settings"]["seed"] for folder in folders],
        "trained_on": first.record["trained_on"],
        "data": first.data.folder.name,
        "data_hash": first.record["data_hash"],
        "split": split,
        "protocol": protocol,
        "kind": kind,
        "where": where,
        "seed": seed,
        "rows": rows,
    }
    if file is not None:
        file.write_json(found)
    return found


def _row(ranks: dict[str, np.ndarray]) -> dict[str, Any]:
    """Average the metrics of ranks `[R, U]` by kind of edits, and test the differences of ndcg@10."""
    row: dict[str, Any] = {"users": int(ranks["none"].shape[1])}
    gains = {}
    for edits, of_runs in ranks.items():
        metrics = ranking_metrics(of_runs.ravel(), ks=(10,))
        row[edits] = {name: metrics[name] for name in METRICS}
        gains[edits] = np.where(of_runs < 10, 1 / np.log2(of_runs + 2.0), 0.0).mean(axis=0)
    row["differences"] = {}
    for one, other in (("uniform", "none"), ("learned", "none"), ("learned", "uniform")):
        if one in gains:
            found = paired_bootstrap(gains[one], gains[other])
            base = float(gains[other].mean())
            relative = found.difference / base if base else None
            row["differences"][f"{one} - {other}"] = {"difference": relative, "p_value": found.p_value}
    return row
