"""The calibration of all that a model knows of noise, and the callback that makes it at the end of a training."""

from __future__ import annotations

import numpy as np
import pytest

from laclrec_tf.data import training_dataset
from laclrec_tf.errors import InputError
from laclrec_tf.models import build_preset
from laclrec_tf.training.calibration import Calibration, calibrate, set_calibrations
from laclrec_tf.training.deletion_calibration import calibrate_deletions
from laclrec_tf.training.edit_calibration import calibrate_edits

N_ITEMS = 30
HISTORIES = [np.arange(1, 8) + user % 20 for user in range(50)]
TARGETS = np.arange(50) % 20 + 9
COUNTS = np.arange(1, N_ITEMS + 1)


def test_the_edits_are_calibrated_with_the_noise_level_of_the_deletions():
    model = build_preset("sasrec", n_items=N_ITEMS, width=8)
    found = calibrate(model, HISTORIES, TARGETS, COUNTS)
    assert set(found) == {"deletions", "edits"}, "the preset has no augmenter"
    normalisers = model.catalogue.log_normalisers(model.hidden_states(np.stack(HISTORIES), training=False))
    assert found["deletions"]["typical_normaliser"] == pytest.approx(np.mean(normalisers), rel=1e-5)
    # The same order again gives the same result: the edits do not change what the deletions read.
    assert calibrate(model, HISTORIES, TARGETS, COUNTS) == found


def test_what_was_found_is_set_in_another_model():
    model = build_preset("laclrec", n_items=N_ITEMS, width=8)
    found = calibrate(model, HISTORIES, TARGETS, COUNTS, corruption_noise="popular")
    other = build_preset("laclrec", n_items=N_ITEMS, width=8)
    set_calibrations(other, found, COUNTS)
    for layer in ("mixture", "evidence"):
        for one, two in zip(getattr(model, layer).weights, getattr(other, layer).weights, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-6)
    assert float(other.augmenter.insertion_threshold) == pytest.approx(found["insertions"]["threshold"])


def test_a_fit_calibrates_at_its_end():
    model = build_preset("sasrec", n_items=N_ITEMS, width=8)
    model.compile("adam")
    callback = Calibration(HISTORIES, TARGETS, COUNTS, seed=3)
    batches = training_dataset([history[:-1] for history in HISTORIES], n_items=N_ITEMS)
    model.fit(batches, epochs=1, verbose=0, callbacks=[callback])
    assert callback.found is not None and callback.found["edits"]["chosen"] == model.chosen_edits
    assert model.is_calibrated
    assert calibrate(model, HISTORIES, TARGETS, COUNTS, seed=3) == callback.found


def test_too_few_users_are_refused():
    model = build_preset("sasrec", n_items=N_ITEMS, width=8)
    with pytest.raises(InputError, match="at least 5"):
        calibrate(model, HISTORIES[:4], TARGETS[:4], COUNTS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"histories": [np.arange(0)] * 50}, "`histories` must hold item ids from 1 to 30. Received: .. of user 0"),
        ({"targets": np.zeros(50, int)}, "`targets` must hold item ids from 1 to 30"),
        ({"item_counts": np.ones(29)}, r"`item_counts` must have the shape .30., .* Received: .29,."),
        ({"corruption_noise": "nonsense"}, "`corruption_noise` must be 'uniform' or 'popular'"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    arguments = {"histories": HISTORIES, "targets": TARGETS, "item_counts": COUNTS} | changed
    with pytest.raises(InputError, match=message):
        calibrate(build_preset("sasrec", n_items=N_ITEMS, width=8), **arguments)


def test_the_weights_of_edits_are_calibrated_after_the_deletions():
    model = build_preset("sasrec", n_items=N_ITEMS, width=8)
    with pytest.raises(InputError, match="deletions calibrated first"):
        calibrate_edits(model, HISTORIES, TARGETS, COUNTS)
    calibrate(model, HISTORIES, TARGETS, COUNTS)
    calibrate_deletions(model, HISTORIES, TARGETS, COUNTS)
    with pytest.raises(ValueError, match="not calibrated"):  # the noise level may have changed
        model.recommend([[1, 2]], edits="learned")
