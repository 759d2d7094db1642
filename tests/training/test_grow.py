"""Growing a run: old items stay bit for bit, new ones start near their neighbours, retired ones are not recommended."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from laclrec_tf.cli.main import main
from laclrec_tf.data.prepare import prepare
from laclrec_tf.data.prepared import PreparedData
from laclrec_tf.errors import InputError
from laclrec_tf.evaluation.evaluate import evaluate, evaluate_users
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.run_folder import RunFolder
from laclrec_tf.serving import LocalModel
from laclrec_tf.serving.release.export import export
from laclrec_tf.training.grow import CatalogueChange, grow

pytestmark = pytest.mark.usefixtures("quick_loads")

OLD = ItemVocabulary("abcd")


def between(new, retired="", **options):
    return CatalogueChange.between(OLD, list(retired), ItemVocabulary(new), **options)


def test_items_are_added_retired_and_returned():
    change = between("zdyc", retired="cb")
    assert change == CatalogueChange(added=("z", "y"), retired=("a",), returned=("c",), retired_before=("b",))
    assert change.all_retired(OLD) == ("a", "b")


def test_missing_items_can_be_kept_but_retired_ones_stay_retired():
    change = between("az", retired="b", keep_missing=True)
    assert change == CatalogueChange(added=("z",), retired=(), returned=(), retired_before=("b",))


def test_another_order_is_no_change():
    with pytest.raises(InputError, match="adds no item to the run and retires none. Use the run as it is."):
        between("dcba")
    with pytest.raises(InputError, match="because --keep-missing keeps missing items. Use the run as it is."):
        between("a", keep_missing=True)
    assert between("dcba", retired="a").returned == ("a",)


def test_another_shops_catalogue_is_refused():
    with pytest.raises(InputError, match="2 items, the first 'y'.*4 items, the first 'a'.*no item in common"):
        between("yz")


@pytest.fixture(scope="module")
def run(sasrec_run, tmp_path_factory):
    """Return a trained run of 150 items, into which evaluations are written."""
    return RunFolder.open(shutil.copytree(sasrec_run.folder, tmp_path_factory.mktemp("runs") / "run"))


@pytest.fixture
def listed(tmp_path):
    """Return a function that writes a vocabulary of items."""

    def write(*items):
        ItemVocabulary(items).save(tmp_path / "new.txt")
        return tmp_path / "new.txt"

    return write


def written(file, header, *rows):
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def grown(run, *arguments, **options):
    return grow(run.folder, *arguments, show_progress=False, **options)


def table_of(run):
    return run.model.encoder.item_table.numpy()


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_old_items_stay_and_new_ones_start_near_their_neighbours(run, listed, tmp_path):
    items, before = run.vocabulary.items, contents(run.folder)
    rows = [
        f"lamp,{items[3]},3",
        f"lamp,{items[7]},1",
        f"mug,{items[5]},1",
        "mug,not known,9",
        f"{items[0]},{items[1]},1",
    ]
    neighbours = written(tmp_path / "neighbours.csv", "item,neighbour,weight", *rows)
    new = grown(run, listed(*items, "lamp", "mug", "rope"), tmp_path / "new run", neighbours=neighbours)

    assert new.vocabulary.items == (*items, "lamp", "mug", "rope")
    assert new.retired == ()
    assert not (new.folder / "retired.txt").exists()
    old, table = table_of(run), table_of(new)
    np.testing.assert_array_equal(table[:151], old[:151])
    np.testing.assert_array_equal(table[-2:], old[-2:])
    # Three parts of item 4 and one of item 8, in length 0.85 of their norms' mean.
    direction = 0.75 * old[4] + 0.25 * old[8]
    length = 0.85 * (0.75 * np.linalg.norm(old[4]) + 0.25 * np.linalg.norm(old[8]))
    np.testing.assert_allclose(table[151], direction / np.linalg.norm(direction) * length, rtol=1e-5)
    np.testing.assert_allclose(table[152], 0.85 * old[6], rtol=1e-5)
    np.testing.assert_allclose(table[153], old[1:151].mean(axis=0), atol=1e-6)

    histories = np.array([[1, 5, 9, 40, 0], [150, 2, 2, 7, 3]])
    users = run.model(histories, training=False)
    np.testing.assert_array_equal(new.model(histories, training=False), users)
    np.testing.assert_array_equal(new.model.score(users)[:, :151], run.model.score(users)[:, :151])

    # It can be trained further.
    optimizer = new.compiled_model().optimizer
    assert int(optimizer.iterations) == int(run.compiled_model().optimizer.iterations) > 0
    assert (154 + 2, table.shape[1]) in [tuple(variable.shape) for variable in optimizer.variables]

    np.testing.assert_array_equal(new.popularity, [*run.popularity, 0, 0, 0])
    growth = new.record["growths"][0]
    assert growth["rows_from"] == {"neighbours": 2, "events": 0, "catalogue": 1}
    assert (growth["items_before"], growth["added"], growth["retired"]) == (150, 3, 0)
    assert set(growth["inputs"]) == {"vocabulary", "neighbours"}
    assert new.record["grown_from"] == run.folder.name  # no path of this machine
    assert growth["validation_before"] == run.record["validation"]
    assert "validation" not in new.record
    for name in ("settings", "trained_on", "data_hash", "data_folder", "max_length"):
        assert new.record[name] == run.record[name]
    assert contents(run.folder) == before


def test_events_give_rows_and_popularity(run, listed, tmp_path):
    a, b, c = run.vocabulary.items[:3]
    events = [
        *("u1,mug,3", f"u1,{a},1", f"u1,{b},2", f"u1,{b},2"),  # a, b, mug; the same event twice is one
        *("u2,not known,1", "u2,lamp,2", f"u2,{c},3", "u2,lamp,4"),
    ]
    files = {
        "events": written(tmp_path / "events.csv", "who,item_id,timestamp", *events),
        "neighbours": written(tmp_path / "neighbours.csv", "item,neighbour", f"mug,{c}"),
    }
    vocabulary = listed(*run.vocabulary, "mug", "lamp", "rope")
    found = grown(run, vocabulary, tmp_path / "found", events=files["events"], user_column="who")
    old, table = table_of(run), table_of(found)
    direction = 0.5 * old[1] + old[2]
    length = 0.85 * (0.5 * np.linalg.norm(old[1]) + np.linalg.norm(old[2])) / 1.5
    np.testing.assert_allclose(table[151], direction / np.linalg.norm(direction) * length, rtol=1e-5)
    np.testing.assert_allclose(table[152], 0.85 * old[3], rtol=1e-5)
    np.testing.assert_array_equal(found.popularity, [*run.popularity, 1, 2, 0])
    assert found.record["growths"][0]["rows_from"] == {"neighbours": 0, "events": 2, "catalogue": 1}

    both = grown(run, vocabulary, tmp_path / "both", **files, user_column="who")  # given neighbours take precedence
    np.testing.assert_allclose(table_of(both)[151:153], 0.85 * old[[3, 3]], rtol=1e-5)
    np.testing.assert_array_equal(both.popularity, found.popularity)
    assert both.record["growths"][0]["rows_from"] == {"neighbours": 1, "events": 1, "catalogue": 1}


def test_an_exported_run_recommends_new_items_near_their_neighbours_and_no_retired_ones(run, listed, tmp_path):
    _, histories = run.data.histories()
    query = run.vocabulary.to_items(histories[0].tolist())
    ids, scores = run.model.recommend(histories[0][np.newaxis], k=30)
    ranked = dict(zip(run.vocabulary.to_items(ids[0].numpy()), scores[0].numpy(), strict=True))
    best, *_, last = ranked
    retired = {query[-1], best, last}
    neighbours = written(tmp_path / "neighbours.csv", "item,neighbour", f"twin,{best}")
    active = [item for item in run.vocabulary if item not in retired]
    new = grown(run, listed(*active, "twin", "stranger"), tmp_path / "run", neighbours=neighbours)
    shop = LocalModel(export(new.folder, tmp_path / "shop", show_progress=False))

    (answer,) = shop.recommend(query, k=152)
    assert set(answer.item_ids) == {*active, "twin", "stranger"} - set(query)
    assert answer.item_ids.index("twin") < 10
    assert answer.item_ids.index("stranger") > 30
    # The retired item at the end of the history is read as before: the others keep their order and their scores.
    left = [item for item in ranked if item not in retired]
    now = dict(zip(answer.item_ids, answer.scores, strict=True))
    assert [item for item in now if item in ranked] == left
    assert [now[item] for item in left] == pytest.approx([ranked[item] for item in left], rel=1e-5)
    assert not retired & set(shop.recommend([], k=152)[0].item_ids)
    (after_twin,) = shop.recommend(["twin"], k=3)
    assert len(after_twin.item_ids) == 3 and "twin" not in after_twin.item_ids


def test_growing_twice_retires_and_returns_items(run, listed, tmp_path):
    items = run.vocabulary.items
    first = grown(run, listed("lamp", *items[2:]), tmp_path / "first")
    assert first.retired == items[:2]
    assert first.vocabulary.items == (*items, "lamp")
    second = grown(first, listed(items[0], *items[3:], "mug", "lamp"), tmp_path / "second")
    assert second.retired == items[1:3]
    assert second.vocabulary.items == (*items, "lamp", "mug")
    np.testing.assert_array_equal(table_of(second)[:152], table_of(first)[:152])
    growths = second.record["growths"]
    assert [(g["added"], g["retired"], g["returned"]) for g in growths] == [(1, 2, 0), (1, 1, 1)]
    assert [g["run"] for g in growths] == [run.folder.name, first.folder.name]
    assert second.record["grown_from"] == growths[1]["run"]
    kept = grown(second, listed(*items[:5], "rope"), tmp_path / "kept", keep_missing=True)
    assert kept.retired == ()
    assert kept.model.n_items == 153


def test_prepared_data_is_a_vocabulary(run, data, tmp_path):
    events = (data.parent / "events.csv").read_text().splitlines()
    more = [f"user{i},lamp,9999999999" for i in range(3)]
    written(tmp_path / "events.csv", *events, *more)
    prepare(tmp_path / "events.csv", tmp_path / "data", min_interactions=1, show_progress=False)
    new = grown(run, tmp_path / "data", tmp_path / "run")
    assert new.vocabulary.items == (*run.vocabulary, "lamp")
    assert new.record["growths"][0]["inputs"]["vocabulary"]["file"] == "vocabulary.txt"


def test_evaluation_leaves_retired_items_out_and_ranks_new_ones(run, listed, tmp_path):
    _, histories = run.data.histories()
    retired = set(run.vocabulary.items[:20])
    without = sum(len(h) >= 3 and h[-1] <= 20 for h in histories)
    new = grown(run, listed(*run.vocabulary.items[20:], "lamp"), tmp_path / "run")
    for protocol in ("full", "sampled-99"):
        report = evaluate(new.folder, protocol=protocol, show_progress=False)
        assert report["users_with_retired_target"] == without > 0
        assert report["users"] == sum(len(h) >= 3 for h in histories) - without
    before, old_ranks = evaluate_users(run.folder, show_progress=False)
    _, new_ranks = evaluate_users(new.folder, show_progress=False)
    ranks = new_ranks.join(old_ranks, on="user_id", suffix="_before", how="left")
    assert ranks.height == old_ranks.height - without and ranks["rank_before"].null_count() == 0
    # One rival more, up to twenty fewer.
    shift = ranks["rank"].cast(int) - ranks["rank_before"].cast(int)
    assert shift.min() < 0 and shift.min() >= -20 and shift.max() <= 1
    assert "users_with_retired_target" not in before

    known = sorted(retired)[0], *run.vocabulary.items[30:32]
    rows = [f"u,{item},{t}" for t, item in enumerate([*known, "lamp"])]
    file = written(tmp_path / "later.csv", "user_id,item_id,timestamp", *rows)
    report = evaluate(new.folder, histories=file, show_progress=False)
    assert (report["users"], report["unknown_item_events"]) == (1, 0)


@pytest.fixture
def mistaken(run, capsys):
    """Return a function that runs the command, expects an error of one line and no folder, and returns the line."""

    def fail(out, *arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["grow", str(run.folder), "--out", str(out), *map(str, arguments)])
        captured = capsys.readouterr()
        assert exit_.value.code == 2
        assert captured.err.count("\n") == 1
        assert not out.exists()
        return captured.err

    return fail


def test_a_vocabulary_of_windows_retires_nothing(run, tmp_path):
    file = tmp_path / "new.txt"
    file.write_bytes("\ufeff".encode() + "".join(f"{item}\r\n" for item in (*run.vocabulary, "lamp", "")).encode())
    new = grown(run, file, tmp_path / "run")
    assert new.vocabulary.items == (*run.vocabulary.items, "lamp")
    assert new.retired == ()


def test_mistakes_cost_one_line_and_leave_nothing(run, listed, tmp_path, mistaken):
    out, items = tmp_path / "deep/run", run.vocabulary.items
    assert "no.txt: No such file or directory. Check the path" in mistaken(out, "--vocabulary", tmp_path / "no.txt")
    assert "is not prepared data" in mistaken(out, "--vocabulary", tmp_path)
    bad = tmp_path / "bad.txt"
    bad.write_text("")
    assert "bad.txt names no item" in mistaken(out, "--vocabulary", bad)
    bad.write_text("tent\nlamp\ntent\n")
    assert "bad.txt, line 3: the item 'tent' is on line 1 already" in mistaken(out, "--vocabulary", bad)
    assert "adds no item to the run and retires none" in mistaken(out, "--vocabulary", listed(*items))
    assert "no item in common" in mistaken(out, "--vocabulary", listed("lamp"))

    vocabulary = listed(*items, "lamp")
    given = ["--vocabulary", vocabulary, "--neighbours", tmp_path / "n.csv"]
    assert "n.csv does not exist" in mistaken(out, *given)
    written(tmp_path / "n.csv", "item,neighbour", f"lamb,{items[0]}")
    assert "n.csv: its items are neither in the run nor" in mistaken(out, *given)
    written(tmp_path / "n.csv", "item,neighbour", "lamp,lamb")
    assert "n.csv: its neighbours are neither in the run nor" in mistaken(out, *given)
    given = ["--vocabulary", vocabulary, "--events", tmp_path / "e.csv"]
    written(tmp_path / "e.csv", "user_id,item_id,timestamp", "u,lamb,1")
    assert "e.csv: its items are neither in the run nor" in mistaken(out, *given)
    assert "no column 'when'" in mistaken(out, *given, "--time-column", "when")
    assert not (tmp_path / "deep").exists()


def test_what_fails_while_writing_leaves_nothing(run, listed, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("laclrec_tf.training.grow.np.save", full)
    with pytest.raises(InputError, match="Cannot write .*new run: No space left on device"):
        grown(run, listed(*run.vocabulary, "lamp"), tmp_path / "deep/new run")
    assert [path.name for path in tmp_path.iterdir()] == ["new.txt"]


def test_nothing_is_overwritten(run, listed, tmp_path):
    vocabulary = listed(*run.vocabulary, "lamp")
    with pytest.raises(InputError, match="exists already and is not overwritten"):
        grown(run, vocabulary, run.folder)
    with pytest.raises(InputError, match="exists already and is not overwritten"):
        grown(run, vocabulary, vocabulary)


def test_a_damaged_grown_run_is_named(run, listed, tmp_path):
    new = grown(run, listed(*run.vocabulary.items[1:]), tmp_path / "run")
    (new.folder / "retired.txt").write_text("never heard of\n")
    with pytest.raises(InputError, match="retired.txt does not match vocabulary.txt"):
        _ = RunFolder.open(new.folder).retired
    shutil.copy(run.folder / "model.keras", new.folder)
    (new.folder / "retired.txt").unlink()
    (new.folder / "vocabulary.txt").write_text("one\ntwo\n")
    np.save(new.folder / "popularity.npy", [1, 2])
    with pytest.raises(InputError, match="its model has 150 items, but vocabulary.txt has 2"):
        grown(new, listed("one", "three"), tmp_path / "again")


def test_the_command_says_what_it_did(run, listed, tmp_path, capsys):
    vocabulary = listed(*run.vocabulary.items[1:], "lamp")
    with pytest.raises(SystemExit) as exit_:
        main(["grow", str(run.folder), "--vocabulary", str(vocabulary), "--out", str(tmp_path / "run")])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert printed == f"wrote {tmp_path / 'run'}: 1 added (rows from catalogue: 1), 1 retired, 0 brought back\n"
    assert json.loads((tmp_path / "run/run.json").read_text())["growths"][0]["added"] == 1
    assert PreparedData.open(RunFolder.open(tmp_path / "run").record["data_folder"]).vocabulary == run.vocabulary
