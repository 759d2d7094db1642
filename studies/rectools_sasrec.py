"""Train RecTools' SASRec on the same events, split and metrics, as an independent check.

In a separate environment, with `pip install "rectools[torch]==0.19.0"`:

    python studies/rectools_sasrec.py interactions.csv.gz --out rectools_beauty.json

Training is strict: it does not see each user's last two events. The epoch with the best validation ndcg@10 is tested.
Ctrl-C ends the training at its next validation and tests the best epoch so far, which the report notes. A second Ctrl-C
ends the program.
"""

from __future__ import annotations

import argparse
import copy
import json
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import rectools
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

K = 10


def read(events: str) -> pd.DataFrame:
    """Return RecTools' columns and `from_end`: 0 for a user's last event, 1 for the event before it."""
    frame = pd.read_csv(events, dtype=str)
    frame.columns = pd.Index([Columns.User, Columns.Item, "position"])
    frame["position"] = frame["position"].astype(int)
    frame = frame.sort_values([Columns.User, "position"], kind="stable")
    frame[Columns.Weight] = 1.0
    frame[Columns.Datetime] = pd.Timestamp("2000-01-01") + pd.to_timedelta(frame["position"], unit="s")
    frame["from_end"] = frame.groupby(Columns.User).cumcount(ascending=False)
    return frame


def measure(model: SASRecModel, history: pd.DataFrame, targets: pd.DataFrame) -> dict[str, float]:
    """Rank the targets over the whole catalogue without the items of the history."""
    known = history[[Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]]
    top = model.recommend(targets[Columns.User].unique(), Dataset.construct(known), k=K, filter_viewed=True)
    hits = targets.merge(top, on=[Columns.User, Columns.Item], how="inner")[Columns.Rank].to_numpy()
    n = len(targets)
    return {"recall@10": len(hits) / n, "ndcg@10": float((1 / np.log2(hits + 1)).sum() / n)}


def main() -> None:
    """Train until validation stops improving, then test the best epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", help="CSV or CSV.gz with user_id,item_id,timestamp")
    parser.add_argument("--out", required=True)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--loss", default="softmax")
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=128, help="histories per batch")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--every", type=int, default=2, help="epochs between two validations")
    parser.add_argument("--patience", type=int, default=5, help="validations without a better result before it stops")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)

    events = read(arguments.events)
    training, before_test = events[events["from_end"] >= 2], events[events["from_end"] >= 1]
    columns = [Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    dataset = Dataset.construct(training[columns])
    # A target that is not in the training data cannot be ranked, and counts as a miss.
    validation, test = events[events["from_end"] == 1], events[events["from_end"] == 0]
    model = SASRecModel(
        n_blocks=arguments.blocks,
        n_heads=arguments.heads,
        n_factors=arguments.width,
        dropout_rate=arguments.dropout,
        session_max_len=50,
        loss=arguments.loss,
        n_negatives=arguments.negatives,
        lr=arguments.learning_rate,
        batch_size=arguments.batch_size,
        verbose=0,
    )
    best, best_state, since, start = {"ndcg@10": -1.0}, {}, 0, time.monotonic()
    curve: list[dict[str, float]] = []
    interrupted: list[int] = []

    def note(number: int, frame: object) -> None:  # Lightning's own handler would end the program
        interrupted.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    for epoch in range(arguments.every, arguments.epochs + 1, arguments.every):
        model.fit_partial(dataset, arguments.every, arguments.every)
        found = measure(model, training, validation) | {"epoch": epoch}
        print(f"epoch {epoch}  {found}  {time.monotonic() - start:.0f} s", flush=True)
        curve.append(found)
        since += 1
        if found["ndcg@10"] > best["ndcg@10"]:
            best, since = found, 0
            best_state = copy.deepcopy(model.lightning_model.torch_model.state_dict())
        if since >= arguments.patience:
            interrupted.clear()  # the training ends here in any case
        if since >= arguments.patience or interrupted:
            break
    model.lightning_model.torch_model.load_state_dict(best_state)
    report = {
        "rectools": rectools.__version__,
        "arguments": vars(arguments) | {"events": Path(arguments.events).name},
        "interrupted": bool(interrupted),
        "curve": curve,
        "validation": best,
        "test": measure(model, before_test, test),
        "seconds": round(time.monotonic() - start),
    }
    Path(arguments.out).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report["test"]))


if __name__ == "__main__":
    main()
