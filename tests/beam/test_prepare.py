"""Preparing on Beam gives the local engine's folder, byte for byte, on any filesystem."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from apache_beam.io.localfilesystem import LocalFileSystem

import laclrec_tf.beam.events
import laclrec_tf.beam.files
import laclrec_tf.beam.prepare
import laclrec_tf.data.prepared
from laclrec_tf.beam.prepare import beam_prepare
from laclrec_tf.data.events import RepeatedFileWarning
from laclrec_tf.data.formats.layouts import Reading
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.simulated import simulate_events
from laclrec_tf.errors import InputError

SCHEME = "shelf"


class Shelf(LocalFileSystem):
    """Local files under other names: `shelf://a/b` is `/a/b`. Beam finds a filesystem by its subclasses."""

    @classmethod
    def scheme(cls) -> str:
        return SCHEME

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath, *paths])

    def split(self, path: str) -> tuple[str, str]:
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path: str) -> None:
        super().mkdirs(_local(path))

    def match(self, patterns, limits=None):
        results = super().match([_local(pattern) for pattern in patterns], limits)
        for result in results:
            for metadata in result.metadata_list:
                metadata.path = f"{SCHEME}:/{metadata.path}"
        return results

    def _list(self, dir_or_prefix):
        return super()._list(_local(dir_or_prefix))

    def create(self, path, *arguments, **named):
        return super().create(_local(path), *arguments, **named)

    def open(self, path, *arguments, **named):
        return super().open(_local(path), *arguments, **named)

    def rename(self, sources, destinations):
        super().rename([_local(path) for path in sources], [_local(path) for path in destinations])

    def exists(self, path):
        return super().exists(_local(path))

    def size(self, path):
        return super().size(_local(path))

    def delete(self, paths):
        for path in map(_local, paths):
            shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def _local(path: str) -> str:
    return path.removeprefix(f"{SCHEME}:/")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def skewed_events(folder: Path) -> list[Path]:
    """Write two files with ties, duplicates, rare users and items, popular ones, whole times and fractions."""
    generator = np.random.default_rng(0)
    users, items = generator.zipf(1.3, 4000) % 500, generator.zipf(1.3, 4000) % 400
    table = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": generator.integers(0, 40, 4000)})
    table[:2500].write_csv(folder / "a.csv")
    halves = pl.col("timestamp") + 0.5 * (pl.col("user_id") % 2)
    table[2500:].with_columns(halves).write_parquet(folder / "b.parquet")
    return [folder / "a.csv", folder / "b.parquet"]


def test_the_local_engines_folder(tmp_path, monkeypatch):
    files = skewed_events(tmp_path)
    arguments = {"min_user_events": 6, "min_item_events": 5, "max_length": 20, "window": "last"}
    monkeypatch.setattr(laclrec_tf.data.prepared, "USERS_IN_A_SHARD", 8)
    local = prepare(files, tmp_path / "local", **arguments)
    assert len(local.shards) > 4
    # Several pipelines of the k-core, several pieces of a file, several stretches of users.
    monkeypatch.setattr(laclrec_tf.beam.prepare, "CORE_ROUNDS", 1)
    monkeypatch.setattr(laclrec_tf.beam.prepare, "STRETCHES", 7)
    monkeypatch.setattr(laclrec_tf.beam.events, "ROWS_PER_PIECE", 1000)
    (tmp_path / "beam").mkdir()  # like the local engine, it accepts an empty folder
    counts = beam_prepare([str(file) for file in files], str(tmp_path / "beam"), **arguments)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    assert counts == local.counts
    dropped = [count for name, count in counts.items() if name.endswith("dropped")]
    assert len(dropped) == 6 and min(dropped) > 0  # each step dropped events
    assert 0 < counts["tied_ascending"] < counts["tied_events"]
    assert names(tmp_path) == ["a.csv", "b.parquet", "beam", "local"]


def test_another_filesystem_and_a_pattern(tmp_path):
    for name in ("events-2.csv", "events-1.csv"):
        simulate_events(tmp_path / name, users=40, items=20, seed=int(name[7]))
    for truth in [*tmp_path.glob("*.truth.csv"), *tmp_path.glob("*.transitions.csv")]:
        truth.unlink()
    files = sorted(tmp_path.glob("events-*.csv"))
    arguments = {"min_interactions": 0, "max_length": 5, "duplicates": "keep", "ties": "shuffle", "seed": 3}
    prepare(files, tmp_path / "local", **arguments)
    beam_prepare([f"{SCHEME}:/{tmp_path}/events-*.csv"], f"{SCHEME}:/{tmp_path}/new/beam", **arguments)
    assert contents(tmp_path / "new" / "beam") == contents(tmp_path / "local")
    assert names(tmp_path / "new") == ["beam"]


def test_windows_that_follow_from_the_data_keep_all_events_of_a_user(tmp_path, monkeypatch):
    simulate_events(tmp_path / "events.csv", users=40, items=20, seed=1)
    monkeypatch.setattr(laclrec_tf.data.filters.settings, "MAX_LENGTHS", (4, 9, 14))  # most users have up to 14 events
    monkeypatch.setattr(laclrec_tf.data.filters.settings, "MUCH", 0.001)
    arguments = {"min_interactions": 2}
    local = prepare(tmp_path / "events.csv", tmp_path / "local", **arguments)
    counts = beam_prepare([str(tmp_path / "events.csv")], str(tmp_path / "beam"), **arguments)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    assert counts["beyond_max_length_dropped"] == 0
    lengths = np.array([len(history) for history in local.histories()[1]])
    assert np.mean(lengths <= 9) < 0.75 <= np.mean(lengths <= 14) < 1
    assert local.max_length == local.settings["max_length"] == 14
    assert local.window == local.settings["window"] == "sliding"


def test_a_file_that_is_given_twice_is_warned_of(tmp_path):
    (tmp_path / "a.csv").write_text("user_id,item_id,timestamp\na,x,1\na,y,2\n")
    shutil.copy(tmp_path / "a.csv", tmp_path / "b.csv")
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    with pytest.warns(RepeatedFileWarning, match=f"{files[0]} and {files[1]} have the same content"):
        beam_prepare(files, str(tmp_path / "beam"), min_interactions=0)


def test_an_existing_file_is_no_pattern(tmp_path):
    file = tmp_path / "ev [1]*.csv"
    simulate_events(file, users=40, items=20, seed=1)
    prepare(file, tmp_path / "local")
    beam_prepare([str(file)], str(tmp_path / "beam"))
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


@pytest.mark.parametrize("name", ["data [1]", "data*", "data?", "data]", "data [1]/may"])
def test_a_result_named_like_a_pattern_is_refused_at_once(tmp_path, name):
    simulate_events(tmp_path / "events.csv", users=40, items=20, seed=1)
    before = names(tmp_path)
    with pytest.raises(InputError, match=r"cannot have them\. Received: .*\. Give another name\."):
        beam_prepare([str(tmp_path / "events.csv")], str(tmp_path / name))
    assert names(tmp_path) == before


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n2\tx\t5\t9\n1\ty\t2\t8\n2\tz\t4\t1\nNA\tz\t4\t1\n"


@pytest.mark.parametrize(
    ("files", "arguments"),
    [
        ({"ml.inter": INTER}, {"reading": Reading(min_rating=3, drop_missing=True)}),
        ({"a.txt": "2 1\n2 1\n" * 9 + "1 2\n", "b.txt": "1 3\n2 4\n"}, {"duplicates": "keep", "max_length": 3}),
        ({"lists.txt": "x y\nx z x\n"}, {}),
    ],
)
def test_other_layouts(tmp_path, monkeypatch, capsys, files, arguments):
    monkeypatch.setattr(laclrec_tf.beam.events, "ROWS_PER_PIECE", 2)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in files]
    prepare(paths, tmp_path / "local", min_interactions=0, **arguments)
    said = capsys.readouterr().err
    beam_prepare([str(path) for path in paths], str(tmp_path / "beam"), min_interactions=0, **arguments)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    assert capsys.readouterr().err == said.replace(f"{tmp_path}/", "") != ""


def test_partitions(tmp_path):
    for day in ("2024-05-31", "2024-05-30"):
        (tmp_path / "events" / f"date={day}").mkdir(parents=True)
        table = pl.DataFrame({"user_id": ["a", "a"], "item_id": [day[-1], "x"]})
        table.write_parquet(tmp_path / "events" / f"date={day}" / "part-0.parquet")
    arguments = {"time_column": "date", "min_interactions": 0}
    data = prepare(tmp_path / "events", tmp_path / "local", **arguments)
    assert [data.vocabulary.to_items(items.tolist()) for items in data.histories()[1]] == [["0", "x", "1", "x"]]
    for number, events in enumerate((f"{SCHEME}:/{tmp_path}/events/*/*.parquet", f"{tmp_path}/events")):
        beam_prepare([events], str(tmp_path / f"beam-{number}"), **arguments)
        assert contents(tmp_path / f"beam-{number}") == contents(tmp_path / "local")
    (tmp_path / "a.txt").write_text("1 2\n")
    (tmp_path / "b.csv").write_text("user_id,item_id,timestamp\n1,2,3\n")
    with pytest.raises(InputError, match="b.csv has times, but .*a.txt has none"):
        beam_prepare([f"{tmp_path}/[ab].*"], str(tmp_path / "mixed"))


def test_a_tenth_of_beauty(shared_dir, tmp_path):
    file = tmp_path / "events.csv.gz"
    pl.read_csv(shared_dir / "data" / "beauty" / "interactions.csv.gz").head(20_000).write_csv(file, compression="gzip")
    counts = prepare(file, tmp_path / "local").counts
    assert beam_prepare([str(file)], str(tmp_path / "beam"))["users"] == counts["users"] > 200
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


@pytest.mark.parametrize(
    ("rows", "arguments", "text"),
    [
        ("a,x,1\n,y,2\n", {}, "events.csv, row 2 (line 3): the user_id is empty. Fill it in or remove the row."),
        ("a,x,1\na,x,1\nb,y,2\n", {"min_interactions": 2}, "events.csv: No events are left: no users and items have"),
        ("a,x,1\n", {"item_column": "user_id"}, "`item_column` and `time_column` must differ"),
        ("a,x,1\n", {"max_length": 2}, "`max_length` must be at least 3"),
        ("a,x,1\n", {"item_column": "product"}, "no column 'product'"),
    ],
)
def test_the_local_engines_errors_leave_nothing(tmp_path, rows, arguments, text):
    file = tmp_path / "events.csv"
    file.write_text("user_id,item_id,timestamp\n" + rows)
    with pytest.raises(InputError) as local:
        prepare(file, tmp_path / "data", **arguments)
    with pytest.raises(InputError) as raised:
        beam_prepare([str(file)], str(tmp_path / "data"), **arguments)
    assert text in str(raised.value)
    assert str(raised.value) == str(local.value)
    assert names(tmp_path) == ["events.csv"]


def test_the_first_mistake_in_the_order_of_the_files(tmp_path):
    (tmp_path / "1.csv").write_text("user_id,item_id,timestamp\na,x,1\n")
    (tmp_path / "2.csv").write_text("user_id,item_id,timestamp\na,x,2024-05-31\n")
    with pytest.raises(InputError, match=r"Timestamps are numbers in \S*1.csv and dates in \S*2.csv"):
        beam_prepare([f"{tmp_path}/*.csv"], str(tmp_path / "data"))
    assert names(tmp_path) == ["1.csv", "2.csv"]


def test_what_is_there_stays(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("mine")
    with pytest.raises(InputError, match="data is not empty. Give another --out, or delete it first."):
        beam_prepare(["events.csv"], str(tmp_path / "data"))
    with pytest.raises(InputError, match="nowhere.csv does not exist"):
        beam_prepare([str(tmp_path / "nowhere.csv")], str(tmp_path / "new"))
    with pytest.raises(InputError, match="Beam has no filesystem for it here"):
        beam_prepare(["nonsense://bucket/events.csv"], str(tmp_path / "new"))
    with pytest.raises(InputError, match=r"data/mine is a file\. Give a folder to create with --out\."):
        beam_prepare(["events.csv"], str(tmp_path / "data" / "mine"))
    with pytest.raises(InputError, match=r"data is a folder\. Name the files in it\."):
        beam_prepare([str(tmp_path / "data")], str(tmp_path / "new"))
    assert names(tmp_path) == ["data"]


def test_what_cannot_be_deleted_hides_no_error(monkeypatch, tmp_path, caplog):
    def refuse(paths):
        raise OSError("busy")

    monkeypatch.setattr(laclrec_tf.beam.files.FileSystems, "delete", refuse)
    with (
        pytest.raises(RuntimeError, match="on purpose"),
        laclrec_tf.beam.files.work_folder(str(tmp_path / "data")) as work,
    ):
        laclrec_tf.beam.files.write_bytes(f"{work}/part", b"x")
        raise RuntimeError("on purpose")
    assert f"{work} could not be deleted: busy. Delete it by hand." in caplog.text
