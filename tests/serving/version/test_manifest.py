"""The manifest lists every file, and any change of a file is found and named."""

from __future__ import annotations

import json
import os

import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.manifest import (
    MANIFEST_FILE,
    has_all_files,
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
    assert verify_manifest(version) == 2


def test_written_again_it_is_the_same(version):
    before = manifest_sha256(version)
    write_manifest(version)
    assert manifest_sha256(version) == before


@pytest.mark.parametrize(
    ("damage", "message"),
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
def test_what_happened_to_a_file_is_reported(version, damage, message):
    damage(version)
    with pytest.raises(InputError, match="is not as it was exported") as caught:
        verify_manifest(version)
    assert message in str(caught.value)


def test_other_files_may_be_allowed(version):
    (version / "more").write_bytes(b"")
    assert verify_manifest(version, more_allowed=True) == 2
    (version / "saved_model.pb").write_bytes(b"abd")
    with pytest.raises(InputError, match=r"exported. changed: saved_model.pb. Export"):
        verify_manifest(version, more_allowed=True)


@pytest.mark.parametrize(
    ("damage", "complete"),
    [
        (lambda folder: (folder / "saved_model.pb").write_bytes(b"abd"), True),  # only reading it tells
        (lambda folder: (folder / "more").write_bytes(b""), True),
        (lambda folder: (folder / "saved_model.pb").write_bytes(b"ab"), False),
        (lambda folder: (folder / "saved_model.pb").unlink(), False),
        (lambda folder: (folder / MANIFEST_FILE).write_text("{"), False),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), False),
    ],
)
def test_all_files_are_there_with_their_sizes(version, damage, complete):
    assert has_all_files(version)
    damage(version)
    assert has_all_files(version) is complete


def test_many_files_are_counted(version):
    for number in range(5):
        (version / f"more-{number}").touch()
    with pytest.raises(InputError, match="superfluous: more-0, more-1, more-2 and 2 more"):
        verify_manifest(version)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format_version": 1, "files": ["a"]}', "is damaged"),
        ('{"format_version": 1, "files": {"a": {"size": 1}}}', "is damaged"),
        ('{"format_version": 2, "files": {}}', "has format version 2"),
    ],
)
def test_a_damaged_manifest_is_named(version, content, message):
    (version / MANIFEST_FILE).write_text(content)
    with pytest.raises(InputError, match=f"manifest.json {message}"):
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


@pytest.fixture
def shop(tmp_path):
    """Return a model's folder with two versions of one file each."""
    for number in ("1", "2"):
        (tmp_path / "shop" / number).mkdir(parents=True)
        (tmp_path / "shop" / number / "saved_model.pb").write_text("graph")
        write_manifest(tmp_path / "shop" / number)
    return tmp_path / "shop"


def verify(path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["verify", str(path)])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_whole_versions(shop, capsys):
    assert verify(shop, capsys) == (0, f"{shop}/2: 1 files, as they were exported\n", "")
    assert verify(shop / "1", capsys)[1].startswith(f"{shop}/1: 1 files")


def test_damage_is_exit_code_2_and_one_line(shop, capsys):
    (shop / "2" / "saved_model.pb").write_text("grapH")
    code, out, error = verify(shop, capsys)
    assert (code, out) == (2, "")
    assert error.startswith(f"laclrec-tf: {shop}/2 is not as it was exported. changed: saved_model.pb.")
    assert error.count("\n") == 1
    assert verify(shop / "1", capsys)[0] == 0


def test_a_version_that_lost_its_graph_is_still_one(shop, capsys):
    (shop / "1" / "saved_model.pb").unlink()
    code, _, error = verify(shop / "1", capsys)
    assert code == 2
    assert "missing: saved_model.pb" in error


def test_no_version_to_verify(tmp_path, capsys):
    code, _, error = verify(tmp_path / "nothing", capsys)
    assert code == 2
    assert "nothing is no folder" in error
