"""Presets switch parts of the model off, and nothing else."""

from __future__ import annotations

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.models import PRESETS, build_preset

TERMS = {
    "laclrec": {"next_item_loss", "contrast_loss", "triplet_loss", "augmenter_loss"},
    "cl4srec": {"next_item_loss", "contrast_loss"},
    "sasrec": {"next_item_loss"},
    "laclrec-no-delete": {"next_item_loss", "contrast_loss", "triplet_loss", "augmenter_loss"},
    "laclrec-no-insert": {"next_item_loss", "contrast_loss", "triplet_loss", "augmenter_loss"},
    "laclrec-no-triplet": {"next_item_loss", "contrast_loss", "augmenter_loss"},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_terms_of_a_preset(preset):
    model = build_preset(preset, n_items=5, width=8)
    assert set(model.term_weights) == TERMS[preset]


def test_ablations_of_the_augmenter():
    assert not build_preset("laclrec-no-delete", n_items=5, width=8).can_delete
    assert not build_preset("laclrec-no-insert", n_items=5, width=8).can_insert
    assert build_preset("cl4srec", n_items=5, width=8).n_random_views == 2


def test_overrides_lie_over_the_preset():
    assert build_preset("sasrec", n_items=5, width=8, alpha=0.5).alpha == 0.5


def test_an_unknown_preset_gets_the_closest_name():
    with pytest.raises(InputError, match="Did you mean 'cl4srec'"):
        build_preset("cl4sre", n_items=5)
