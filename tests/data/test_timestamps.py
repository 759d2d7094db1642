"""Tests of timestamps: what they are read as, and that their order is exact."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclrec_tf.data.timestamps import MixedUnitsWarning, comparable_numbers, parse_timestamps
from laclrec_tf.errors import InputError

NOON = datetime(2024, 5, 31, 12)


def parsed(values: list[str | None]) -> list[object]:
    return parse_timestamps(pl.Series(values, dtype=pl.String)).to_list()


def test_whole_numbers_are_exact_integers():
    assert parsed(["9223372036854775807", "-5", "+3", " 7 ", "007"]) == [2**63 - 1, -5, 3, 7, 7]
    assert parsed(["9007199254740993", "2.0"]) == [2**53 + 1, 2]
    assert parse_timestamps(pl.Series([2.0, 3.0])).dtype == pl.Int64
    assert parse_timestamps(pl.Series([2**53 + 1])).to_list() == [2**53 + 1]


def test_fractions_make_all_of_them_floats():
    assert parsed(["1.5", "2", "1e3"]) == [1.5, 2.0, 1000.0]
    assert parse_timestamps(pl.Series([1, 2.5], dtype=pl.Float32)).to_list() == [1.0, 2.5]
    assert parse_timestamps(pl.Series(["1.50", "2.00"]).cast(pl.Decimal(10, 2))).to_list() == [1.5, 2.0]


def test_large_integers_beside_fractions_are_refused():
    with pytest.raises(InputError, match="fractions with integers above 2\\*\\*53"):
        parsed(["9007199254740993", "1.5"])
    assert parsed(["9007199254740992", "1.5"]) == [2.0**53, 1.5]


def test_what_is_no_number_is_null_when_the_first_value_is_one():
    assert parsed(["1", "x", "", None, "nan", "inf", "2024-05-31", "9223372036854775808"]) == [1] + 7 * [None]
    floats = pl.Series([1.5, float("nan"), float("inf"), None])
    assert parse_timestamps(floats).to_list() == [1.5, None, None, None]
    assert parse_timestamps(pl.Series([2**64 - 1, 1], dtype=pl.UInt64)).to_list() == [None, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-31", datetime(2024, 5, 31)),
        ("2024-05-31T12:00:00", NOON),
        ("2024-05-31 12:00:00", NOON),
        ("2024-05-31T12:00", NOON),
        ("2024-05-31T12:00:00Z", NOON),
        ("2024-05-31 12:00:00 UTC", NOON),
        ("2024-05-31T14:00:00+02:00", NOON),
        ("2024-05-31T14:00+0200", NOON),
        ("2024-05-31 14:00:00 +02", NOON),
        ("2024-05-31T06:30:00-05:30", NOON),
        ("2024-05-31T12:00:00.25", NOON.replace(microsecond=250_000)),
        ("2024-05-31T12:00:00.000001+00:00", NOON.replace(microsecond=1)),
        ("9999-12-31", datetime(9999, 12, 31)),
        ("0001-01-01T00:00:00", datetime(1, 1, 1)),
        ("2024-02-30", None),
        ("31.05.2024", None),
        ("yesterday", None),
    ],
)
def test_iso_text(text, expected):
    # Alone, and among values of another form.
    assert parsed([text]) == [expected]
    assert parsed(["2020-01-01T00:00:00.5Z", text])[1] == expected


def test_numbers_are_bad_when_the_first_value_is_a_date():
    assert parsed(["2024-05-31", "1717156800"]) == [datetime(2024, 5, 31), None]


def test_digits_below_a_microsecond_are_kept():
    column = parse_timestamps(pl.Series(["2024-05-31T12:00:00.000000002Z", "2024-05-31T12:00:00.000000001Z"]))
    assert column.dtype == pl.Datetime("ns")
    late, early = comparable_numbers([column], ["a"])[0].to_list()
    assert late - early == 1
    with pytest.raises(InputError, match="nanoseconds with years before 1678 or after 2261"):
        parsed(["2024-05-31T12:00:00.000000002Z", "9999-12-31"])


def test_dates_of_parquet():
    assert parse_timestamps(pl.Series([date(2024, 5, 31)])).to_list() == [datetime(2024, 5, 31)]
    berlin = pl.Series([datetime(2024, 5, 31, 12, tzinfo=UTC)]).dt.convert_time_zone("Europe/Berlin")
    assert parse_timestamps(berlin).to_list() == [NOON]
    assert parse_timestamps(pl.Series([NOON], dtype=pl.Datetime("ms"))).dtype == pl.Datetime("us")
    assert parse_timestamps(pl.Series([1000], dtype=pl.Datetime("ns"))).dtype == pl.Datetime("us")
    assert parse_timestamps(pl.Series([1001], dtype=pl.Datetime("ns"))).dtype == pl.Datetime("ns")


@pytest.mark.parametrize("values", [[True], [[1]], [time(12)], [{"a": 1}]])
def test_other_types_are_refused(values):
    with pytest.raises(InputError, match="Timestamps must be numbers, dates or ISO text. Received: the type"):
        parse_timestamps(pl.Series(values))


def test_files_are_brought_to_one_type():
    whole, fraction = pl.Series([1, 2]), pl.Series([0.5])
    assert [column.to_list() for column in comparable_numbers([whole, whole], "ab")] == [[1, 2], [1, 2]]
    assert [column.to_list() for column in comparable_numbers([whole, fraction], "ab")] == [[1.0, 2.0], [0.5]]
    coarse = pl.Series([NOON], dtype=pl.Datetime("us"))
    fine = pl.Series([1001], dtype=pl.Datetime("ns"))
    assert comparable_numbers([coarse], "a")[0].to_list() == [1_717_156_800_000_000]
    numbers = comparable_numbers([coarse, fine], "ab")
    assert [column.to_list() for column in numbers] == [[1_717_156_800_000_000_000], [1001]]


def test_files_that_cannot_be_compared():
    dates = pl.Series([NOON], dtype=pl.Datetime("us"))
    with pytest.raises(InputError, match="numbers in b.csv and dates in a.csv"):
        comparable_numbers([dates, pl.Series([1])], ["a.csv", "b.csv"])
    with pytest.raises(InputError, match="above 2\\*\\*53"):
        comparable_numbers([pl.Series([2**53 + 1]), pl.Series([0.5])], ["a.csv", "b.csv"])
    with pytest.raises(InputError, match="nanoseconds"):
        late = pl.Series([datetime(9999, 1, 1)], dtype=pl.Datetime("us"))
        comparable_numbers([late, pl.Series([1001], dtype=pl.Datetime("ns"))], ["a.csv", "b.csv"])


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_as_text_keep_value_and_order(numbers):
    assert parsed([str(number) for number in numbers]) == numbers


@given(st.lists(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), min_size=1))
def test_iso_text_keeps_value_and_order(times):
    assert parsed([moment.isoformat() for moment in times]) == times


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        ([[1_700_000_000, 1_700_000_000_000]], "in a.csv look like seconds, others like milliseconds"),
        ([[1_700_000_000.5], [1_700_000_000_000.0]], "in a.csv and b.csv look like seconds, others like milliseconds"),
        ([[1_700_000_000_000_000, 1_700_000_000_000]], "in a.csv look like milliseconds, others like microseconds"),
    ],
)
def test_mixed_units_warn(columns, where):
    with pytest.warns(MixedUnitsWarning, match=f"Some timestamps {where}, so events may be in the wrong order"):
        comparable_numbers([pl.Series(column) for column in columns], ["a.csv", "b.csv"][: len(columns)])


def test_one_unit_and_plain_counters_do_not_warn(recwarn):
    comparable_numbers([pl.Series([1_700_000_000, 1_400_000_000])], ["a.csv"])
    assert not recwarn.list


@pytest.mark.parametrize(
    "counter",
    [
        [1, 5_000, 70_000_000],
        [10**power for power in range(19)],
        [2**power for power in range(63)],
        range(1, 3_200_000_000_000, 10_000_000_000),
        range(1, 2**63, 2**55),
    ],
)
def test_counters_reach_the_numbers_of_several_units_without_a_warning(recwarn, counter):
    comparable_numbers([pl.Series(list(counter))], ["a.csv"])
    comparable_numbers([pl.Series(list(counter)), pl.Series([1, 2])], ["a.csv", "b.csv"])
    assert not recwarn.list


def test_mixed_units_warn_beside_a_few_other_numbers():
    times = [1_700_000_000 + second for second in range(200)]
    with pytest.warns(MixedUnitsWarning, match="look like seconds, others like milliseconds"):
        comparable_numbers([pl.Series([0] * 50 + [-1, 7, *times, times[0] * 1000])], ["a.csv"])
