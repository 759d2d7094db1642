"""Evaluate a run on its held-out items, or on other histories of the same users."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.planted_noise import plant_noise
from laclrec_tf.data.splits import Split, SplitHistories
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.ranking import rank_targets, sample_negatives
from laclrec_tf.files import file_sha256
from laclrec_tf.metrics.ranking import KS, TIE_RULE, ranking_metrics, served_protocol
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.runtime.output_files import ReportFile, atomic_write
from laclrec_tf.runtime.terminal import progress_bar


def evaluate(
    run: str | Path,
    *,
    split: Split = "test",
    protocol: str | None = None,
    histories: str | Path | None = None,
    clean: bool = False,
    edits: str = "chosen",
    noise: float = 0.0,
    ks: Sequence[int] = KS,
    ranks_out: str | Path | None = None,
    json_out: str | Path | None = None,
    seed: int = 0,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Rank every user's held-out item and report recall, MRR and NDCG.

    A report on the run's own data, without `clean` and `noise`, is also written to the run folder, where `export` reads
    it. In a run made by `laclrec-tf grow`, new items are ranked as well. Retired items are not, and users whose
    held-out item is retired are skipped.

    Args:
        run: folder made by `laclrec-tf train`.
        split: "test" or "validation". Default: "test".
        protocol: "full", "full-with-history" or "sampled-99", see `laclrec_tf.evaluation.ranking`. Default: as the run
            recommends, "full" if it excludes the items of a history, "full-with-history" if not.
        histories: table of events to evaluate on instead of the run's data, e.g. the same users with added noise, with
            the columns `user_id`, `item_id` and `timestamp`. Unknown items are skipped, and so are users whose
            held-out item is unknown. Default: None, the run's data.
        clean: whether the augmenter edits each history before recommending; items of the raw history stay excluded.
            Default: False.
        edits: "none", "uniform" or "learned": whether predictions are mixed over the edits of each history, see
            `laclrec_tf.layers.EditMixture`; the calibration has seen a part of the validation targets.
            Default: "chosen", what the calibration chose, as an export serves it.
        noise: expected share of foreign items, drawn by popularity, to plant anywhere in each history, see
            `laclrec_tf.data.plant_noise`. Default: 0.
        ks: cut-offs of the metrics, beside 5, 10 and 20, which the report always has. Default: these.
        ranks_out: .csv or .parquet file for the rank of each evaluated user's held-out item, see `evaluate_users`.
            Default: None.
        json_out: file for the report. Default: None.
        seed: seed of the noise, and of the sampled items of "sampled-99", which are the same for the run's data and for
            `histories` of its users. Default: 0.
        show_progress: whether to show a progress bar. Default: True.

    Returns:
        `recall@5` ... `ndcg@20`, and what they describe: `protocol`, `split`, `trained_on`, `tie_rule`, `data_hash`,
        `users`, `users_too_short` (left out, because they have no item of the split), `seed`, `preset`,
        `clean`, `edits`, `noise`, `run`; with `histories` also `histories`, `histories_sha256`, `unknown_item_events`
        and `users_with_unknown_target`; with retired items also `users_with_retired_target`. `targets_in_history` is
        the share of held-out items that are in the history, too: with the protocol "full" they are missed.

    Raises:
        InputError: the run or a file cannot be read, a file cannot be written, the split does not exist or is the
            validation split of a refit, which was trained on it, `clean` is set for a model without augmenter,
            `edits` for one that was not calibrated, or `noise` is out of its range.
    """
    report_file = None if json_out is None else ReportFile(json_out)
    ranks_file = None if ranks_out is None else ReportFile(ranks_out)
    if ranks_file is not None and ranks_file.file.suffix not in (".csv", ".parquet"):
        raise InputError(f"Argument `ranks_out` must end in .csv or .parquet. Received: {ranks_out}.")
    report, users = evaluate_users(
        run,
        split=split,
        protocol=protocol,
        histories=histories,
        clean=clean,
        edits=edits,
        noise=noise,
        ks=ks,
        seed=seed,
        show_progress=show_progress,
    )
    if ranks_file is not None:
        table = io.BytesIO()
        users.write_csv(table) if ranks_file.file.suffix == ".csv" else users.write_parquet(table)
        ranks_file.write(table.getvalue())
    if report_file is not None:
        report_file.write_json(report)
    return report


