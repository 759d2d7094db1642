"""The demo: the stages of a pipeline on simulated events, and queries to the model that it serves."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.simulated import PlantedHistory, planted_histories, simulate_events
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate_users
from laclrec_tf.metrics.ranking import ranking_metrics
from laclrec_tf.recommender import Recommender, load
from laclrec_tf.runtime.terminal import terminal
from laclrec_tf.serving.client.answers import AugmentedHistory
from laclrec_tf.serving.client.client import RetrievalClient
from laclrec_tf.serving.release.export import export
from laclrec_tf.serving.release.push import push
from laclrec_tf.serving.server.server import ModelServer
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import train

# Few items, and small batches for so few events: the preset then learns the shop in a minute or two.
DEMO_EVENTS: dict[str, Any] = {"users": 1500, "items": 120, "noise": 0.15}
DEMO_SETTINGS = {"epochs": 10, "targets_per_batch": 256}
STYLES = {"keep": "", "delete": "red strike", "insert": ""}
INSERTED = "green"


def demo(folder: str | Path | None = None, *, seed: int = 0) -> None:
    """Simulate events, prepare, train, evaluate, export, push, serve and query the server, and print the results.

    Args:
        folder: folder for all results; must be empty or new. Default: None, a temporary folder.
        seed: seed of the simulated events and of training. Default: 0.

    Raises:
        InputError: `folder` is not empty.
    """
    if folder is not None and Path(folder).exists() and (Path(folder).is_file() or any(Path(folder).iterdir())):
        raise InputError(f"{folder} is not empty. Give the demo a new folder.")
    config = TrainConfig.of(DEMO_SETTINGS | {"seed": seed})
    console = terminal()
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        base = Path(place)
        base.mkdir(parents=True, exist_ok=True)

        console.rule("events")
        events, truth, _ = simulate_events(base / "events.csv", **DEMO_EVENTS, noise_anywhere=True, seed=seed)
        data = prepare([events], base / "data")
        console.print(
            "{users:,} users, {items:,} items, {events:,} events, ".format(**data.counts)
            + f"{DEMO_EVENTS['noise']:.0%} of them planted noise, also among the newest events"
        )

        console.rule("training LACLRec")
        train(data.folder, base / "run", config)
        evaluated = {
            "as they are": evaluate_users(base / "run", edits="none"),
            "over their edits": evaluate_users(base / "run"),
        }
        report, _ = evaluated["over their edits"]
        console.print(
            f"test: recall@10 {report['recall@10']:.3f}, ndcg@10 {report['ndcg@10']:.3f} over the whole catalogue "
            f"(the ten most popular items: recall@10 {_popularity_recall(data):.3f})"
        )
        console.print(noise_table({name: users for name, (_, users) in evaluated.items()}, newest_is_noise(truth)))

        console.rule("publishing the model")
        version = export(base / "run", base / "model")
        pushed = push(version, base / "saved_models" / "demo", data=data.folder)
        for line in pushed.report():
            console.print(line)

        console.rule("serving over gRPC")
        with ModelServer("demo", pushed.version.parent, port=0) as server:
            address = f"127.0.0.1:{server.start()}"
            console.print(f"TensorFlow Serving's protocol on {address}")
            with RetrievalClient(address, "demo") as client:
                _show_answers(console, client, load(base / "run", edits="none"), planted_histories(data, truth))
        if folder is not None:
            console.print(f"All results are in {base}")


def _popularity_recall(data: PreparedData) -> float:
    # Ids are ordered by popularity, so the ten most popular items have the ids 1 to 10.
    pairs = data.split().pairs("test")
    return sum(int(target) <= 10 for _, target in pairs) / len(pairs)


def newest_is_noise(truth: Path) -> pl.DataFrame:
    """Return whether each user's newest event before the test item is noise: `user_id` String, `is_noise` Boolean."""
    events = pl.read_csv(truth, schema_overrides={"user_id": pl.String})
    events = events.sort("user_id", "timestamp", maintain_order=True)
    return events.group_by("user_id", maintain_order=True).agg(pl.col("is_noise").get(-2, null_on_oob=True))


