"""From events to a served model: the first version is pushed, a worse one is refused."""

from __future__ import annotations

import pytest

from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving.version.folder import version_folders
from laclrec_tf.serving.version.manifest import verify_manifest

pytestmark = pytest.mark.usefixtures("quick_loads")

SMALL = ["--min-interactions=1", "--set=preset=sasrec", "--set=width=8", "--set=n_recommender_blocks=0"]
SMALL += ["--set=max_insertions=1"]


@pytest.mark.usefixtures("untraced_here")
def test_the_first_model_is_pushed_and_a_worse_one_refused(process, script, data, tmp_path, monkeypatch):
    events, served = data.parent / "events.csv", tmp_path / "saved_models/shop"
    common = [events, *SMALL, "--to", served]
    done = process(
        "local.py", *common, "--work", "first", "--set", "epochs=2", "--set=learning_rate=0.02", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("prepared: 150 users, 150 items, ")
    assert [line.partition(":")[0] for line in lines[1:4]] == ["trained and evaluated", "exported", "validated"]
    assert lines[-1] == f"pushed {served}/1"
    verify_manifest(served / "1")
    assert RunFolder.open(tmp_path / "first/run").record["epochs_run"] == 2

    monkeypatch.chdir(tmp_path)
    popular = [events, "--min-interactions=1", "--set=preset=popular", "--to", served, "--work", "second"]
    assert " is worse than " in script("local.py", *popular, code=2)
    assert list(version_folders(served)) == [1]
    assert (tmp_path / "second/run/run.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["events.csv", "--to", "shop", "--set", "widht=3"], "Did you mean 'width'?"),
        (["events.csv", "--to", "shop", "--tolerance", "2"], "Argument `tolerance` must be at least 0 and below 1"),
        (["events.csv", "--to", "file"], "Cannot write to file: it is a file."),
        (["no.csv", "--to", "shop"], "no.csv does not exist"),
        (["events.csv"], "--to"),
    ],
)
def test_mistakes_show_before_the_work(script, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert says in script("local.py", *arguments, "--work", "work", code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
