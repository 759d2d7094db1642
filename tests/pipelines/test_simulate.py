"""Tests of writing simulated events."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from laclrec_tf.data.events import read_interactions
from laclrec_tf.data.simulated import simulate, simulate_events
from laclrec_tf.errors import InputError


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_events_and_truth_are_written(tmp_path: Path, ending):
    out = tmp_path / f"events.{ending}"
    written = simulate_events(out, users=20, items=24, noise=0.3, seed=5)
    assert written == (out, tmp_path / "events.truth.csv", tmp_path / "events.transitions.csv")
    assert sorted(tmp_path.iterdir()) == sorted(written)
    simulation = simulate(n_users=20, n_items=24, noise=0.3, seed=5)
    assert read_interactions(out).equals(simulation.events)
    assert pl.read_csv(written[1]).equals(simulation.truth)
    assert pl.read_csv(written[2]).equals(simulation.transitions)


@pytest.mark.parametrize("existing", ["events.csv", "events.truth.csv", "events.transitions.csv"])
def test_no_file_is_overwritten_unasked(tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(InputError, match=f"{existing} exists. Give another --out"):
        simulate_events(tmp_path / "events.csv", users=5)
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "mine"
    simulate_events(tmp_path / "events.csv", users=5, overwrite=True)
    assert read_interactions(tmp_path / "events.csv")["user_id"].n_unique() == 5


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="gone is no folder. Make it first"):
        simulate_events(tmp_path / "gone" / "events.csv", users=5)
    with pytest.raises(InputError, match="events.xlsx: the file to write must end in .csv or .parquet"):
        simulate_events(tmp_path / "events.xlsx", users=5)
    (tmp_path / "events.csv").mkdir()
    with pytest.raises(InputError, match="events.csv is a folder"):
        simulate_events(tmp_path / "events.csv", users=5, overwrite=True)


def test_a_reason_without_a_number_is_given_too(tmp_path, monkeypatch):
    def refuse(self: pl.DataFrame, file: Path) -> None:
        raise OSError("No such file or directory (os error 2)")  # as polars raises it

    monkeypatch.setattr(pl.DataFrame, "write_csv", refuse)
    with pytest.raises(
        InputError, match=r"Cannot write .*events.csv: No such file or directory \(os error 2\). Choose"
    ):
        simulate_events(tmp_path / "events.csv", users=5)


def test_wrong_arguments_leave_nothing(tmp_path):
    with pytest.raises(InputError, match="`n_users`"):
        simulate_events(tmp_path / "events.csv", users=0)
    assert not list(tmp_path.iterdir())


def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(self: pl.DataFrame, file: Path) -> None:
        Path(file).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", full_disk)
    with pytest.raises(InputError, match="Cannot write .*events.csv: No space left on device"):
        simulate_events(tmp_path / "events.csv", users=5)
    assert not list(tmp_path.iterdir())
