"""Copies of the newest version under the next numbers; a server never sees half of one."""

from __future__ import annotations

import time

import pytest

from laclrec_tf.benchmark.load import VersionPusher, push_copy
from laclrec_tf.serving.version.folder import version_numbers


@pytest.fixture
def model(tmp_path):
    (tmp_path / "shop/4/assets").mkdir(parents=True)
    (tmp_path / "shop/4/saved_model.pb").write_bytes(b"model")
    (tmp_path / "shop/4/assets/vocabulary.txt").write_text("tent\n")
    return tmp_path / "shop"


def test_the_newest_three_stay(model):
    assert [push_copy(model) for _ in range(4)] == [5, 6, 7, 8]
    assert sorted(path.name for path in model.iterdir()) == ["6", "7", "8"], "and nothing hidden"
    assert (model / "8/assets/vocabulary.txt").read_text() == "tent\n"


def test_a_version_appears_whole(model, monkeypatch):
    seen = []
    rename = type(model).rename

    def watched(path, target):
        if path.name.startswith(".push-"):
            seen.append((version_numbers(model), sorted(file.name for file in path.rglob("*"))))
        return rename(path, target)

    monkeypatch.setattr(type(model), "rename", watched)
    push_copy(model)
    assert seen == [([4], ["assets", "saved_model.pb", "vocabulary.txt"])]


def test_pushes_until_it_is_told_to_stop(model):
    with VersionPusher(model, every=0.01) as pusher:
        end = time.monotonic() + 30
        while len(pusher.pushed) < 3 and time.monotonic() < end:
            time.sleep(0.01)
    numbers = [number for _, number in pusher.pushed]
    assert len(numbers) >= 3
    assert numbers == list(range(5, 5 + len(numbers)))
    assert version_numbers(model) == numbers[-3:]
    assert pusher.error is None


def test_nothing_to_push(model):
    with VersionPusher(model, every=None) as pusher:
        pass
    assert pusher.pushed == []


def test_a_push_that_fails_is_told(model, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("laclrec_tf.benchmark.load.shutil.copytree", full)
    with VersionPusher(model, every=0.01) as pusher:
        end = time.monotonic() + 30
        while pusher.error is None and time.monotonic() < end:
            time.sleep(0.01)
    assert pusher.error is not None and pusher.error.errno == 28
