"""Measure a run for its report: metrics by group, properties of the recommended lists, and the augmenter's edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from laclrec_tf.data.planted_noise import plant_noise
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.augmenter_edits import augmenter_habits
from laclrec_tf.evaluation.augmenter_repairs import corruption_popularity, planted_deletions, repairs_of
from laclrec_tf.evaluation.ranking import rank_targets, users_at_once
from laclrec_tf.layers.edit_mixture import EDITS, N_MIXED
from laclrec_tf.metrics.groups import length_groups, metrics_by_group, popularity_groups
from laclrec_tf.metrics.lists import coverage, intra_list_diversity, novelty, surprise
from laclrec_tf.metrics.ranking import MISSED, ranking_metrics, served_protocol
from laclrec_tf.metrics.significance import reliability
from laclrec_tf.models import Catalogue, CountModel, LACLRec
from laclrec_tf.ops.edits import OPERATION_NAMES
from laclrec_tf.ops.masking import pack_histories, pad_histories
from laclrec_tf.run_folder import RunFolder

K = 10
RANDOM_LISTS = 1000
NOISE_RATES = (0.0, 0.1, 0.2, 0.3, 0.4)
NOISE_USERS = 2000


def measure_run(run: RunFolder, users: HeldOutUsers, seed: int = 0) -> dict[str, Any]:
    """Measure a run on its test users.

    Args:
        run: The run.
        users: Its test users with lists of ten items.
        seed: Seed of the random lists to compare with and of the corrupted histories. Default: 0.

    Returns:
        `users` and `of_users` (numbers of users measured and of all test users), `exclude_history` (that of `users`),
        `metrics` (recall, MRR and NDCG at 5, 10 and 20), `most_popular` (the same if the most popular items are
        recommended to all), `bought_before` (share of users whose next item is in their history), `by_length` and
        `by_popularity` (see `metrics_by_group`), `lists` (see `list_findings`), `noise` (see `noise_findings`), and
        `augmenter`: None, or the result of `augmenter_habits`, `calibration`: for each operation `expected_error`, and
        `predicted`, `observed` and `counts` of ten bins, on corrupted histories; `planted_calibration`: the same of
        DELETE on planted noise; `detection`: the result of `Deletions.quality` on planted noise, and `decided`, the
        precision, recall and good events lost there.
    """
    of_target = popularity_groups(run.popularity)
    by_target = type(of_target)(of_target.labels, of_target.members[users.targets - 1])
    augmenter = None
    if run.model.has_augmenter:
        augmenter = augmenter_habits(run.model, users.read_by(run.model), run.vocabulary)
        augmenter |= _calibration(run, users, seed)
    return {
        "users": len(users.histories),
        "of_users": users.n_all,
        "exclude_history": users.exclude_history,
        "metrics": ranking_metrics(users.ranks),
        "most_popular": ranking_metrics(
            popularity_ranks(
                users.histories,
                users.targets,
                run.popularity,
                run.vocabulary.to_ids(run.retired),
                users.exclude_history,
            )
        ),
        "bought_before": float(
            np.mean(
                [target in history for history, target in zip(users.histories, users.targets.tolist(), strict=True)]
            )
        ),
        "by_length": metrics_by_group(users.ranks, length_groups([len(each) for each in users.histories]), K),
        "by_popularity": metrics_by_group(users.ranks, by_target, K),
        "lists": list_findings(run, users, seed),
        "noise": noise_findings(run, users, seed),
        "augmenter": augmenter,
    }


def _calibration(run: RunFolder, users: HeldOutUsers, seed: int) -> dict[str, Any]:
    """Compare the probabilities of the operations with corrupted histories, and those of DELETE with planted noise."""
    read = users.read_by(run.model)
    repairs = repairs_of(run.model, read, seed, corruption_popularity(run))
    planted = planted_deletions(run.model, read, run.popularity, seed)
    cases = {
        name: (repairs.probabilities[:, operation], repairs.operations == operation)
        for operation, name in enumerate(OPERATION_NAMES)
    } | {"planted": (planted.probabilities, planted.is_noise)}
    calibration: dict[str, Any] = {}
    for name, (probabilities, came_true) in cases.items():
        bins = reliability(probabilities, came_true)
        calibration[name] = {
            "expected_error": bins.expected_error,
            "predicted": bins.predicted.tolist(),
            "observed": bins.observed.tolist(),
            "counts": bins.counts.tolist(),
        }
    return {
        "planted_calibration": calibration.pop("planted"),
        "calibration": calibration,
        "detection": planted.quality(run.popularity),
        "decided": {name: planted.summary()[name] for name in ("precision", "recall", "good_lost")},
    }


def list_findings(run: RunFolder, users: HeldOutUsers, seed: int) -> dict[str, float]:
    """Measure properties of the recommended lists besides accuracy.

    Returns:
        `coverage` and `novelty` (in bits) of the lists, and for comparison `coverage_of_next_items` and
        `novelty_of_next_items`; unless the model is counted, `diversity`, the mean over lists and their pairs of one
        minus the cosine of the trained item vectors, and for comparison `diversity_at_random` of lists drawn from the
        catalogue.
    """
    recommendable = np.setdiff1d(np.arange(1, run.model.n_items + 1), run.vocabulary.to_ids(run.retired))
    found = {
        "coverage": coverage(users.lists, len(recommendable)),
        "coverage_of_next_items": coverage(users.targets, len(recommendable)),
        "novelty": novelty(users.lists, run.popularity),
        "novelty_of_next_items": float(np.mean(surprise(users.targets, run.popularity))),
    }
    if isinstance(run.model, CountModel):
        return found
    vectors = run.model.item_vectors.numpy()
    generator = np.random.default_rng(seed)
    size = min(K, len(recommendable))
    at_random = np.stack(
        [generator.choice(recommendable, size, replace=False, shuffle=False) for _ in range(RANDOM_LISTS)]
    )
    return found | {
        "diversity": _mean(intra_list_diversity(users.lists, vectors)),
        "diversity_at_random": _mean(intra_list_diversity(at_random, vectors)),
    }


def noise_findings(run: RunFolder, users: HeldOutUsers, seed: int) -> dict[str, list[float]]:
    """Measure ndcg@10 for histories with planted noise, drawn by popularity, of at most 2,000 users.

    Returns:
        ndcg@10 at each of `NOISE_RATES` by kind of edits, see `LACLRec.scores_of`; of a run that was not calibrated
        "none" only.
    """
    rows = slice(NOISE_USERS)  # the users were drawn at random, or are all
    targets, kinds = users.targets[rows], EDITS if "edits" in run.record else EDITS[:1]
    noisy: list[np.ndarray] = []
    for number, rate in enumerate(NOISE_RATES):
        noisy += plant_noise(
            users.histories[rows],
            rate,
            n_items=run.model.n_items,
            popularity=run.popularity,
            never=list(targets[:, np.newaxis]),
            seed=seed + number,
        )[0]
    found = {}
    for kind in kinds:
        ranks = rank_targets(  # all rates in one call, because each call traces a function
            run.model,
            noisy,
            np.tile(targets, len(NOISE_RATES)),
            protocol=served_protocol(users.exclude_history),
            edits=kind,
            retired=run.vocabulary.to_ids(run.retired),
        )
        of_rates = np.split(ranks, len(NOISE_RATES))
        found[kind] = [ranking_metrics(each, ks=(K,))[f"ndcg@{K}"] for each in of_rates]
    return found


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values[~np.isnan(values)])) if np.any(~np.isnan(values)) else float("nan")


def popularity_ranks(
    histories: Sequence[np.ndarray],
    targets: np.ndarray,
    counts: np.ndarray,
    retired: Sequence[int] = (),
    exclude_history: bool = True,
) -> np.ndarray:
    """Rank each target by popularity among the items that may be recommended. Ties count against the target.

    Args:
        histories: Per user `[n]` integer ids.
        targets: `[U]` integer ids.
        counts: `[N]` number of events of each item in the training data.
        retired: Integer ids that are never recommended and are not targets. Default: none.
        exclude_history: Whether the items of the history are left out. Default: True.

    Returns:
        `[U]` integer ranks; the best is 0, and a target that is left out has `MISSED`.

    Example:
        >>> popularity_ranks([np.array([1, 2])], np.array([4]), np.array([9, 8, 7, 5, 5])).tolist()
        [2]
    """
    counts = np.asarray(counts).copy()
    counts[np.asarray(retired, np.int64) - 1] = -1  # ranked after every target
    ordered = np.sort(counts)
    ranks = len(counts) - np.searchsorted(ordered, counts[targets - 1]) - 1
    if not exclude_history:
        return ranks
    pairs = list(zip(histories, targets, strict=True))
    seen = [np.sum(counts[np.unique(history) - 1] >= counts[target - 1]) for history, target in pairs]
    return np.where([target in history for history, target in pairs], MISSED, ranks - np.array(seen, np.int64))


@dataclass(frozen=True)
class HeldOutUsers:
    """Users of the test split with their ranks and recommendations.

    Args:
        user_ids: `[U]` user ids.
        histories: Per user `[n]` int32 ids before the held-out item.
        targets: `[U]` int32, the held-out items.
        ranks: `[U]` int32 ranks of the held-out items over the items that are recommended; the best is 0.
        lists: `[U, k]` int32, the best items that are recommended, 0 for an empty place.
        n_all: Number of users in the test split.
        exclude_history: Whether the items of a history are not recommended.
    """

    user_ids: list[str]
    histories: list[np.ndarray]
    targets: np.ndarray
    ranks: np.ndarray
    lists: np.ndarray
    n_all: int
    exclude_history: bool

    def read_by(self, model: LACLRec) -> list[np.ndarray]:
        """Return the newest events of each history, as many as a model reads."""
        return [history[-model.max_length :] for history in self.histories]

    def __repr__(self) -> str:
        return f"HeldOutUsers({len(self.user_ids):,} of {self.n_all:,} users, {self.lists.shape[1]} items for each)"


def held_out_users(
    run: RunFolder, *, max_users: int, k: int, seed: int, exclude_history: bool | None = None
) -> HeldOutUsers:
    """Rank the held-out items of test users and recommend to them.

    Args:
        run: The run. Its retired items are not recommended, and users whose held-out item is retired are left out.
        max_users: Max number of users; if the test split has more, they are drawn at random.
        k: Number of items to recommend.
        seed: Seed of the draw.
        exclude_history: Whether the items of a history are not recommended. Default: None, as the run says.

    Raises:
        InputError: The data cannot be read, or no history has a held-out item.
    """
    retired = np.array(run.vocabulary.to_ids(run.retired), np.int32)
    gone = set(retired.tolist())
    model = run.model
    split = run.data.split()
    split = split.of(split.has_item("test"))
    users = [
        (user, history, target)
        for user, (history, target) in zip(split.users, split.pairs("test"), strict=True)
        if target not in gone
    ]
    if not users:
        raise InputError(
            f"No user in {run.data.folder} has a test item in the catalogue. Prepare more events of each user."
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(len(users))[:max_users])
    user_ids, histories, targets = (list(part) for part in zip(*(users[row] for row in chosen), strict=True))
    held = np.array(targets, np.int32)
    edits = run.edits_to_use()
    excludes = run.exclude_history if exclude_history is None else exclude_history
    protocol = served_protocol(excludes)
    ranks = rank_targets(model, histories, held, protocol=protocol, retired=retired, edits=edits)
    lists = best_items(model, histories, k, retired, edits, excludes)
    return HeldOutUsers(user_ids, histories, held, ranks, lists, len(users), excludes)


def best_items(
    model: LACLRec | CountModel,
    histories: list[np.ndarray],
    k: int,
    retired: np.ndarray,
    edits: str = "none",
    exclude_history: bool = True,
) -> np.ndarray:
    """Return each user's best items without retired ones and, unless they are kept, those of the history.

    Args:
        model: The model.
        histories: Per user `[n]` int32 ids, oldest first.
        k: Number of items.
        retired: Integer ids that are never recommended.
        edits: "none", "uniform" or "learned", see `LACLRec.scores_of`. Default: "none".
        exclude_history: Whether the items of the history are left out. Default: True.

    Returns:
        `[U, k]` int32, best first, 0 if the catalogue has no more items.
    """
    k_found = min(k, model.n_items)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def best(history: tf.Tensor) -> tf.Tensor:
        gone = tf.tile(tf.constant(retired, tf.int32)[tf.newaxis], [tf.shape(history)[0], 1])
        exclude = tf.concat([history, gone], axis=1) if exclude_history else gone
        scores = model.scores_of(pack_histories(history, model.max_length), edits)
        item_ids, scores = Catalogue.best_of(scores, k_found, exclude)
        return tf.where(scores > -np.inf, item_ids, 0)

    lists = np.zeros((len(histories), k), np.int32)
    order = np.argsort([len(history) for history in histories], kind="stable")
    at_once = users_at_once(model.n_items * (1 if edits == "none" else N_MIXED))
    for start in range(0, len(order), at_once):
        rows = order[start : start + at_once]
        lists[rows, :k_found] = best(pad_histories([histories[row] for row in rows])).numpy()
    return lists
