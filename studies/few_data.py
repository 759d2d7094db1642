"""Train on a share of the users, and ask for all of them: how well does a model do for a shop with few data?

laclrec-tf prepare interactions.csv.gz --out beauty --min-interactions 0
python studies/few_data.py beauty --share 0.05 --preset laclrec --seed 0 --out few

The users are drawn with the seed; every preset gets the same ones. All users' test items are ranked over the items
that the training has seen. Where it has not seen the target, or no event of the history, this counts as a miss.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from laclrec_tf.cli.main import run_app
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.ranking import rank_targets
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.metrics.ranking import ranking_metrics
from laclrec_tf.training.config import TrainConfig, parse_assignments
from laclrec_tf.training.train import train

MISS = 10**6  # the rank of a target that cannot be recommended


def main(
    data: Annotated[Path, typer.Argument(help="Folder made by `laclrec-tf prepare`.")],
    out: Annotated[Path, typer.Option(help="Folder for the events, the run and the result.")],
    share: Annotated[float, typer.Option(help="Share of the users to train on.", min=0.001, max=1)] = 0.1,
    preset: Annotated[str, typer.Option(help="Preset.")] = "laclrec",
    seed: Annotated[int, typer.Option(help="Seed of the users and of the training.")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Further settings, such as alpha=0.05.")] = None,
) -> None:
    """Train on a share of the users, and rank the test items of all users."""
    config = TrainConfig.of({"preset": preset, "seed": seed} | parse_assignments(settings or []))
    found = few_data(data, out, share, config)
    print(json.dumps(found))


def few_data(data: str | Path, out: str | Path, share: float, config: TrainConfig) -> dict[str, object]:
    """Train on a share of the users, rank the test items of all users, and write `few_data.json`.

    Args:
        data: Folder made by `laclrec-tf prepare`.
        out: Folder to write.
        share: Share of the users to train on.
        config: Settings of the training. Its seed draws the users, too.

    Returns:
        The share, the settings, the numbers of users and items that were trained on, the share of the users whose
        target and at least one event are among them, the validation metrics, and for each kind of edits the test
        metrics over all users.

    Raises:
        InputError: The settings are those of a refit, the data hold out other items than the last ones, or the folder
            exists.
    """
    if config.refit:
        raise InputError("A refit has no validation metrics. Leave `refit` out.")
    out, whole = Path(out), PreparedData.open(data)
    if whole.hold_out != "last":
        raise InputError(f"{whole.folder} holds out items by {whole.hold_out}, but each user's last two are needed.")
    split = whole.split()
    users, histories = split.users, split.histories
    drawn = np.random.default_rng(config.seed).permutation(len(users))[: max(1, round(share * len(users)))]
    events = pl.DataFrame(
        {
            "user_id": [users[user] for user in drawn],
            "item_id": [whole.vocabulary.to_items(histories[user].tolist()) for user in drawn],
            "timestamp": [list(range(len(histories[user]))) for user in drawn],
        }
    ).explode("item_id", "timestamp")
    part = prepare(
        events, out / "data", min_interactions=0, max_length=whole.max_length, window=whole.window, duplicates="keep"
    )
    run = train(part.folder, out / "run", config, boards=False)
    pairs = split.pairs("test")
    asked = [_ids_of(history, whole.vocabulary, part.vocabulary) for history, _ in pairs]
    targets = np.array([part.vocabulary.to_ids(whole.vocabulary.to_items([target]))[0] for _, target in pairs])
    is_known = (targets > 0) & np.array([history.size > 0 for history in asked])
    known = np.flatnonzero(is_known)
    test = {}
    for edits in ("none", "uniform", "learned") if "edits" in run.record else ("none",):
        ranks = np.full(len(pairs), MISS, np.int32)
        ranks[known] = rank_targets(run.model, [asked[user] for user in known], targets[known], edits=edits)
        test[edits] = ranking_metrics(ranks, ks=(10,))
    found = {
        "share": share,
        "settings": run.record["settings"],
        "data_hash": whole.data_hash,
        "users": len(drawn),
        "items": part.vocabulary.n_items,
        "targets_known": float(is_known.mean()),
        "seconds": run.record["seconds"],
        "best_epoch": run.record["best_epoch"],
        "validation": run.record["validation"],
        "chosen": run.record.get("edits", {}).get("chosen", "none"),
        "test": test,
    }
    (out / "few_data.json").write_text(json.dumps(found, indent=2) + "\n")
    return found


def _ids_of(history: np.ndarray, whole: ItemVocabulary, part: ItemVocabulary) -> np.ndarray:
    """Return a history's ids in another vocabulary, without the items that it lacks."""
    item_ids = np.array(part.to_ids(whole.to_items(history.tolist())), np.int32)
    return item_ids[item_ids > 0]


if __name__ == "__main__":
    run_app(main, "few_data.py")
