"""A table in parts: what cannot be written says so and leaves what is there."""

from __future__ import annotations

import resource
import signal
from hashlib import sha256

import polars as pl
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.local.recommend_all import join_parts, part_file, write_whole


@pytest.fixture
def full_disk():
    """Let no file of this process grow beyond 4 KB, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_parts(tmp_path, full_disk):
    for number in range(2):
        rows = pl.DataFrame({"user_id": [sha256(bytes([number, row])).hexdigest() for row in range(80)]})
        write_whole(part_file(tmp_path, number), rows.write_parquet)
    out = tmp_path / "all.parquet"
    with pytest.raises(InputError, match="Cannot write .*all.parquet: .*(too large|os error 27).*again to go on"):
        join_parts(tmp_path, 2, out)
    too_much = pl.DataFrame({"number": range(10**5)})
    with pytest.raises(InputError, match="Cannot write .*part-00002.parquet: "):
        write_whole(part_file(tmp_path, 2), too_much.write_parquet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


def test_a_folders_name_is_no_pattern(tmp_path):
    folder = tmp_path / "best [1].parquet.parts"
    folder.mkdir()
    write_whole(part_file(folder, 0), pl.DataFrame({"number": [1]}).write_parquet)
    join_parts(folder, 1, tmp_path / "best [1].parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["best [1].parquet"]
