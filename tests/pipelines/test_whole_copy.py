"""A copy is whole or none."""

import shutil

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.output_files import copy_whole


def test_the_file_that_makes_it_whole_comes_last(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    for name in ("run.json", "a", "z", "deep/run.json"):
        (folder / name).write_text(name)
    order = []
    real = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda a, b, **more: (order.append(str(a)), real(a, b, **more))[1])
    to = copy_whole(folder, tmp_path / "there/run", last="run.json")
    assert sorted(path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()) == [
        *("a", "deep/run.json", "run.json", "z")
    ]
    assert len(order) == 4
    assert order[-1] == str(folder / "run.json")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write .*Check the disk or the bucket"):
        copy_whole(tmp_path / "run", tmp_path / "file/run", last="run.json")
