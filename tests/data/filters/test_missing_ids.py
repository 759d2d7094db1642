"""Ids that stand for a missing value are warned of, and honest ones of the same name are not."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from laclrec_tf.beam.prepare import beam_prepare
from laclrec_tf.data.filters.missing_ids import MissingIdsWarning
from laclrec_tf.data.prepare import prepare


def warned(folder: Path, column: str, counts: dict[str, int], engine=prepare) -> list[str]:
    """Prepare events with a number of events of each id of a column, and return the warnings of missing ids."""
    other = "item_id" if column == "user_id" else "user_id"
    names = [name for name, n in counts.items() for _ in range(n)]
    rows = "".join(f"{name},{'xyz'[number % 3]},{number}\n" for number, name in enumerate(names))
    (folder / "events.csv").write_text(f"{column},{other},timestamp\n{rows}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine(str(folder / "events.csv"), str(folder / "data"), min_interactions=0, max_length=3)
    return [str(each.message) for each in caught if each.category is MissingIdsWarning]


@pytest.mark.parametrize(("column", "of"), [("user_id", "user"), ("item_id", "item")])
@pytest.mark.parametrize("name", ["NA", "null", "0"])
def test_a_missing_id_of_many_events_is_warned_of(tmp_path, column, of, name):
    # Ten rows: seven without an id, one for each of three others.
    (message,) = warned(tmp_path, column, {name: 7, "b": 1, "c": 1, "d": 1})
    assert message.startswith(f"The {of} {name!r} has 7 of 10 events (70.0%; the largest other {of} has 1)")


@pytest.mark.parametrize(
    "counts",
    [
        {"0": 3, "1": 2, "2": 2, "3": 1, "4": 1, "5": 1},  # the largest, but an ordinary one
        {"NA": 3, "b": 2, "c": 2, "d": 2, "e": 1},  # the largest, but an ordinary one
        {"NA": 1, "b": 4, "c": 3, "d": 2},
        {"Nadia": 7, "b": 1, "c": 1, "d": 1},  # huge, but named
        {"0": 12, "1": 6, "2": 4, "3": 3, "4": 2, "5": 2, "6": 2, "7": 1, "8": 1, "9": 1, "10": 1},  # by popularity
    ],
)
@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_honest_ids_are_not_warned_of(tmp_path, column, counts):
    assert warned(tmp_path, column, counts) == []


def test_beam_warns_alike(tmp_path):
    counts = {"null": 7, "b": 1, "0": 1, "d": 1}
    (message,) = warned(tmp_path, "item_id", counts, lambda file, *more, **rest: beam_prepare([file], *more, **rest))
    assert message.startswith("The item 'null' has 7 of 10 events (70.0%; the largest other item has 1)")
