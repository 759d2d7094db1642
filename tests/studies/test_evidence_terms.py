"""What the parts of the evidence are worth is measured as the calibration measures the whole."""

from __future__ import annotations

import pytest

from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.simulated import simulate_events
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.training.train import train
from studies.evidence_terms import PARTS, evidence_terms


def test_the_gain_of_all_parts_is_the_one_in_the_record(tmp_path):
    events, *_ = simulate_events(tmp_path / "events.csv", users=600, items=60, noise=0.0)
    prepare([events], tmp_path / "data", show_progress=False)
    settings = {"preset": "sasrec", "width": 8, "epochs": 1, "n_recommender_blocks": 0}
    train(tmp_path / "data", tmp_path / "run", settings, boards=False, show_progress=False)
    found = evidence_terms(tmp_path / "run")
    record = RunFolder.open(tmp_path / "run").record["edits"]
    for kind in ("uniform", "learned"):
        assert found[kind] == pytest.approx((record[kind]["gain_clean"], record[kind]["gain"]), abs=1e-6)
    assert list(found) == ["uniform", "learned", *(f"learned, without {part}" for part in PARTS)]
    assert len(set(found.values())) == len(found), "each part changes the gain"
