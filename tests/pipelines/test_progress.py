"""What training prints."""

from __future__ import annotations

import io

from rich.console import Console

from pipelines.progress import EpochProgress


def test_an_epoch_leaves_one_line():
    console = Console(file=io.StringIO(), width=200)
    progress = EpochProgress("laclrec", console)
    progress.set_params({"epochs": 3, "steps": 2})
    progress.on_epoch_begin(1)
    progress.on_train_batch_end(0)
    logs = {"loss": 1.25, "val_ndcg@10": 0.5, "keep_rate": 0.7, "delete_rate": 0.1, "insert_rate": 0.2, "other": 9.0}
    progress.on_epoch_end(1, logs)
    (line,) = console.file.getvalue().splitlines()
    assert line.startswith("laclrec epoch 2/3  loss 1.2500  ndcg@10 0.5000  keep/delete/insert 70%/10%/20%  ")


def test_the_bar_goes_when_training_is_interrupted():
    progress = EpochProgress("laclrec", Console(file=io.StringIO(), force_terminal=True))
    progress.set_params({"epochs": 3, "steps": None})
    progress.on_epoch_begin(0)
    bar = progress.progress
    assert not bar.finished
    progress.on_train_end()
    assert progress.progress is None
    assert not bar.live.is_started
