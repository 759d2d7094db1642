"""Convert timestamps (integers, floats, ISO text, dates) to numbers in exactly the same order."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import polars as pl

from laclrec_tf.errors import InputError, LACLRecWarning

_ISO_FORMATS = (
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M%#z",
    "%d%b%Y",
    "%d%b%Y:%H:%M:%S",
    "%d%b%Y:%H:%M:%S%.f",
)
_EXACT_IN_FLOAT = 2**53
_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}  # in a second
_NEARLY_ALL = 0.99
_NANOSECOND_YEARS = (1678, 2261)


def parse_timestamps(values: pl.Series) -> pl.Series:
    """Read one column as numbers or as dates and times.

    Text is read as numbers if its first value is a number, else as ISO 8601: a date, or a date and a time separated by
    `T` or a space, with a time zone (`Z`, `UTC`, `+02:00`) or without; without a time zone it is UTC. Dates of SAS are
    read, too: `31DEC2019` and `31DEC2019:12:00:00`.

    Args:
        values: integers, floats, text, `Date` or `Datetime`.

    Returns:
        Int64 if all numbers are integers, else Float64; Datetime in microseconds, or in nanoseconds if a value has
        that many digits. Null where a value cannot be read.

    Raises:
        InputError: the type is none of these, or large integers are mixed with fractions, which no number type
            represents exactly.

    Example:
        >>> parse_timestamps(pl.Series(["1700000000", "1700000000.5"])).to_list()
        [1700000000.0, 1700000000.5]
        >>> parse_timestamps(pl.Series(["2024-05-31", "2024-05-31 12:00:00+02:00", "soon"])).to_list()
        [datetime.datetime(2024, 5, 31, 0, 0), datetime.datetime(2024, 5, 31, 10, 0), None]
    """
    values = values.rename("timestamp")
    dtype = values.dtype
    if dtype.is_integer():
        return values.cast(pl.Int64, strict=False)
    if dtype.is_float():
        no_integers = pl.repeat(None, len(values), dtype=pl.Int64, eager=True)
        return _exact_numbers(no_integers, values.cast(pl.Float64))
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        fine = dtype.time_unit == "ns" and (values.dt.nanosecond() % 1000 != 0).any()
        return values if fine else values.dt.cast_time_unit("us")
    if dtype == pl.Date:
        return values.cast(pl.Datetime("us"))
    if dtype in (pl.String, pl.Categorical, pl.Enum) or dtype.is_decimal() or dtype == pl.Null:
        return _parse_text(values.cast(pl.String).str.strip_chars())
    raise InputError(f"Timestamps must be numbers, dates or ISO text. Received: the type {dtype}.")


def comparable_numbers(columns: Sequence[pl.Series], names: Sequence[str]) -> list[pl.Series]:
    """Convert the parsed columns of several files to one number type.

    Args:
        columns: results of `parse_timestamps`, without nulls.
        names: the files' names, for messages.

    Returns:
        All Int64 or all Float64. Dates and times become microseconds since 1970 in UTC, or all become nanoseconds if
        one column has them.

    Raises:
        InputError: numbers are mixed with dates, integers too large for a float with fractions, or nanoseconds with
            years outside their range.

    Example:
        >>> columns = [parse_timestamps(pl.Series([7])), parse_timestamps(pl.Series([0.5]))]
        >>> [column.to_list() for column in comparable_numbers(columns, ["a.csv", "b.csv"])]
        [[7.0], [0.5]]
    """
    _warn_of_mixed_units(columns, names)
    temporal = [isinstance(column.dtype, pl.Datetime) for column in columns]
    if any(temporal) and not all(temporal):
        numbers, dates = names[temporal.index(False)], names[temporal.index(True)]
        raise InputError(
            f"Timestamps are numbers in {numbers} and dates in {dates}. Write them the same way in all files."
        )
    if all(temporal):
        unit: Literal["us", "ns"] = "us"
        if any(column.dtype == pl.Datetime("ns") for column in columns):
            unit = "ns"
            for column in columns:
                _check_fits_nanoseconds(column)
        return [column.dt.cast_time_unit(unit).to_physical() for column in columns]
    if all(column.dtype == pl.Int64 for column in columns):
        return list(columns)
    for column in columns:
        _check_exact(column)
    return [column.cast(pl.Float64) for column in columns]


def _warn_of_mixed_units(columns: Sequence[pl.Series], names: Sequence[str]) -> None:
    """Warn if nearly all positive numbers are times from 1989 to 2071, and in more than one unit.

    Counters reach the same numbers, but they also have numbers between the units' ranges.
    """
    found: dict[str, str] = {}
    n_times = n_positive = 0
    for column, name in zip(columns, names, strict=True):
        if column.dtype.is_numeric():
            counts = _counts_by_unit(column)
            found |= {unit: name for unit, n in counts.items() if n}
            n_times += sum(counts.values())
            n_positive += int((column > 0).sum())
    if len(found) > 1 and n_times >= _NEARLY_ALL * n_positive:
        (first, in_first), (second, in_second), *_ = found.items()
        where = f"in {in_first}" if in_first == in_second else f"in {in_first} and {in_second}"
        warnings.warn(
            f"Some timestamps {where} look like {first}, others like {second}, so events may be in the wrong order. "
            "Write all in one unit.",
            MixedUnitsWarning,
            stacklevel=2,
        )


def units_in_a_second(numbers: pl.Series) -> int | None:
    """Return how many units of these numbers are a second, or None if they do not look like times.

    Args:
        numbers: a result of `comparable_numbers`. Nearly all positive ones must be times from 1989 to 2071.

    Example:
        >>> units_in_a_second(pl.Series([1_700_000_000_000])), units_in_a_second(pl.Series([1, 2, 3]))
        (1000, None)
    """
    counts = _counts_by_unit(numbers)
    unit = max(counts, key=lambda unit: counts[unit])
    return _UNITS[unit] if counts[unit] and counts[unit] >= _NEARLY_ALL * int((numbers > 0).sum()) else None


def _counts_by_unit(numbers: pl.Series) -> dict[str, int]:
    """Return how many numbers are times from 1989 to 2071 in each unit."""
    return {unit: int(numbers.is_between(6e8 * size, 3.2e9 * size).sum()) for unit, size in _UNITS.items()}


class MixedUnitsWarning(LACLRecWarning):
    """Timestamps seem to be in different units."""


class UnknownUnitWarning(LACLRecWarning):
    """Seconds are compared with timestamps of an unknown unit."""


def _parse_text(text: pl.Series) -> pl.Series:
    integers = text.cast(pl.Int64, strict=False)
    if text.is_null().all() or integers.null_count() == 0:
        return integers
    if text.drop_nulls().head(1).cast(pl.Float64, strict=False).null_count() == 0:
        return _exact_numbers(integers, text.cast(pl.Float64, strict=False))
    return _parse_iso(text)


def _exact_numbers(integers: pl.Series, floats: pl.Series) -> pl.Series:
    """Fill nulls of integers with the floats at their places, without rounding."""
    frame = pl.DataFrame({"integer": integers, "number": floats})
    # NaN, infinity and numbers beyond 64 bits are not timestamps.
    usable = pl.col("number").is_finite() & (pl.col("number").abs() < 2.0**63)
    frame = frame.with_columns(number=pl.when(pl.col("integer").is_null() & usable).then("number"))
    if frame.select((pl.col("number").floor() == pl.col("number")).all()).item():
        merged = pl.col("integer").fill_null(pl.col("number").cast(pl.Int64))
    else:
        _check_exact(frame["integer"])
        merged = pl.col("integer").cast(pl.Float64).fill_null(pl.col("number"))
    return frame.select(timestamp=merged).to_series()


def _check_exact(numbers: pl.Series) -> None:
    if numbers.dtype == pl.Int64 and numbers.is_between(-_EXACT_IN_FLOAT, _EXACT_IN_FLOAT).not_().any():
        raise InputError(
            "Timestamps mix fractions with integers above 2**53, which no number type represents exactly. "
            "Write all of them as integers."
        )


def _parse_iso(text: pl.Series) -> pl.Series:
    # Without a time zone a time is UTC, so a suffix that means UTC can be removed.
    iso = text.str.replace(" ", "T", literal=True).str.strip_suffix("Z").str.strip_suffix(" UTC")
    parsed = _parse_formats(iso, "us")
    if parsed.null_count():
        iso = iso.str.replace(r" ([+-][0-9:]+)$", "$1")
        parsed = _parse_formats(iso, "us")
    # Nanoseconds range from 1678 to 2261 only: use them only if a value has digits below a microsecond.
    if not iso.filter(iso.str.len_bytes() > 26).str.contains(r"\.\d{6}\d*[1-9]").any():
        return parsed
    _check_fits_nanoseconds(parsed)
    return _parse_formats(iso, "ns")


def _parse_formats(iso: pl.Series, unit: Literal["us", "ns"]) -> pl.Series:
    parsed = _parse_format(iso, unit, _likely_format(iso))
    for time_format in _ISO_FORMATS:
        if parsed.null_count() == 0:
            break
        attempt = _parse_format(iso, unit, time_format)
        parsed = pl.select(timestamp=pl.coalesce(parsed, attempt)).to_series()
    return parsed


def _likely_format(iso: pl.Series) -> str:
    """Return the format of the first value: usually all values have it, and no other format is tried."""
    first = iso.drop_nulls().head(1)
    fitting = (name for name in _ISO_FORMATS if _parse_format(first, "us", name).null_count() == 0)
    return next(fitting, _ISO_FORMATS[0])


def _parse_format(iso: pl.Series, unit: Literal["us", "ns"], time_format: str) -> pl.Series:
    parsed = iso.str.to_datetime(time_format, time_unit=unit, strict=False)
    return parsed.dt.replace_time_zone(None) if "%#z" in time_format else parsed


def _check_fits_nanoseconds(column: pl.Series) -> None:
    if not column.drop_nulls().dt.year().is_between(*_NANOSECOND_YEARS).all():
        raise InputError("Timestamps mix nanoseconds with years before 1678 or after 2261. Correct those rows.")
