"""The whole way once, on simulated events: from a file of events to an answer over gRPC."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.serving.client import RetrievalClient
from laclrec_tf.serving.recommendation import AugmentedHistory
from laclrec_tf.serving.server import ModelServer
from pipelines.config import TrainConfig
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.prepare import prepare
from pipelines.simulate import simulate_events
from pipelines.train import train

# A small catalogue and a long first phase: two minutes of training are enough for the augmenter to tell noise.
DEMO_EVENTS: dict[str, Any] = {"items": 120, "noise": 0.05}
DEMO_SETTINGS = {"pretrain_epochs": 25, "epochs": 8, "targets_per_batch": 256, "dropout": 0.1, "lambda_aug": 1.0}
STYLES = {"keep": "", "delete": "red strike", "insert": ""}


def demo(folder: str | Path | None = None, *, seed: int = 0) -> None:
    """Simulate, prepare, train, evaluate, export, serve and ask, and print what came of it.

    Args:
        folder: where to keep everything that is made; must be empty or new. Default: a temporary folder.
        seed: of the simulated events and of training. Default: 0.

    Raises:
        InputError: `folder` holds something already.
    """
    if folder is not None and Path(folder).exists() and (Path(folder).is_file() or any(Path(folder).iterdir())):
        raise InputError(f"{folder} is not empty. Give the demo a new folder.")
    console = Console()
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        base = Path(place)
        base.mkdir(parents=True, exist_ok=True)

        console.rule("events")
        events = base / "events.csv"
        simulate_events(events, **DEMO_EVENTS, seed=seed)
        data = prepare([events], base / "data")
        counts = data.counts
        console.print(
            f"{counts['users']:,} shoppers, {counts['items']:,} items, {counts['events']:,} events, "
            f"{100 * DEMO_EVENTS['noise']:.0f} % of them planted noise",
            highlight=False,
        )
        console.rule("training LACLRec")
        train(base / "data", base / "run", TrainConfig.of(DEMO_SETTINGS | {"seed": seed}))
        report = evaluate(base / "run")
        _print_metrics(console, report, _popularity_recall(data))

        console.rule("served over gRPC")
        version = export(base / "run", base / "saved_models" / "demo")
        with ModelServer("demo", version.parent, port=0) as server:
            port = server.start()
            console.print(f"TensorFlow Serving's protocol on 127.0.0.1:{port}", highlight=False)
            with RetrievalClient(f"127.0.0.1:{port}", "demo") as client:
                histories = _noisy_histories(data, base / "events.truth.csv")
                _print_recommendations(console, client, histories)
                _print_edits(console, client, histories)
        if folder is not None:
            console.print(f"Everything made here is in {base}", highlight=False)


def _print_metrics(console: Console, report: dict, popularity_recall: float) -> None:
    console.print(
        f"test: recall@10 {report['recall@10']:.3f}, ndcg@10 {report['ndcg@10']:.3f} over the whole catalogue "
        f"(the ten most popular items: recall@10 {popularity_recall:.3f})",
        highlight=False,
    )


def _popularity_recall(data: PreparedData) -> float:
    # Ids are ordered by popularity, so the ten most popular items have the ids 1 to 10.
    pairs = [pair for history in data.histories()[1] if (pair := held_out(history, "test")) is not None]
    return sum(int(target) <= 10 for _, target in pairs) / len(pairs)


def _noisy_histories(data: PreparedData, truth_file: Path, count: int = 3) -> list[list[tuple[str, bool]]]:
    """Take the first shoppers with two to four planted noise events and a short history: `(item, is noise)`."""
    truth = pl.read_csv(truth_file, schema_overrides={"user_id": pl.String, "item_id": pl.String})
    picked = []
    for _, events in truth.sort("user_id", "timestamp").group_by("user_id", maintain_order=True):
        before_target = events[:-1]
        if 6 <= before_target.height <= 10 and 2 <= before_target.get_column("is_noise").sum() <= 4:
            picked.append(list(before_target.select("item_id", "is_noise").iter_rows()))
        if len(picked) == count:
            break
    return picked


def _print_recommendations(console: Console, client: RetrievalClient, histories: list[list[tuple[str, bool]]]) -> None:
    table = Table("last items", "recommended next", title="Recommendations", show_lines=True)
    for history in histories:
        (answer,) = client.recommend([[item for item, _ in history]], k=5)
        scored = [f"{item} ({score:.1f})" for item, score in zip(answer.item_ids, answer.scores, strict=True)]
        table.add_row(", ".join(item for item, _ in history[-3:]), ", ".join(scored))
    console.print(table)


def _print_edits(console: Console, client: RetrievalClient, histories: list[list[tuple[str, bool]]]) -> None:
    table = Table(
        "history",
        "after the augmenter",
        title="What the augmenter did",
        caption="red = deleted, [green]green[/green] = inserted, * = planted noise",
        show_lines=True,
    )
    for history in histories:
        (augmented,) = client.augment([[item for item, _ in history]])
        raw = Text("\n").join(
            Text(f"{item}{' *' if is_noise else ''}", style=STYLES[operation])
            for (item, is_noise), operation in zip(history, augmented.operations, strict=True)
        )
        table.add_row(raw, _marked(augmented, {item for item, _ in history}))
    console.print(table)


def _marked(augmented: AugmentedHistory, raw_items: set[str]) -> Text:
    return Text("\n").join(Text(item, style="" if item in raw_items else "green") for item in augmented.edited_history)
