"""The progress that training prints."""

from __future__ import annotations

import io
import math
import re

from rich.console import Console

from laclrec_tf.training.progress import EpochProgress, EpochTable

LOGS = {
    "loss": 5.25,
    "val_recall@10": 0.125,
    "val_ndcg@10": 0.0625,
    "keep_rate": 0.9,
    "delete_rate": 0.02,
    "insert_rate": 0.08,
    "deletion_precision": 0.1,
    "val_deletion_precision": 0.41,
    "val_deletion_recall": 0.05,
    "edited_length": 9.14,
}
RATES = {"delete_rate": 0.1, "insert_rate": 0.2}


def cells(text):
    return text.plain.split()


def test_a_row_is_aligned_with_its_titles():
    table = EpochTable(width=120)
    header, row = table.header(LOGS), table.row("3/100", LOGS, seconds=12.34)
    assert "keep/del/ins %" in header.plain
    # Precision and recall are those of the validation.
    assert cells(row) == ["3/100", "5.2500", "0.1250", "0.0625", "90/2/8", "41/5", "9.1", "12.3", "s"]
    assert len(header.plain) == len(row.plain)


def test_a_running_row_leaves_unknown_cells_empty():
    table = EpochTable(width=120)
    width = len(table.header(LOGS).plain)
    row = table.row(
        "4/100", {"loss": 4.0, "keep_rate": 1.0, "delete_rate": 0.0, "insert_rate": 0.0}, 1.0, is_done=False
    )
    assert cells(row) == ["4/100", "4.0000", "100/0/0", "1.0", "s"]
    assert len(row.plain) == width


def test_a_narrow_terminal_leaves_the_last_columns_out():
    table = EpochTable(width=50)
    assert len(table.header(LOGS).plain) <= 50
    assert cells(table.row("1/2", LOGS, 1.0)) == ["1/2", "5.2500", "0.1250", "0.0625", "1.0", "s"]


def test_nothing_deleted_has_no_precision():
    row = EpochTable(width=90).row("1/2", {"deletion_precision": math.nan, "deletion_recall": 0.0}, 1.0)
    assert cells(row)[1] == "-/0"


def styles(text):
    return {text.plain[span.start : span.end].strip(): span.style for span in text.spans}


def test_the_best_epoch_so_far_and_a_collapse_stand_out():
    table = EpochTable(width=120)
    assert styles(table.row("1/3", LOGS, 1.0))["0.0625"] == "bold green"
    assert "0.0500" not in styles(table.row("2/3", LOGS | {"val_ndcg@10": 0.05}, 1.0))
    assert styles(table.row("3/3", LOGS | {"augmenter_collapsed": 1.0}, 1.0))["90/2/8"] == "bold red"


def test_on_a_terminal_one_header_and_a_row_for_each_epoch_remain():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    progress = EpochProgress("laclrec", console)
    progress.set_params({"epochs": 2, "steps": 1})
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
        progress.on_train_batch_end(0, {"loss": 6.5})
        progress.progress.refresh()
        progress.on_epoch_end(epoch, LOGS)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert shown.count("recall@10") == 1
    assert "6.5000" in shown, "the running means"
    rows = [line.split() for line in shown.splitlines() if "0.1250" in line]
    assert [row[0] for row in rows] == ["1/2", "2/2"]


def test_without_a_terminal_an_epoch_is_one_line():
    console = Console(file=io.StringIO(), width=200)
    progress = EpochProgress("laclrec", console)
    progress.set_params({"epochs": 3, "steps": 2})
    progress.on_epoch_begin(1)
    progress.on_train_batch_end(0)
    logs = {"loss": 1.25, "val_ndcg@10": 0.5, "keep_rate": 0.7, "delete_rate": 0.1, "insert_rate": 0.2, "other": 9.0}
    progress.on_epoch_end(1, logs)
    (line,) = console.file.getvalue().splitlines()
    assert line.startswith("laclrec epoch 2/3  loss 1.2500  ndcg@10 0.5000  keep/delete/insert 70%/10%/20%  ")


def test_without_a_terminal_a_long_line_is_not_broken(capsys):
    progress = EpochProgress("a preset with a long name")
    progress.set_params({"epochs": 3, "steps": 2})
    progress.on_epoch_begin(0)
    progress.on_epoch_end(0, {"loss": 1.0, "val_recall@10": 0.5, "val_ndcg@10": 0.5, "keep_rate": 0.7} | RATES)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_validation_has_its_own_bar():
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


def test_the_bar_is_removed_when_training_is_interrupted():
    progress = EpochProgress("laclrec", Console(file=io.StringIO(), force_terminal=True))
    progress.set_params({"epochs": 3, "steps": None})
    progress.on_epoch_begin(0)
    bar = progress.progress
    assert not bar.finished
    progress.on_train_end()
    assert progress.progress is None
    assert not bar.live.is_started
