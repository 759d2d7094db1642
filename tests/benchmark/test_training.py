"""The benchmark: its numbers fit together; shares, operations and waiting are computed by hand."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.benchmark import scaling
from laclrec_tf.benchmark.flops import catalogue_losses, matrix_peak, operations_of
from laclrec_tf.benchmark.scaling import cost_growth
from laclrec_tf.benchmark.training import _waiting, benchmark, input_wait_share, measure, sample_batches, step_parts
from laclrec_tf.cli.measuring import cost_table
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.layers.sequence_augmenter import Edits
from laclrec_tf.models import LACLRec, build_preset
from laclrec_tf.ops.edits import INSERT
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.setup import compile_model, new_model, training_batches

SMALL = {"width": 16, "targets_per_batch": 400}


@pytest.fixture(scope="module")
def report(data, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("benchmark") / "report.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "laclrec_tf.benchmark.training.matrix_peak", lambda dtype: matrix_peak(dtype, size=256, repeats=2)
        )
        config = TrainConfig.of(SMALL | {"max_insertions": 1, "n_recommender_blocks": 0})
        report = benchmark(data, config, epochs=1, json_out=out, show_progress=False)
    assert json.loads(out.read_text()) == json.loads(json.dumps(report))
    return report


def test_a_report_fits_together(report, data):
    prepared = PreparedData.open(data)
    assert report["data_hash"] == prepared.data_hash
    assert report["users"] == prepared.counts["users"] and report["items"] == prepared.counts["items"]
    assert report["histories"] == sum(len(history) >= 4 for history in prepared.histories()[1])
    assert len(report["epochs_seconds"]) == 2
    assert report["seconds_per_epoch"] == pytest.approx(report["epochs_seconds"][1], abs=1e-3)
    assert report["milliseconds_per_step"] == pytest.approx(1e3 * report["seconds_per_epoch"] / report["steps"])
    assert report["histories_per_second"] == pytest.approx(report["histories"] / report["seconds_per_epoch"])
    assert 0.1 < report["peak_memory_gb"] < 24
    assert report["reading_seconds"] > 0 and report["first_step_seconds"] > 0


def test_the_shares_of_an_epoch_add_up(report):
    assert set(report["shares"]) == {"input", "encoder", "softmax", "augmenter", "optimizer"}
    assert sum(report["shares"].values()) == pytest.approx(1.0)
    assert all(0 <= share <= 1 for share in report["shares"].values())
    assert 0 < report["fraction_of_peak"] < 1


def test_a_report_is_laid_out(report):
    # On a busy machine the augmenter's measured share may be 0.
    shares = {"input": 0.1, "encoder": 0.4, "softmax": 0.15, "augmenter": 0.22, "optimizer": 0.13}
    cells = [str(cell) for column in cost_table(report | {"shares": shares}).columns for cell in column.cells]
    assert f"{report['seconds_per_epoch']:.1f} s" in cells
    assert "time in the augmenter" in cells and "22%" in cells


def test_what_cannot_be_measured_is_named(data, tmp_path):
    with pytest.raises(InputError, match="folder does not exist"):
        benchmark(data, json_out=tmp_path / "nowhere" / "report.json")
    with pytest.raises(InputError, match="`epochs` must be at least 1. Received: 0"):
        benchmark(data, epochs=0)
    with pytest.raises(InputError, match="Received: one batch of 1 histories"):
        measure([np.array([1, 2, 3], np.int32)], 5, 10, TrainConfig(), show_progress=False)
    with pytest.raises(InputError, match="none to train on"):
        measure([np.array([1], np.int32)], 5, 10, TrainConfig())


# ---- operations ------------------------------------------------------------------------------------------


def test_the_operations_of_a_plain_step_computed_by_hand():
    model = build_preset("sasrec", 100, width=8, max_length=10)
    history = np.array([[1, 2, 3], [4, 5, 0]], np.int32)
    batch = {"history": history, "target": history}
    # A block on 2 x 3 positions: 12 D^2 multiplications each, and 2 L D for attention; two blocks.
    blocks = 2 * 6 * (12 * 64 + 2 * 3 * 8)
    softmax = 5 * 100 * 8  # five targets
    assert operations_of(model, batch) == 2 * 3 * (blocks + softmax)


def test_sampled_negatives_and_static_shapes_are_counted_as_computed():
    batch = {"history": np.array([[1, 2, 0]], np.int32), "target": np.array([[2, 3, 0]], np.int32)}
    whole, sampled = (build_preset("sasrec", 100, width=8, max_length=10, n_negatives=n) for n in (0, 10))
    assert operations_of(whole, batch) - operations_of(sampled, batch) == 2 * 3 * 2 * 90 * 8
    compact = operations_of(whole, batch)
    whole.static_shapes = True  # the padded position is multiplied as well
    assert operations_of(whole, batch) - compact == 2 * 3 * 100 * 8


class InsertsTwice(LACLRec):
    """Inserts a run that ends at once before the first prefix, and a run of one item before the second."""

    def learned_edits(self, history):
        self.edited_shape = tuple(history.shape)
        operations = np.zeros(history.shape, np.int32)
        operations[:2, 0] = INSERT
        runs = np.zeros([*history.shape, 2], np.int32)
        runs[:2, 0] = [[101, 0], [9, 101]]  # EOS at once, an item and EOS
        edited = np.pad(history, [(0, 0), (0, 1)], constant_values=9)
        return Edits(tf.constant(operations), None, tf.constant(runs), tf.constant(edited))


@pytest.mark.parametrize("positions", ["start", "end"])
@pytest.mark.parametrize(("n_negatives", "candidates"), [(0, 100 + 1), (10, 10 + 4 * 3 + 1)])
def test_the_operations_of_all_terms_computed_by_hand(n_negatives: int, candidates: int, positions: str):
    settings = {"max_edited_length": 12, "max_insertions": 2, "n_negatives": n_negatives, "positions": positions}
    model = InsertsTwice(100, width=8, max_length=10, gamma=0.3, **settings)
    history = np.array([[1, 2, 3], [4, 5, 0]], np.int32)
    operations = np.array([[INSERT, 0, 0, 0], [0, 0, 0, 0]], np.int32)
    insertions = np.zeros([2, 4, 2], np.int32)
    insertions[0, 0] = 7, 101  # an item and EOS
    batch = {
        "history": history,
        "target": history,
        "prefix_lengths": np.array([[3, 2], [2, 1]]),
        "random_view": np.array([[1, 2, 0], [1, 0, 0], [4, 5, 0], [4, 0, 0]], np.int32),
        "corrupted": np.ones([2, 4], np.int32),
        "operations": operations,
        "insertions": insertions,
    }

    def block(rows: int, length: int) -> int:
        return rows * length * (12 * 64 + 2 * length * 8)

    # With positions from the end, the four raw prefixes are encoded separately.
    prefixes = 2 * block(4, 3) if positions == "end" else 0
    scored = n_negatives or 100
    raw = 2 * block(2, 3) + 5 * scored * 8
    views = 2 * block(4, 2) + 2 * block(4, 4) + 2 * 4 * scored * 8
    repair = block(2, 4) + block(1, 2) + 2 * (scored + 1) * 8
    # Forward only: the encoder over four prefixes, then two runs, one of which ends at its first step.
    decided = block(4, 3) + block(2, 1) + block(1, 2) + (2 + 1) * candidates * 8
    assert operations_of(model, batch) == 2 * (3 * (raw + prefixes + views + repair) + decided)
    assert model.edited_shape == (4, 3)
    assert catalogue_losses(model, batch) == {"next_item": 5, "views": 8, "insertions": 2}

    # Static shapes: every position, 8 of 8 and 8 of 16 targets; the learned view is 3 * (2 + 1) wide.
    model.static_shapes = True
    raw = 2 * block(2, 3) + 6 * scored * 8
    views = 2 * block(4, 3) + 2 * block(4, 9) + 2 * 4 * scored * 8
    repair = block(2, 4) + block(8, 2) + 8 * (scored + 1) * 8
    decided = block(4, 3) + block(12, 1) + block(12, 2) + (12 + 12) * candidates * 8
    assert operations_of(model, batch) == 2 * (3 * (raw + prefixes + views + repair) + decided)


def test_each_term_adds_operations(data):
    prepared = PreparedData.open(data)
    _, histories = prepared.histories()
    counts = []
    for preset in ("sasrec", "cl4srec", "laclrec"):
        config = TrainConfig.of(SMALL | {"preset": preset})
        model = new_model(config, prepared.vocabulary.n_items, prepared.max_length)
        counts.append(operations_of(model, next(iter(training_batches(config, model, histories)))))
    assert counts == sorted(counts) and len(set(counts)) == 3


def test_the_peak_is_a_rate():
    assert matrix_peak(size=64, repeats=2) > 1e6


# ---- input and parts -------------------------------------------------------------------------------------


def test_waiting_counts_after_the_first_batch():
    # The first batch ends at 5.0. Until 9.0 the steps wait for 0.5 and 1.5.
    assert _waiting([(0.0, 5.0), (6.0, 0.5), (7.5, 1.5)]) == pytest.approx(2.0 / 4.0)


@pytest.mark.parametrize("requests", [[], [(0.0, 5.0)]])
def test_a_profile_without_requests_for_batches_is_refused(requests):
    with pytest.raises(InputError, match=f"holds {len(requests)} events 'IteratorGetNextOp::DoCompute'"):
        _waiting(requests)


def test_events_of_another_name_are_not_found(ready, monkeypatch):
    monkeypatch.setattr("laclrec_tf.benchmark.training.NEXT_BATCH", "Renamed")
    with pytest.raises(InputError, match="holds 0 events 'Renamed'"):
        input_wait_share(*ready, steps=3)


@pytest.fixture(scope="module")
def ready(data):
    prepared = PreparedData.open(data)
    _, histories = prepared.histories()
    config = TrainConfig.of(SMALL | {"preset": "sasrec"})
    model = new_model(config, prepared.vocabulary.n_items, prepared.max_length)
    batches = training_batches(config, model, histories)
    compile_model(config, model, len(histories))
    model.fit(batches, epochs=1, verbose=0)
    return model, batches


def test_a_slow_input_is_waited_for(ready):
    model, batches = ready
    delay = tf.data.Dataset.counter().map(lambda n: tf.py_function(_sleep, [n], tf.int64))
    slow = tf.data.Dataset.zip(batches, delay).map(lambda batch, _: batch)
    assert input_wait_share(model, slow, steps=6) > 0.5 > input_wait_share(model, batches, steps=6)


def _sleep(n):
    import time

    time.sleep(0.2)
    return n


def test_sampled_batches_are_spread_over_an_epoch(ready):
    _, batches = ready
    n_batches = int(batches.cardinality())
    assert len(sample_batches(batches, 2)) == 2
    assert len(sample_batches(batches, 1000)) == n_batches


def test_a_model_without_augmenter_spends_nothing_on_it(ready):
    model, batches = ready
    shares = step_parts(model, sample_batches(batches, 2), repeats=1)
    assert shares["augmenter"] == 0
    assert sum(shares.values()) == pytest.approx(1.0)


# ---- growth ----------------------------------------------------------------------------------------------


def test_growth_is_measured_and_plotted(tmp_path):
    config = TrainConfig.of(SMALL | {"preset": "sasrec"})
    lines = {"users": (40, 80), "items": (30,)}
    records = cost_growth(
        tmp_path / "growth", config, lines=lines, middle={"users": 40, "items": 30, "length": 5}, show_progress=False
    )
    assert [(r["changed"], r["users"], r["items"], r["length"]) for r in records] == [
        ("users", 40, 30, 5),
        ("users", 80, 30, 5),
        ("items", 40, 30, 5),
    ]
    assert all(record["seconds_per_epoch"] > 0 and record["peak_memory_gb"] > 0 for record in records)
    assert json.loads((tmp_path / "growth/growth.json").read_text()) == json.loads(json.dumps(records))
    assert (tmp_path / "growth/growth.png").read_bytes().startswith(b"\x89PNG")


class Deadly(int):
    """A size that kills the process it is sent to, as the system does when memory runs out."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_point_whose_process_is_killed_is_named_and_earlier_points_are_kept(tmp_path, monkeypatch):
    called = scaling.call_in_a_process
    point = {"seconds_per_epoch": 0.5, "peak_memory_gb": 1.0}

    def quick(measure, sizes, config):
        return called(measure, sizes, config) if isinstance(sizes["users"], Deadly) else point

    monkeypatch.setattr(scaling, "call_in_a_process", quick)
    config = TrainConfig.of(SMALL | {"preset": "sasrec"})
    lines = {"users": (40, Deadly(4000))}
    middle = {"users": 40, "items": 30, "length": 5}
    message = "users 4,000, items 30, length 5 was killed, .* memory.*/growth.json holds the earlier points"
    with pytest.raises(InputError, match=message):
        cost_growth(tmp_path / "new", config, lines=lines, middle=middle, show_progress=False)
    (record,) = json.loads((tmp_path / "new/growth.json").read_text())
    assert record == {"changed": "users", **middle, "users": 40, **point}
    with pytest.raises(InputError, match="new exists already and is not overwritten"):
        cost_growth(tmp_path / "new", config, show_progress=False)


def test_a_folder_without_a_point_is_deleted(tmp_path):
    lines = {"users": (Deadly(4000),)}
    with pytest.raises(InputError, match="was killed"):
        cost_growth(tmp_path / "new", lines=lines, middle={"items": 30, "length": 5}, show_progress=False)
    assert not (tmp_path / "new").exists()
