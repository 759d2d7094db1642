"""Which folders are versions."""

from __future__ import annotations

from laclrec_tf.serving.version.folder import version_folders, version_numbers


def test_only_folders_named_by_an_int64_are_versions(tmp_path):
    for name in ("3", "007", str(2**63 - 1), str(2**63), "9" * 25, "-1", "1.5", "\u0663", ".4", "stable"):
        (tmp_path / name).mkdir()
    (tmp_path / "8").write_text("a file")
    assert version_numbers(tmp_path) == [3, 7, 2**63 - 1]
    assert version_folders(tmp_path)[7] == tmp_path / "007"
