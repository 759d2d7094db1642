"""What a model's folder tells of the model."""

from __future__ import annotations

import json

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.metadata import ServedItems


def test_a_model_that_does_not_tell_its_items(tmp_path):
    version = tmp_path / "1"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    with pytest.raises(InputError, match="does not say which items it knows.*Give a model that `laclrec-tf export`"):
        ServedItems.read(tmp_path)
    (version / "assets.extra/metadata.json").write_text(json.dumps({"max_length": 4, "signatures": ["augment"]}))
    with pytest.raises(InputError, match="does not say which items"):
        ServedItems.read(tmp_path)
    (version / "assets").mkdir()
    (version / "assets/vocabulary.txt").write_text("tent\nmug\n")
    items = ServedItems.read(tmp_path)
    assert (items.vocabulary.items, items.max_length) == (("tent", "mug"), 4)
    assert (items.version, items.signatures) == (1, {"augment"})
