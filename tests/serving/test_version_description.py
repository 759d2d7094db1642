"""What an exported version tells of itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.metadata import VersionDescription

WHOLE = json.dumps({"max_length": 4, "signatures": ["augment", "retrieve"]})


@pytest.fixture
def version(tmp_path):
    """Return a version's folder that tells all there is to tell."""
    for name, content in (("assets.extra/metadata.json", WHOLE), ("assets/vocabulary.txt", "tent\nmug\n")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(content)
    return tmp_path


def test_what_it_tells(version):
    about = VersionDescription.read(version)
    assert about.vocabulary.items == ("tent", "mug")
    assert (about.max_length, about.signatures) == (4, {"augment", "retrieve"})
    (version / "assets.extra/metadata.json").write_text('{"max_length": 4}')
    assert VersionDescription.read(version).signatures == frozenset()


@pytest.mark.parametrize("metadata", [None, "{", "[]", "{}", '{"max_length": "long"}', '{"max_length": null}'])
def test_damaged_metadata(version, metadata):
    file = version / "assets.extra/metadata.json"
    file.unlink() if metadata is None else file.write_text(metadata)
    with pytest.raises(InputError) as raised:
        VersionDescription.read(version)
    assert str(raised.value) == (
        f"{version} does not say which items it knows. Give a model that `laclrec-tf export` wrote."
    )


@pytest.mark.parametrize("vocabulary", [None, "", "tent\ntent\n"])
def test_a_damaged_vocabulary(version, vocabulary):
    file = version / "assets/vocabulary.txt"
    file.unlink() if vocabulary is None else file.write_text(vocabulary)
    with pytest.raises(InputError, match="does not say which items it knows"):
        VersionDescription.read(version)


def test_it_is_read_without_tensorflow():
    code = "import sys, laclrec_tf.serving.version.metadata; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
