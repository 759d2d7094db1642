"""What training prints."""

from __future__ import annotations

import io

from rich.console import Console

from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.training.progress import EpochProgress

RATES = {"delete_rate": 0.1, "insert_rate": 0.2}


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


def test_an_epochs_line_is_not_broken_where_there_is_no_terminal(capsys):
    progress = EpochProgress("a preset with a long name")
    progress.set_params({"epochs": 3, "steps": 2})
    progress.on_epoch_begin(0)
    progress.on_epoch_end(0, {"loss": 1.0, "val_recall@10": 0.5, "val_ndcg@10": 0.5, "keep_rate": 0.7} | RATES)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_validation_has_a_bar_of_its_own():
    progress = EpochProgress("laclrec", Console(file=io.StringIO(), force_terminal=True))
    progress.set_params({"epochs": 3, "steps": 2})
    progress.on_epoch_begin(0)
    progress.on_test_begin()
    progress.on_test_batch_end(4)
    assert [(task.description, task.completed) for task in progress.progress.tasks][1] == ("validation", 5)
    progress.on_epoch_end(0, {})
    progress.on_test_begin()  # an evaluation on its own, which has no epoch
    progress.on_test_batch_end(0)
    assert progress.progress is None


def test_a_spinner_names_what_is_being_done_on_a_terminal_only():
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal)
        with spinner("exporting run[/b]", console):
            pass
        assert ("exporting run[/b]" in console.file.getvalue()) == is_terminal


def test_the_bar_goes_when_training_is_interrupted():
    progress = EpochProgress("laclrec", Console(file=io.StringIO(), force_terminal=True))
    progress.set_params({"epochs": 3, "steps": None})
    progress.on_epoch_begin(0)
    bar = progress.progress
    assert not bar.finished
    progress.on_train_end()
    assert progress.progress is None
    assert not bar.live.is_started
