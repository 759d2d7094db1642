"""A training on a share of the users is asked for all of them."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from laclrec_tf.data.prepare import prepare
from laclrec_tf.training.config import TrainConfig
from studies.few_data import few_data


def test_targets_that_were_not_trained_on_are_misses(tmp_path):
    # Half of the users buy items 0 to 19 in a circle, the other half items 20 to 39.
    rows = [(f"u{user}", f"i{(user + step) % 20 + 20 * (user % 2)}", step) for user in range(80) for step in range(8)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    whole = prepare(events, tmp_path / "whole", min_interactions=0, show_progress=False)
    config = TrainConfig.of({"preset": "sasrec", "epochs": 1, "width": 8, "n_recommender_blocks": 0, "seed": 1})
    found = few_data(whole.folder, tmp_path / "few", 0.05, config)
    assert json.loads((tmp_path / "few/few_data.json").read_text()) == json.loads(json.dumps(found))
    assert found["users"] == 4
    users = whole.histories()[0]
    drawn = {users[number] for number in np.random.default_rng(1).permutation(80)[:4]}
    seen = {item for user, item, _ in rows if user in drawn}
    assert found["items"] == len(seen)
    last = [rows[8 * user + 7][1] for user in range(80)]
    histories = [{rows[8 * user + step][1] for step in range(7)} for user in range(80)]
    known = [target in seen and bool(history & seen) for target, history in zip(last, histories, strict=True)]
    assert found["targets_known"] == pytest.approx(np.mean(known))
    assert found["test"]["none"]["recall@10"] <= np.mean(known)
