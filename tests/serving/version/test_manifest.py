"""The manifest: every file is in it, and whatever happens to one is named."""

from __future__ import annotations

import json
import os

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.manifest import (
    MANIFEST_FILE,
    manifest_sha256,
    read_manifest,
    verify_manifest,
    write_manifest,
)


@pytest.fixture
def version(tmp_path):
    folder = tmp_path / "1"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"abc")
    (folder / "variables" / "größe").write_bytes(b"")
    write_manifest(folder)
    return folder


def test_every_file_but_itself_with_size_and_sha256(version):
    # The digests of "abc" and of nothing are those of FIPS 180-2 and of `sha256sum /dev/null`.
    assert read_manifest(version) == {
        "saved_model.pb": {
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "size": 3,
        },
        "variables/größe": {
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "size": 0,
        },
    }
    verify_manifest(version)


def test_written_again_it_is_the_same(version):
    before = manifest_sha256(version)
    write_manifest(version)
    assert manifest_sha256(version) == before


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "saved_model.pb").write_bytes(b"abd"), "changed: saved_model.pb."),
        (lambda folder: (folder / "saved_model.pb").write_bytes(b"ab"), "changed: saved_model.pb."),
        (lambda folder: (folder / "saved_model.pb").unlink(), "missing: saved_model.pb."),
        (lambda folder: (folder / "more").write_bytes(b""), "superfluous: more."),
        (lambda folder: (folder / "more").symlink_to("variables"), "superfluous: more."),
        (lambda folder: (folder / "more").symlink_to("nowhere"), "superfluous: more."),
        (lambda folder: os.rename(folder / "saved_model.pb", folder / "b"), "missing: saved_model.pb; superfluous: b."),
    ],
)
def test_what_happened_to_a_file_is_told(version, damage, told):
    damage(version)
    with pytest.raises(InputError, match="is not as it was exported") as caught:
        verify_manifest(version)
    assert told in str(caught.value)


def test_many_files_are_counted(version):
    for number in range(5):
        (version / f"more-{number}").touch()
    with pytest.raises(InputError, match="superfluous: more-0, more-1, more-2 and 2 more"):
        verify_manifest(version)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format_version": 1, "files": ["a"]}', "is damaged"),
        ('{"format_version": 1, "files": {"a": {"size": 1}}}', "is damaged"),
        ('{"format_version": 2, "files": {}}', "has format version 2"),
    ],
)
def test_a_damaged_manifest_is_named(version, content, told):
    (version / MANIFEST_FILE).write_text(content)
    with pytest.raises(InputError, match=f"manifest.json {told}"):
        verify_manifest(version)


def test_without_a_manifest_nothing_can_be_verified(version):
    (version / MANIFEST_FILE).unlink()
    with pytest.raises(InputError, match="has no assets.extra/manifest.json"):
        verify_manifest(version)


def test_an_export_fits_its_manifest(exported):
    verify_manifest(exported)
    listed = read_manifest(exported)
    assert {
        "saved_model.pb",
        "assets/vocabulary.txt",
        "assets.extra/metadata.json",
        "assets.extra/metrics.json",
        "assets.extra/model_card.md",
        "assets.extra/held_out_topk.json",
        "assets.extra/tf_serving_warmup_requests",
    } <= listed.keys()
    assert json.loads((exported / MANIFEST_FILE).read_text())["format_version"] == 1
