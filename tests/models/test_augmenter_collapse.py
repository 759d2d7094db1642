"""A collapse is told from work, and each cause from the others."""

from __future__ import annotations

import re

import pytest

from laclrec_tf.callbacks.augmenter_watch import collapse, likely_cause

KEEPS = {"keep_rate": 1.0, "delete_rate": 0.0}
DELETES = {"keep_rate": 0.0, "delete_rate": 0.99}


def test_nearly_all_is_a_collapse_and_a_little_less_is_none():
    assert collapse({"keep_rate": 0.981}).startswith("keeps 98 %")
    assert collapse({"delete_rate": 0.99}).startswith("deletes 99 %")
    assert collapse({"keep_rate": 0.98, "delete_rate": 0.02}) is None
    assert collapse({}) is None


@pytest.mark.parametrize(
    ("logs", "settings", "cause"),
    [
        (KEEPS, {"lambda_aug": 0.0}, "lambda_aug is 0"),
        (KEEPS, {"lambda_aug": 0.03}, "too little training.*pretrain_epochs"),
        (KEEPS | {"val_deletion_recall": 0.02}, {}, "learnt little yet, it deletes 2 % of the noise"),
        (KEEPS | {"val_deletion_recall": 0.5}, {}, "real histories look whole to it"),
        # What is validated goes before what is trained on.
        (KEEPS | {"val_deletion_recall": 0.5, "deletion_recall": 0.0}, {}, "look whole"),
        (
            KEEPS | {"deletion_recall": 0.5},
            {"decision": "gumbel", "decision_temperature": 0.1},
            "decision_temperature below 1",
        ),
        # What is given already is not advised.
        (
            KEEPS | {"deletion_recall": 0.5},
            {"decision": "gumbel", "decision_temperature": 1.0},
            "look whole.*Raise decision_temperature",
        ),
        (DELETES | {"val_deletion_recall": 0.95}, {}, "takes every item for noise"),
    ],
)
def test_the_likely_cause(logs, settings, cause):
    assert re.search(cause, likely_cause(logs, settings))
