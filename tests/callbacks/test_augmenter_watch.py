"""The augmenter's collapse and its likely causes, gradient ratios, and planted noise."""

from __future__ import annotations

import re
import warnings

import keras
import numpy as np
import pytest

from laclrec_tf.callbacks.augmenter_watch import (
    AugmenterCollapseWarning,
    AugmenterWatch,
    PlantedNoiseWatch,
    collapse,
    likely_cause,
)
from laclrec_tf.data.batches import training_dataset
from laclrec_tf.data.simulated import planted_ids
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.models import LACLRec

KEEPS = {"keep_rate": 1.0, "delete_rate": 0.0}
DELETES = {"keep_rate": 0.0, "delete_rate": 0.99}


@pytest.mark.parametrize(
    ("rates", "what"),
    [
        ({"keep_rate": 0.99, "delete_rate": 0.0}, "keeps 99 % of the items"),
        ({"keep_rate": 0.0, "delete_rate": 0.99}, "deletes 99 % of the items"),
    ],
)
def test_a_collapse_warns_with_its_likely_cause(rates, what):
    with pytest.warns(AugmenterCollapseWarning, match=f"Epoch 3: the augmenter {what}.*pretrain_epochs"):
        AugmenterWatch().on_epoch_end(2, rates)


@pytest.mark.parametrize("rates", [{"keep_rate": 0.7, "delete_rate": 0.1}, {}])
def test_a_working_augmenter_does_not_warn(rates):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        AugmenterWatch().on_epoch_end(0, rates)
    assert not caught


def test_a_collapse_warns_when_it_starts_and_is_logged_in_every_epoch():
    watch, keeps = AugmenterWatch(), {"keep_rate": 0.99, "delete_rate": 0.0}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        marks = []
        for epoch, rates in enumerate([keeps, keeps, {"keep_rate": 0.7, "delete_rate": 0.1}, keeps]):
            logs = dict(rates)
            watch.on_epoch_end(epoch, logs)
            marks.append((logs["augmenter_collapsed"], watch.warning is not None))
    assert marks == [(1.0, True), (1.0, True), (0.0, False), (1.0, True)]
    assert [str(each.message)[:8] for each in caught] == ["Epoch 1:", "Epoch 4:"]


def ratios(**weights) -> dict[str, float]:
    keras.utils.set_random_seed(1)
    model = LACLRec(20, width=8, max_length=6, max_edited_length=8, dropout=0.0, gamma=0.3, **weights)
    histories = [np.random.default_rng(n).integers(1, 21, 6).astype(np.int32) for n in range(12)]
    watch = AugmenterWatch(next(iter(training_dataset(histories, targets_per_batch=66, **model.batch_requirements))))
    watch.set_model(model)
    return watch.gradient_ratios()


def test_gradient_ratios_are_proportional_to_the_weights():
    once, twice = ratios(alpha=0.1, beta=0.2, lambda_aug=0.5), ratios(alpha=0.2, beta=0.2, lambda_aug=1.0)
    assert set(once) == {f"gradient_ratio/{name}_loss" for name in ("contrast", "triplet", "augmenter", "view")}
    assert all(ratio > 0 for ratio in once.values())
    for name, factor in (("contrast", 2), ("triplet", 1), ("augmenter", 2)):
        key = f"gradient_ratio/{name}_loss"
        assert twice[key] == pytest.approx(factor * once[key], rel=1e-3)


INSERTS = {"keep_rate": 0.3, "delete_rate": 0.0, "insert_rate": 0.7}
CUTS = {"keep_rate": 0.6, "delete_rate": 0.0, "insert_rate": 0.4, "cut_rate": 0.05}


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        (INSERTS, "inserts items before 70 % of the items: much of.*is invented[.] Likely cause.*max_insertions=1"),
        (INSERTS | {"cut_rate": 0.2}, "before 70 % .*and 20 % of the events do not fit.*Likely cause"),
        (CUTS, "inserts too much for long histories: 5 % of the events do not fit.*max_edited_length is too small"),
    ],
)
def test_too_many_insertions_and_lost_events_warn(logs, message):
    assert collapse(logs | {"insert_rate": 0.5, "cut_rate": 0.01}) is None
    with pytest.warns(AugmenterCollapseWarning, match=message):
        AugmenterWatch().on_epoch_end(0, dict(logs))


def test_an_augmenter_that_is_not_trained_is_named_first():
    assert "lambda_aug is 0" in likely_cause(INSERTS, {"lambda_aug": 0.0})


def test_rates_above_98_percent_are_a_collapse():
    assert collapse({"keep_rate": 0.981}).startswith("keeps 98 %")
    assert collapse({"delete_rate": 0.99}).startswith("deletes 99 %")
    assert collapse({"keep_rate": 0.98, "delete_rate": 0.02}) is None
    assert collapse({}) is None


@pytest.mark.parametrize(
    ("logs", "settings", "cause"),
    [
        (KEEPS, {"lambda_aug": 0.0}, "lambda_aug is 0"),
        (KEEPS, {"lambda_aug": 0.03}, "too little training.*pretrain_epochs"),
        (KEEPS | {"val_deletion_recall": 0.02}, {}, "learned little yet, it deletes 2 % of the noise"),
        (KEEPS | {"val_deletion_recall": 0.5}, {}, "no noise in real histories"),
        # The validation takes precedence over the training.
        (KEEPS | {"val_deletion_recall": 0.5, "deletion_recall": 0.0}, {}, "no noise in real histories"),
        (
            KEEPS | {"deletion_recall": 0.5},
            {"decision": "gumbel", "decision_temperature": 0.1},
            "decision_temperature below 1",
        ),
        # A setting that is already used is not recommended.
        (
            KEEPS | {"deletion_recall": 0.5},
            {"decision": "gumbel", "decision_temperature": 1.0},
            "no noise in real histories.*Raise decision_temperature",
        ),
        (DELETES | {"val_deletion_recall": 0.95}, {}, "takes every item for noise"),
    ],
)
def test_the_likely_cause(logs, settings, cause):
    assert re.search(cause, likely_cause(logs, settings))


def test_planted_noise_is_recorded_each_epoch_and_the_model_is_unchanged():
    model = LACLRec(3, width=8, seed=1)
    histories = [[("tent", False), ("kayak", True), ("stove", False)], [("stove", True)]]
    watch = PlantedNoiseWatch(*planted_ids(histories, ItemVocabulary(["kayak", "tent", "stove"])))
    watch.set_model(model)
    before = [np.array(variable) for variable in model.variables]
    watch.on_epoch_end(0)
    model.augmenter.operation_head.bias.assign([0.0, 50.0, 0.0])  # as if it had learned to delete
    watch.on_epoch_end(1)
    first, second = watch.epochs
    assert first.is_noise.tolist() == second.is_noise.tolist() == [True, False, True, False]  # the shortest first
    assert np.all(first.probabilities < 0.999) and np.all(second.probabilities > 0.999)
    assert second.decided.all() and second.summary()["precision"] == 0.5
    pairs = zip(model.variables, before, strict=True)
    changed = [variable.path for variable, old in pairs if not np.array_equal(np.array(variable), old)]
    assert changed == [model.augmenter.operation_head.bias.path]
