"""Gains taken back: the same training, made the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.benchmark.gains import GAINS, without
from laclrec_tf.benchmark.training import benchmark
from laclrec_tf.cli.options import Gain
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.splits import training_part
from laclrec_tf.training.config import TrainConfig
from laclrec_tf.training.setup import compile_model, new_model, training_batches

CONFIG = TrainConfig.of({"preset": "sasrec", "width": 8, "targets_per_batch": 200, "dropout": 0.0})


def test_the_command_line_offers_every_gain():
    assert [gain.value for gain in Gain] == list(GAINS)


def losses_without(gain, data) -> list[float]:
    prepared = PreparedData.open(data)
    training = [training_part(history) for history in prepared.histories()[1]]
    with without(gain):
        model = new_model(CONFIG, prepared.vocabulary.n_items, prepared.max_length)
        model.set_weights([np.random.default_rng(0).normal(size=w.shape) * 0.1 for w in model.get_weights()])
        batches = training_batches(CONFIG, model, training)
        compile_model(CONFIG, model, int(batches.cardinality()))
        return model.fit(batches, epochs=2, shuffle=False, verbose=0).history["loss"]


@pytest.fixture(scope="module")
def losses_with_all(data) -> list[float]:
    return losses_without(None, data)


@pytest.mark.parametrize("gain", ["softmax-slices", "fused-adam", "row-lookups"])
def test_training_learns_the_same_without(gain, data, losses_with_all):
    assert losses_without(gain, data) == pytest.approx(losses_with_all, rel=1e-4)


def test_without_buckets_histories_of_all_lengths_share_a_batch(data):
    prepared = PreparedData.open(data)
    training = [training_part(history) for history in prepared.histories()[1]]
    model = new_model(CONFIG, prepared.vocabulary.n_items, prepared.max_length)
    with without("length-buckets"):
        mixed = [
            np.ptp(np.count_nonzero(batch["history"], axis=1)) for batch in training_batches(CONFIG, model, training)
        ]
    sorted_by_length = [
        np.ptp(np.count_nonzero(b["history"], axis=1)) for b in training_batches(CONFIG, model, training)
    ]
    assert max(sorted_by_length) <= 8 < max(mixed)


def test_everything_is_back_in_place_afterwards():
    before = [getattr(module, name) for changes in GAINS.values() for module, name, _ in changes]
    for gain in GAINS:
        with pytest.raises(KeyboardInterrupt), without(gain):
            raise KeyboardInterrupt
    assert [getattr(module, name) for changes in GAINS.values() for module, name, _ in changes] == before


def test_the_benchmark_says_what_it_did_without(data):
    report = benchmark(data, CONFIG, epochs=1, taken_back="fused-adam", show_progress=False)
    assert report["without"] == "fused-adam"
    assert "shares" not in report