def evaluate_users(
    run: str | Path,
    *,
    split: Split = "test",
    protocol: str | None = None,
    histories: str | Path | None = None,
    clean: bool = False,
    edits: str = "chosen",
    noise: float = 0.0,
    ks: Sequence[int] = KS,
    seed: int = 0,
    show_progress: bool = True,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Evaluate as `evaluate` does, and also return the rank of each user's held-out item.

    Args:
        run: see `evaluate`, also for the other arguments.

    Returns:
        The report, and a table with a row for each evaluated user: `user_id`, `item_id` (the held-out item), `rank`
        (int64, from 1; 2**31 for an item that is never recommended, see `rank_targets`) and `in_history`, whether the
        held-out item is in the history, too.

    Raises:
        InputError: see `evaluate`.

    Example:
        >>> report, users = evaluate_users("run")  # doctest: +SKIP
        >>> float((users["rank"] <= 10).mean()) == report["recall@10"]  # doctest: +SKIP
        True
    """
    if split not in ("test", "validation"):
        raise InputError(f"Argument `split` must be 'test' or 'validation'. Received: {split!r}.")
    if any(k < 1 for k in ks):
        raise InputError(f"Argument `ks` must hold cut-offs of at least 1. Received: {min(ks)}.")
    if not 0 <= noise < 1:
        raise InputError(f"Argument `noise` must be from 0 to below 1. Received: {noise}.")
    folder = RunFolder.open(run)
    preset = folder.record["settings"]["preset"]
    protocol = served_protocol(folder.exclude_history) if protocol is None else protocol
    if split == "validation" and folder.record["trained_on"] == "refit":
        raise InputError(
            f"{folder.folder} is a refit: it was trained on the validation items. Evaluate it on --split test, "
            "or a strict run on validation."
        )
    if clean and not folder.model.has_augmenter:
        raise InputError(
            f"{folder.folder} has no trained augmenter to clean histories with (preset {preset}). "
            "Evaluate it without --clean, or a laclrec run."
        )
    edits = folder.edits_to_use(edits)
    skipped: dict[str, int] = {}
    if histories is None:
        whole = folder.data.split()
    else:
        if folder.data.hold_out != "last":
            raise InputError(
                f"{folder.data.folder} holds out items by {folder.data.hold_out}, but `histories` would be asked for "
                "their last items, which may be trained on. Evaluate the run without --histories."
            )
        whole, skipped = _known_histories(Path(histories), folder, split)
    retired = np.array(folder.vocabulary.to_ids(folder.retired), np.int32)
    evaluated = _evaluated(whole, split, retired)
    if retired.size:
        skipped["users_with_retired_target"] = int(whole.has_item(split).sum()) - len(evaluated.users)
    pairs = evaluated.pairs(split)
    if not pairs:
        source = "the prepared data" if histories is None else f"{histories} (items the run knows)"
        raise InputError(f"No user in {source} has a {split} item, which takes three events. Give longer histories.")
    targets = np.array([target for _, target in pairs], np.int32)
    before = [history for history, _ in pairs]
    in_history = np.array([target in history for history, target in pairs])
    if noise:
        planting: dict[str, Any] = {"n_items": folder.vocabulary.n_items, "popularity": folder.popularity}
        before, _ = plant_noise(before, noise, **planting, never=list(targets[:, np.newaxis]), seed=seed)
    negatives = None
    if protocol == "sampled-99":
        of_run = evaluated if histories is None else _evaluated(folder.data.split(), split, retired)
        # Retired items are never sampled.
        own = {user: np.union1d(items, retired) for user, items in zip(of_run.users, of_run.histories, strict=True)}
        seen = [np.union1d(items, retired) for items in evaluated.histories]
        negatives = negatives_of_users(evaluated.users, seen, targets, own, folder.vocabulary.n_items, seed)
    with progress_bar(disable=not show_progress) as progress:
        task = progress.add_task(f"ranking, {protocol}", total=len(pairs))
        ranks = rank_targets(
            folder.model,
            before,
            targets,
            protocol=protocol,
            negatives=negatives,
            retired=retired,
            clean=clean,
            edits=edits,
            on_batch=lambda users: progress.update(task, advance=users),
        )
    report: dict[str, Any] = ranking_metrics(ranks, sorted({*KS, *ks}))
    report |= {
        "protocol": protocol,
        "split": split,
        "trained_on": folder.record["trained_on"],
        "tie_rule": TIE_RULE,
        "users": len(pairs),
        "users_too_short": int((~whole.has_item(split)).sum()),
        "data_hash": folder.record["data_hash"],
        "seed": folder.record["settings"]["seed"],
        "negatives_seed": seed,
        "preset": preset,
        "clean": clean,
        "edits": edits,
        "noise": noise,
        "run": str(run),
    }
    if histories is None and folder.data.hold_out != "last":
        report["hold_out"] = folder.data.hold_out
    if histories is not None:
        report |= {"histories": str(histories), "histories_sha256": file_sha256(Path(histories))}
    report |= skipped
    report["targets_in_history"] = float(np.mean(in_history))
    if histories is None and not clean and not noise:
        _write_to_run(folder, report)
    table = pl.DataFrame(
        {
            "user_id": evaluated.users,
            "item_id": folder.vocabulary.to_items(targets),
            "rank": ranks.astype(np.int64) + 1,
            "in_history": in_history,
        }
    )
    return report, table


def _known_histories(file: Path, folder: RunFolder, split: str) -> tuple[SplitHistories, dict[str, int]]:
    """Read histories from a table as ids; skip and count unknown items, and users whose held-out item is unknown."""
    n_held_out = 1 if split == "test" else 2
    events = read_interactions([file], named_by_option=False)
    items = pl.DataFrame({"item_id": folder.vocabulary.items}).with_row_index("id", offset=1)
    events = events.join(
        items.with_columns(pl.col("id").cast(pl.Int32)), on="item_id", how="left", maintain_order="left"
    )
    users = (
        events.sort("user_id", "timestamp", maintain_order=True)
        .group_by("user_id", maintain_order=True)
        .agg(pl.col("id").drop_nulls(), pl.col("id").tail(n_held_out).is_null().any().alias("is_target_unknown"))
    )
    known = users.filter(~pl.col("is_target_unknown"))
    # As `prepare` keeps them.
    kept = slice(None) if folder.record.get("window") == "sliding" else slice(-folder.record["max_length"], None)
    histories = [row.to_numpy()[kept] for row in known.get_column("id")]
    return (
        SplitHistories.leave_one_out(known.get_column("user_id").to_list(), histories),
        {
            "unknown_item_events": events.get_column("id").null_count(),
            "users_with_unknown_target": users.height - known.height,
        },
    )


def _evaluated(whole: SplitHistories, split: Split, retired: np.ndarray) -> SplitHistories:
    """Return the users with a held-out item that is not retired."""
    held = whole.of(whole.has_item(split))
    return held.of(~np.isin([target for _, target in held.pairs(split)], retired))


def negatives_of_users(
    users: Sequence[str],
    seen: Sequence[np.ndarray],
    targets: np.ndarray,
    own: Mapping[str, np.ndarray],
    n_items: int,
    seed: int = 0,
) -> np.ndarray:
    """Sample each evaluated user's negatives.

    A user of the run gets the negatives of an evaluation on the run's own histories, whatever noise the evaluated
    history contains. Any other user, and one whose target is not in the run's own history, gets unseen items.

    Args:
        users: ids of the evaluated users.
        seen: per evaluated user, the integer ids of all items in the evaluated events.
        targets: `[U]` integer ids of the held-out items.
        own: the run's own histories that can be evaluated, by user id, in the order of its data.
        n_items: catalogue size `N`.
        seed: seed of the samples. Default: 0.

    Returns:
        `[U, 99]` int32 ids.

    Raises:
        InputError: the catalogue is too small for some user, or `seed` is below 0.

    Example:
        >>> own = {"ann": np.array([1, 2, 3])}
        >>> noisy = negatives_of_users(["ann"], [np.array([1, 50, 2, 3])], np.array([3]), own, n_items=200)
        >>> bool((noisy == negatives_of_users(["ann"], [own["ann"]], np.array([3]), own, n_items=200)).all())
        True
    """
    sampled = dict(zip(own, sample_negatives(list(own.values()), n_items, seed=seed), strict=True))
    known = np.array([user in own and target in own[user] for user, target in zip(users, targets, strict=True)], bool)
    of_others = sample_negatives(
        [
            np.concatenate([items, own.get(user, items)])
            for user, items, is_known in zip(users, seen, known, strict=True)
            if not is_known
        ],
        n_items,
        seed=seed,
    )
    negatives = np.empty((len(users), of_others.shape[1]), np.int32)
    negatives[~known] = of_others
    for row in np.flatnonzero(known):
        negatives[row] = sampled[users[int(row)]]
    return negatives


def _write_to_run(run: RunFolder, report: Mapping[str, Any]) -> None:
    """Write `evaluation-SPLIT-PROTOCOL[-EDITS].json`, which `export` reads. A read-only folder is left as it is."""
    edits = "" if report["edits"] == "none" else f"-{report['edits']}"
    file = run.folder / f"evaluation-{report['split']}-{report['protocol']}{edits}.json"
    with suppress(OSError), atomic_write(file) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
