"""The whole way once, on simulated events: from a file of events to an answer over gRPC."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.simulated import PlantedHistory, planted_histories, simulate_events
from laclrec_tf.data.splits import held_out
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate
from laclrec_tf.runtime.terminal import terminal
from laclrec_tf.serving.client.answers import AugmentedHistory
from laclrec_tf.serving.client.client import RetrievalClient
from laclrec_tf.serving.release.export import export
from laclrec_tf.serving.server.server import ModelServer
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.train import train

# A small catalogue and a long first phase: in two minutes of training the augmenter learns to delete some of the noise
# and next to nothing else. With positions from the end it deletes less of the noise and more of the rest.
DEMO_EVENTS: dict[str, Any] = {"items": 120, "noise": 0.05}
DEMO_SETTINGS = {
    "pretrain_epochs": 25,
    "epochs": 8,
    "targets_per_batch": 256,
    "dropout": 0.1,
    "lambda_aug": 1.0,
    "positions": "start",
}
STYLES = {"keep": "", "delete": "red strike", "insert": ""}
INSERTED = "green"


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
    config = TrainConfig.of(DEMO_SETTINGS | {"seed": seed})
    console = terminal()
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
            f"{100 * DEMO_EVENTS['noise']:.0f} % of them planted noise"
        )
        console.rule("training LACLRec")
        train(base / "data", base / "run", config)
        report = evaluate(base / "run")
        _print_metrics(console, report, _popularity_recall(data))

        console.rule("served over gRPC")
        version = export(base / "run", base / "saved_models" / "demo")
        with ModelServer("demo", version.parent, port=0) as server:
            port = server.start()
            console.print(f"TensorFlow Serving's protocol on 127.0.0.1:{port}")
            with RetrievalClient(f"127.0.0.1:{port}", "demo") as client:
                histories = planted_histories(data, base / "events.truth.csv")
                augmented = client.augment([[item for item, _ in history] for history in histories])
                shown = [n for n, history in enumerate(histories) if _is_shown(history)][:3]
                _print_recommendations(console, client, [histories[n] for n in shown])
                console.print(edits_table([histories[n] for n in shown], [augmented[n] for n in shown]))
                console.print(noise_deleted(histories, augmented))
        if folder is not None:
            console.print(f"Everything made here is in {base}")


def _print_metrics(console: Console, report: dict[str, Any], popularity_recall: float) -> None:
    console.print(
        f"test: recall@10 {report['recall@10']:.3f}, ndcg@10 {report['ndcg@10']:.3f} over the whole catalogue "
        f"(the ten most popular items: recall@10 {popularity_recall:.3f})"
    )


def _popularity_recall(data: PreparedData) -> float:
    # Ids are ordered by popularity, so the ten most popular items have the ids 1 to 10.
    pairs = [pair for history in data.histories()[1] if (pair := held_out(history, "test")) is not None]
    return sum(int(target) <= 10 for _, target in pairs) / len(pairs)


def _is_shown(history: PlantedHistory) -> bool:
    # Whatever the augmenter does to it.
    return 6 <= len(history) <= 10 and any(is_noise for _, is_noise in history)


def _print_recommendations(console: Console, client: RetrievalClient, histories: list[PlantedHistory]) -> None:
    table = Table("last items", "recommended next", title="Recommendations", show_lines=True)
    for history in histories:
        (answer,) = client.recommend([[item for item, _ in history]], k=5)
        scored = [f"{item} ({score:.1f})" for item, score in zip(answer.item_ids, answer.scores, strict=True)]
        table.add_row(", ".join(item for item, _ in history[-3:]), ", ".join(scored))
    console.print(table)


def edits_table(histories: list[PlantedHistory], augmented: list[AugmentedHistory]) -> Table:
    """Lay out what the augmenter did to histories, one below the other.

    Args:
        histories: as they were planted.
        augmented: the augmenter's answer for each.
    """
    table = Table(
        "history",
        "after the augmenter",
        title="What the augmenter did",
        caption=Text.assemble(
            "the first shoppers with planted noise and 6 to 10 events; ",
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
        # An edited history has a longest length too: its last items stay.
        table.add_row(Text("\n").join(before), Text("\n").join(after[-len(edits.edited_history) :]))
    return table


def noise_deleted(histories: list[PlantedHistory], augmented: list[AugmentedHistory]) -> str:
    """Say how much of all planted noise the augmenter deleted, and how much else.

    Args:
        histories: as they were planted.
        augmented: the augmenter's answer for each.
    """
    events: Counter[bool] = Counter()
    deleted: Counter[bool] = Counter()
    for history, edits in zip(histories, augmented, strict=True):
        for (_, is_noise), operation in zip(history, edits.operations, strict=True):
            events[is_noise] += 1
            deleted[is_noise] += operation == "delete"
    noise, others = (f"{deleted[is_noise]:,} of {events[is_noise]:,} " for is_noise in (True, False))
    return f"In all {len(histories):,} test histories it deleted {noise}planted noise events, and {others}others."
