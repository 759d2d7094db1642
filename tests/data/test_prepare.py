"""Tests of preparing data: what is kept, in which order, and that nothing is left half-written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import laclrec_tf.data.prepare
from laclrec_tf.data.events import RepeatedFileWarning
from laclrec_tf.data.formats.layouts import Reading
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.data.user_histories import read_user_histories
from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary

HEADER = "user_id,item_id,timestamp\n"


def csv_file(folder: Path, rows: str, name: str = "events.csv") -> Path:
    file = folder / name
    file.write_text(HEADER + rows, encoding="utf-8")
    return file


def as_strings(data: PreparedData) -> dict[str, list[str]]:
    users, histories = data.histories()
    return {user: data.vocabulary.to_items(items.tolist()) for user, items in zip(users, histories, strict=True)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_histories_are_ordered_by_time_and_ties_by_row(tmp_path):
    file = csv_file(tmp_path, "bob,x,9\n007,y,5\nbob,y,9\n007,x,4\nbob,z,1\nbob,w,9\n")
    data = prepare(file, tmp_path / "data", min_interactions=0)
    assert as_strings(data) == {"bob": ["z", "x", "y", "w"], "007": ["x", "y"]}
    # Two events each of x and y, then one of w and z: by count, then by name.
    assert data.vocabulary == ItemVocabulary(["x", "y", "w", "z"])


def test_ties_between_files_keep_the_order_of_the_files(tmp_path):
    first, second = csv_file(tmp_path, "a,x,1\na,y,1\n"), csv_file(tmp_path, "a,z,1\na,w,0\n", "more.csv")
    forward = prepare([first, second], tmp_path / "forward", min_interactions=0)
    backward = prepare([second, first], tmp_path / "backward", min_interactions=0)
    assert as_strings(forward) == {"a": ["w", "x", "y", "z"]}
    assert as_strings(backward) == {"a": ["w", "z", "x", "y"]}


def test_duplicates_go_before_counting(tmp_path):
    # With the duplicate x and a have three events, without it two.
    file = csv_file(tmp_path, "a,x,1\na,x,1\na,y,2\nb,x,1\nb,y,1\nb,y,2\n")
    dropped = prepare(file, tmp_path / "dropped", min_interactions=2)
    assert as_strings(dropped) == {"a": ["x", "y"], "b": ["x", "y", "y"]}
    assert dropped.counts["duplicates_dropped"] == 1
    kept = prepare(file, tmp_path / "kept", min_interactions=3, duplicates="keep")
    assert as_strings(kept) == {"a": ["x", "x", "y"], "b": ["x", "y", "y"]}
    assert kept.counts["duplicates_dropped"] == 0
    with pytest.raises(InputError, match="2 users with at most 3 events"):
        prepare(file, tmp_path / "none", min_interactions=3)


def test_the_k_core_comes_before_the_cut_to_the_last_events(tmp_path):
    # x has four events, two of them older than the last three of a: it stays in the core and in b's history.
    file = csv_file(tmp_path, "a,x,1\na,x,2\na,y,3\na,z,4\na,y,5\nb,z,1\nb,x,2\nb,y,3\nb,z,4\nc,x,1\n")
    data = prepare(file, tmp_path / "data", min_interactions=3, max_length=3, window="last")
    assert as_strings(data) == {"a": ["y", "z", "y"], "b": ["x", "y", "z"]}
    assert data.counts == {
        "users": 2,
        "items": 3,
        "events": 6,
        "rows_read": 10,
        "users_read": 3,
        "items_read": 3,
        "duplicates_dropped": 0,
        "below_min_interactions_dropped": 1,
        "below_min_item_events_dropped": 0,
        "below_min_user_events_dropped": 1,
        "beyond_max_length_dropped": 3,
        "items_beyond_max_length_dropped": 0,
        "tied_events": 0,
        "tied_ascending": 0,
        "tied_descending": 0,
        "repeated_targets": 0.5,
        "repeated_validation_targets": 0.0,
    }
    assert data.repeated_targets == 0.5


def test_users_and_items_have_limits_of_their_own(tmp_path):
    file = csv_file(tmp_path, "a,x,1\na,y,2\nb,x,1\nb,y,2\nc,x,1\nc,z,2\nd,x,1\n")
    data = prepare(file, tmp_path / "data", min_user_events=2, min_item_events=0)
    assert as_strings(data) == {"a": ["x", "y"], "b": ["x", "y"], "c": ["x", "z"]}
    data = prepare(file, tmp_path / "other", min_user_events=0, min_item_events=2)
    assert as_strings(data) == {"a": ["x", "y"], "b": ["x", "y"], "c": ["x"], "d": ["x"]}
    with pytest.raises(InputError, match="no users with at least 2 events have items with at least 5. Received: 4 use"):
        prepare(file, tmp_path / "none", min_user_events=2)


def test_the_hash_of_settings_that_existed_before_stays(tmp_path):
    file = csv_file(tmp_path, "a,x,1\nb,x,2\nb,y,3\n")
    published = "f32d7874702195d5761ab95ae6db2c9e5a3dd84ff7ac4fe774e9adc185cb1ad4"
    assert prepare(file, tmp_path / "both", min_interactions=0).data_hash == published
    assert prepare(file, tmp_path / "each", min_user_events=0, min_item_events=0).data_hash == published
    data = prepare(file, tmp_path / "new", min_user_events=0, min_item_events=1)
    assert data.data_hash != published
    assert {"min_user_events": 0, "min_item_events": 1}.items() <= data.settings.items()
    assert "min_interactions" not in data.settings


def test_an_item_only_in_events_cut_off_is_not_in_the_catalogue(tmp_path):
    file = csv_file(tmp_path, "a,old,1\na,x,2\na,y,3\na,z,4\n")
    data = prepare(file, tmp_path / "data", min_interactions=0, max_length=3, window="last")
    assert data.vocabulary == ItemVocabulary(["x", "y", "z"])


def test_the_folder_holds_what_the_description_says(tmp_path):
    first, second = csv_file(tmp_path, "a,x,1\nb,x,2\n"), csv_file(tmp_path, "a,y,3\n", "more.csv")
    data = prepare([first, second], tmp_path / "new" / "data", min_interactions=1, max_length=20)
    shards = ["histories-00000-of-00002.tfrecord", "histories-00001-of-00002.tfrecord"]
    assert names(data.folder) == ["dataset.json", *shards, "vocabulary.txt"]
    assert names(data.folder.parent) == ["data"]
    about = json.loads((data.folder / "dataset.json").read_text())
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (first, second)]
    assert about["input"] == [
        {"file": "events.csv", "sha256": digests[0], "rows": 2},
        {"file": "more.csv", "sha256": digests[1], "rows": 1},
    ]
    assert about["input_sha256"] == hashlib.sha256("".join(digests).encode()).hexdigest()
    assert about["settings"] == {
        "user_column": "user_id",
        "item_column": "item_id",
        "time_column": "timestamp",
        "min_interactions": 1,
        "max_length": 20,
        "duplicates": "drop",
    }
    hashed = json.dumps({"input_sha256": about["input_sha256"], "settings": about["settings"]}, sort_keys=True)
    assert about["data_hash"] == data.data_hash == hashlib.sha256(hashed.encode()).hexdigest()
    assert about["shards"] == shards
    assert (about["format_version"], data.max_length) == (1, 20)


def test_sliding_windows_keep_all_events(tmp_path):
    # With the last three of six events, z is no item of the data.
    file = csv_file(tmp_path, "a,z,0\na,x,1\na,y,2\na,x,3\na,y,4\na,w,5\nb,x,1\n")
    last, sliding = (
        prepare(file, tmp_path / window, min_interactions=0, max_length=3, window=window)
        for window in ("last", "sliding")
    )
    assert as_strings(last) == {"a": ["x", "y", "w"], "b": ["x"]}
    assert as_strings(sliding) == {"a": ["z", "x", "y", "x", "y", "w"], "b": ["x"]}
    assert [data.counts["beyond_max_length_dropped"] for data in (last, sliding)] == [3, 0]
    assert sliding.vocabulary == ItemVocabulary(["x", "y", "w", "z"])
    assert [(data.window, data.max_length) for data in (last, sliding)] == [("last", 3), ("sliding", 3)]
    # Earlier versions recorded no window, so the hash of their data stays.
    assert "window" not in last.settings
    assert sliding.settings == {**last.settings, "window": "sliding"}
    by_data = prepare(file, tmp_path / "again", min_interactions=0, max_length=3)  # 3 of 7 events are older
    assert (by_data.data_hash, by_data.window) == (sliding.data_hash, "sliding")
    assert sliding.data_hash != last.data_hash


def test_an_unknown_window_is_refused(tmp_path):
    file = csv_file(tmp_path, "a,x,1\n")
    with pytest.raises(InputError, match="`window` must be 'last' or 'sliding'. Received: 'first'"):
        prepare(file, tmp_path / "data", window="first")


def test_the_same_input_gives_the_same_bytes_and_another_another_hash(tmp_path):
    file = csv_file(tmp_path, "a,x,1\nb,x,2\nb,y,3\n")
    first, again = (prepare(file, tmp_path / out, min_interactions=0) for out in ("first", "again"))
    for name in names(first.folder):
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()
    longer = prepare(file, tmp_path / "longer", min_interactions=0, max_length=60)
    other = prepare(csv_file(tmp_path, "a,x,1\n"), tmp_path / "other", min_interactions=0)
    assert len({data.data_hash for data in (first, longer, other)}) == 3


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz"), st.integers(0, 3)), min_size=1),
    st.integers(3, 6),
)
@settings(max_examples=15, deadline=None)
def test_histories_are_the_last_events_in_a_stable_order(tmp_path_factory, events, max_length):
    folder = tmp_path_factory.mktemp("prepare")
    file = csv_file(folder, "".join(f"{user},{item},{moment}\n" for user, item, moment in events))
    data = prepare(file, folder / "data", min_interactions=0, max_length=max_length, duplicates="keep", window="last")
    expected: dict[str, list[str]] = {}
    for user, item, _ in sorted(events, key=lambda event: event[2]):
        expected[user] = [*expected.get(user, []), item][-max_length:]
    assert as_strings(data) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_interactions": -1}, "`min_interactions` must be at least 0. Received: -1"),
        ({"min_item_events": -1}, "`min_item_events` must be at least 0. Received: -1"),
        (
            {"min_interactions": 3, "min_user_events": 2},
            "Received: min_interactions=3, min_user_events=2. Give either --min-interactions, or --min-user-events",
        ),
        ({"max_length": 2}, "`max_length` must be at least 3, to hold out two items"),
        ({"duplicates": "merge"}, "`duplicates` must be 'drop' or 'keep'. Received: 'merge'"),
        ({"ties": "sort"}, "`ties` must be 'keep' or 'shuffle'. Received: 'sort'"),
        ({"seed": -1}, "`seed` must be at least 0. Received: -1"),
        ({"item_column": "product"}, "no column 'product'"),
        ({"min_interactions": 2}, "events.csv: No events are left"),
    ],
)
def test_errors_leave_nothing(tmp_path, arguments, message):
    file = csv_file(tmp_path, "a,x,1\nb,y,2\n")
    with pytest.raises(InputError) as raised:
        prepare(file, tmp_path / "data", **arguments)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert names(tmp_path) == ["events.csv"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_data(tmp_path, monkeypatch, error):
    file = csv_file(tmp_path, "a,x,1\n")
    before = prepare(file, tmp_path / "data", min_interactions=0)

    def failing(folder: Path, *_: object) -> list[str]:
        (folder / "histories-00000-of-00001.tfrecord").write_bytes(b"half")
        raise error

    monkeypatch.setattr(laclrec_tf.data.prepare, "write_histories", failing)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    for out, overwrite in ((tmp_path / "data", True), (tmp_path / "new", False)):
        with pytest.raises(expected) as raised:
            prepare(csv_file(tmp_path, "b,y,1\n"), out, min_interactions=0, overwrite=overwrite)
    if expected is InputError:
        assert str(raised.value).startswith(f"Cannot write {tmp_path / 'new'}: No space left on device.")
    assert names(tmp_path) == ["data", "events.csv"]
    assert as_strings(PreparedData.open(before.folder)) == {"a": ["x"]}


def test_the_old_data_comes_back_when_the_new_cannot_take_its_place(tmp_path, monkeypatch):
    data = prepare(csv_file(tmp_path, "a,x,1\n"), tmp_path / "data", min_interactions=0)
    rename = Path.rename

    def refusing(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(InputError, match="Permission denied"):
        prepare(csv_file(tmp_path, "b,y,1\n"), data.folder, min_interactions=0, overwrite=True)
    assert names(tmp_path) == ["data", "events.csv"]
    assert as_strings(PreparedData.open(data.folder)) == {"a": ["x"]}


def test_existing_folders(tmp_path):
    out = tmp_path / "data"
    out.mkdir()
    file = csv_file(tmp_path, "a,x,1\n")
    prepare(file, out, min_interactions=0)  # an empty folder is fine
    with pytest.raises(InputError, match="data is not empty. Give another --out, or delete it first"):
        prepare(file, out, min_interactions=0)
    csv_file(tmp_path, "b,y,1\n")
    assert as_strings(prepare(file, out, min_interactions=0, overwrite=True)) == {"b": ["y"]}
    assert names(tmp_path) == ["data", "events.csv"]


def test_overwrite_spares_what_prepare_did_not_write(tmp_path):
    file = csv_file(tmp_path, "a,x,1\n")
    data = prepare(file, tmp_path / "data", min_interactions=0)
    (data.folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="data is not replaced, because it also contains 'notes.txt'"):
        prepare(file, data.folder, min_interactions=0, overwrite=True)
    assert (data.folder / "notes.txt").read_text() == "mine"


def test_out_in_the_way(tmp_path):
    file = csv_file(tmp_path, "a,x,1\n")
    with pytest.raises(InputError, match="events.csv is a file. Give a folder to create"):
        prepare(file, file, min_interactions=0)
    with pytest.raises(InputError, match="Cannot write .*data: (Not a directory|File exists)"):
        prepare(file, file / "data", min_interactions=0)


def test_the_records_read_with_tensorflow_alone(tmp_path):
    data = prepare(csv_file(tmp_path, "a,x,1\na,y,2\na,x,3\n"), tmp_path / "data", min_interactions=0)
    (record,) = tf.data.TFRecordDataset([str(shard) for shard in data.shards]).as_numpy_iterator()
    parsed = tf.io.parse_single_example(record, {"item_ids": tf.io.VarLenFeature(tf.int64)})
    assert tf.sparse.to_dense(parsed["item_ids"]).numpy().tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("name", "users", "items", "events"),
    [("beauty", 22_362, 12_101, 194_682), ("sports", 35_597, 18_357, 294_483)],
)
def test_the_real_data_sets_come_through_whole(shared_dir, tmp_path, name, users, items, events):
    file = shared_dir / "data" / name / "interactions.csv.gz"
    # They were 5-cored first and cut to the last 50 events then, so that some items have fewer than 5 left.
    data = prepare(file, tmp_path / "data", min_interactions=0)
    assert [data.counts[key] for key in ("users", "items", "events")] == [users, items, events]
    found, histories = data.histories()
    assert (len(found), sum(map(len, histories))) == (users, events)
    table = pl.read_csv(file, infer_schema=False)
    for user in ("u00001", "u00017", found[-1]):
        expected = table.filter(pl.col("user_id") == user)["item_id"].to_list()
        assert data.vocabulary.to_items(histories[found.index(user)].tolist()) == expected
    counts = np.bincount(np.concatenate(histories), minlength=items + 1)[1:]
    assert (np.diff(counts) <= 0).all() and counts[-1] >= 1


def test_a_table_in_memory_in_place_of_a_file(tmp_path):
    file = csv_file(tmp_path, "bob,x,9\nann,y,5\nbob,y,9\nbob,x,9\n")
    of_file = prepare(file, tmp_path / "of-file", min_interactions=0)
    table = pl.read_csv(file)
    of_table = prepare(table, tmp_path / "of-table", min_interactions=0, show_progress=False)
    assert as_strings(of_table) == as_strings(of_file) == {"bob": ["x", "y"], "ann": ["y"]}
    (about,) = json.loads((tmp_path / "of-table/dataset.json").read_text())["input"]
    assert about["rows"] == 4
    assert about["file"] == "polars.DataFrame"
    # The table's own text decides the hash, whatever library holds it.
    assert (
        about["sha256"]
        == hashlib.sha256(b"user_id,item_id,timestamp\nbob,x,9\nann,y,5\nbob,y,9\nbob,x,9\n").hexdigest()
    )
    with pytest.raises(InputError, match="^The table: No events are left"):
        prepare(table, tmp_path / "nothing", min_interactions=9)
    assert not (tmp_path / "nothing").exists()


FRAME = pl.DataFrame({"user_id": ["a", "a"], "item_id": ["x", "y"], "timestamp": [1, 2]})


@pytest.mark.parametrize("convert", [pl.DataFrame.lazy, lambda frame: frame.to_arrow().to_batches()[0]])
def test_tables_in_other_forms_are_read(tmp_path, convert):
    data = prepare(convert(FRAME), tmp_path / "data", min_interactions=0)
    assert as_strings(data) == {"a": ["x", "y"]}


@pytest.mark.parametrize(
    ("events", "received"),
    [
        ({"user_id": ["a"]}, "a dict"),
        ([FRAME, FRAME], "a list with a DataFrame"),
        (FRAME.to_pandas().to_records(), "a recarray"),
        (7, "a int"),
        (None, "a NoneType"),
    ],
)
def test_what_is_neither_file_nor_table_is_named(tmp_path, events, received):
    with pytest.raises(InputError, match=f"must be a file, a list of files, or one table .*Received: {received}"):
        prepare(events, tmp_path / "data")
    assert not (tmp_path / "data").exists()


RATED = "user_id,item_id,rating,timestamp\na,x,5,1\na,y,2,2\nNA,x,5,3\na,z,3.5,4\n,x,5,5\nnull,z,1,6\n"


def test_low_ratings_and_missing_ids_are_left_out_and_counted(tmp_path):
    file = tmp_path / "events.csv"
    file.write_text(RATED)
    reading = Reading(min_rating=3.5, drop_missing=True)
    data = prepare(file, tmp_path / "data", min_interactions=0, reading=reading)
    assert as_strings(data) == {"a": ["x", "z"]}
    counts = [data.counts[name] for name in ("rows_read", "missing_ids_dropped", "below_min_rating_dropped", "events")]
    assert counts == [6, 3, 1, 2]
    about = json.loads((tmp_path / "data/dataset.json").read_text())
    assert about["input"][0]["rows"] == 6
    told = {"min_rating": 3.5, "rating_column": "rating", "drop_missing": True}
    assert about["settings"] | told == about["settings"]
    table = pl.read_csv(file)
    of_table = prepare(table, tmp_path / "of-table", min_interactions=0, reading=reading)
    assert as_strings(of_table) == {"a": ["x", "z"]} and of_table.counts == data.counts
    with pytest.raises(InputError, match=r"row 5 \(line 6\): the user_id is empty"):
        prepare(file, tmp_path / "strict", reading=Reading(min_rating=1))
    file.write_text(RATED.replace("3.5", "good"))
    with pytest.raises(InputError, match=r"row 4 \(line 5\): the rating 'good' is not a number"):
        prepare(file, tmp_path / "strict", reading=reading)
    file.write_text(RATED)
    with pytest.raises(InputError, match="no events are left of 6: missing ids dropped 3, below min rating dropped 3"):
        prepare(file, tmp_path / "strict", reading=Reading(min_rating=9, drop_missing=True))
    with pytest.raises(InputError, match="no column 'stars'. .*--rating-column"):
        prepare(file, tmp_path / "strict", reading=Reading(min_rating=9, rating_column="stars"))


def partitions(folder: Path) -> Path:
    """Write Parquet files in folders of days and users, with files that are no data beside them."""
    for day, user, items in (("31", "007", ["x", "y"]), ("30", "007", ["z"]), ("30", "8", ["x"])):
        place = folder / f"date=2024-05-{day}" / f"user_id={user}"
        place.mkdir(parents=True)
        pl.DataFrame({"item_id": items}).write_parquet(place / "part-0.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / "1.checkpoint.parquet").touch()
    return folder


def test_folders_and_patterns_of_partitions(tmp_path):
    folder = partitions(tmp_path / "events")
    data = prepare(folder, tmp_path / "data", time_column="date", min_interactions=0)
    assert as_strings(data) == {"007": ["z", "x", "y"], "8": ["x"]}
    for number, pattern in enumerate((f"{folder}/date=2024-05-3*", f"{folder}/*/*/*.parquet")):
        same = prepare(pattern, tmp_path / f"same-{number}", time_column="date", min_interactions=0)
        assert as_strings(same) == as_strings(data) and same.data_hash == data.data_hash
    with pytest.raises(InputError, match="nothing-.*.parquet does not exist"):
        prepare(f"{folder}/nothing-*.parquet", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is a folder. Name the files in it"):
        prepare(tmp_path / "empty", tmp_path / "none")
    with pytest.raises(InputError, match="no column 'day'. .*Columns found: 'item_id', 'date', 'user_id'"):
        prepare(folder, tmp_path / "none", time_column="day")


def test_a_file_that_is_given_twice_is_warned_of(tmp_path):
    file, copy = csv_file(tmp_path, "a,x,1\na,y,2\n"), csv_file(tmp_path, "a,x,1\na,y,2\n", "copy.csv")
    for files, message in (([file, file], "events.csv is given twice"), ([file, copy], f"{file} and {copy} have the")):
        with pytest.warns(RepeatedFileWarning, match=message):
            data = prepare(files, tmp_path / "data", min_interactions=0, overwrite=True)
        assert data.counts["duplicates_dropped"] == 2
    with pytest.warns(RepeatedFileWarning, match=f"{file} and {copy} have the same content"):
        read_user_histories([file, copy])


@pytest.mark.parametrize(("max_length", "expected"), [(2, ["y", "z"]), (1, ["z"]), (None, ["x", "y", "z"])])
def test_histories_to_recommend_for_are_the_last_events(tmp_path, max_length, expected):
    file = csv_file(tmp_path, "a,x,1\na,y,2\na,z,3\nb,x,1\n")
    assert read_user_histories([file], max_length=max_length).histories == [expected, ["x"]]


def test_what_was_recognised_is_said_once(tmp_path, capsys):
    files = [tmp_path / "a.data", tmp_path / "b.data"]
    for file in files:
        file.write_text("1\t5\t3\t881250949\n")
    data = prepare(files, tmp_path / "data", min_interactions=0)
    note = "no header, separator tab, columns: user item - time"
    assert capsys.readouterr().err == f"{files[0]}: {note}\n"
    assert [each["read_as"] for each in json.loads((tmp_path / "data/dataset.json").read_text())["input"]] == [note] * 2
    assert data.counts["duplicates_dropped"] == 1
    prepare(files, tmp_path / "quiet", min_interactions=0, show_progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("told", "excluded"), [(None, False), (True, True), (False, False)])
def test_histories_are_kept_where_many_targets_repeat_unless_told(tmp_path, told, excluded):
    rows = [
        (f"u{user}", f"i{item}", time) for user in range(10) for time, item in enumerate([1, 2, 3, 4 - 3 * (user == 0)])
    ]
    table = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")  # one newest item of ten is repeated
    data = prepare(table, tmp_path / "data", min_interactions=0, exclude_history=told, show_progress=False)
    assert (data.repeated_targets, data.exclude_history) == (0.1, excluded)
    assert ("exclude_history" in data.settings) == (told is not None)