def noise_table(evaluated: Mapping[str, pl.DataFrame], newest: pl.DataFrame) -> Table:
    """Return a table of ndcg@10 for all users, and for those whose newest event is noise or real.

    Args:
        evaluated: the users' ranks of `evaluate_users` by the way histories are read.
        newest: result of `newest_is_noise`.
    """
    table = Table("histories", "all users", "newest event real", "newest event noise", title="ndcg@10")
    for name, users in evaluated.items():
        rows = users.join(newest, on="user_id", how="left")
        groups = rows, rows.filter(~pl.col("is_noise")), rows.filter("is_noise")
        ranks = [group.get_column("rank").to_numpy() - 1 for group in groups]
        table.add_row(name, *(f"{ranking_metrics(of, ks=(10,))['ndcg@10']:.3f}" if len(of) else "-" for of in ranks))
    return table


def _show_answers(
    console: Console, client: RetrievalClient, as_they_are: Recommender, histories: list[PlantedHistory]
) -> None:
    augmented = client.augment([[item for item, _ in history] for history in histories])
    # The first whose newest event is noise, whatever the model does to them.
    chosen = [n for n, history in enumerate(histories) if 6 <= len(history) <= 10 and history[-1][1]][:3]
    shown = [histories[n] for n in chosen]
    table = Table("last items", "read as it is", "over its edits, served", title="Recommended next", show_lines=True)
    for history in shown:
        items = [item for item, _ in history]
        (before,), (after,) = as_they_are.recommend([items], k=4), client.recommend([items], k=4)
        last = "\n".join(f"{item}{' *' if is_noise else ''}" for item, is_noise in history[-3:])
        table.add_row(last, "\n".join(before.item_ids), "\n".join(after.item_ids))
    console.print(table)
    console.print(edits_table(shown, [augmented[n] for n in chosen]))
    console.print(noise_deleted(histories, augmented))


def edits_table(histories: list[PlantedHistory], augmented: list[AugmentedHistory]) -> Table:
    """Return a table with one row for each history: its items, and the items after the augmenter's edits.

    Args:
        histories: the histories with their planted noise.
        augmented: the augmenter's answer for each history.
    """
    table = Table(
        "history",
        "after the augmenter",
        title="What the augmenter did",
        caption=Text.assemble(
            "the first users whose newest event is noise, of 6 to 10 events; ",
            ("deleted", STYLES["delete"]),
            ", ",
            ("inserted", INSERTED),
            ", * = planted noise",
        ),
        show_lines=True,
    )
    for history, edits in zip(histories, augmented, strict=True):
        before, after = [], []
        for (item, is_noise), operation, inserted in zip(history, edits.operations, edits.inserted, strict=True):
            before.append(Text(f"{item}{' *' if is_noise else ''}", style=STYLES[operation]))
            after += [Text(each, style=INSERTED) for each in inserted]
            if operation != "delete":
                after.append(Text(item))
        # An edited history has a max length too, and keeps its last items.
        table.add_row(Text("\n").join(before), Text("\n").join(after[-len(edits.edited_history) :]))
    return table


def noise_deleted(histories: list[PlantedHistory], augmented: list[AugmentedHistory]) -> str:
    """Return a sentence with the numbers of noise events and of other events that the augmenter deleted.

    Args:
        histories: the histories with their planted noise.
        augmented: the augmenter's answer for each history.
    """
    events: Counter[bool] = Counter()
    deleted: Counter[bool] = Counter()
    for history, edits in zip(histories, augmented, strict=True):
        for (_, is_noise), operation in zip(history, edits.operations, strict=True):
            events[is_noise] += 1
            deleted[is_noise] += operation == "delete"
    noise, others = (f"{deleted[is_noise]:,} of {events[is_noise]:,} " for is_noise in (True, False))
    return f"From {len(histories):,} test histories it deleted {noise}planted noise events and {others}other events."
