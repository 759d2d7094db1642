"""Recognise the layout of a text file: its separator, its header, and whether a line is an event or a history."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import polars as pl

from laclrec_tf.data.timestamps import parse_timestamps
from laclrec_tf.errors import InputError
from laclrec_tf.files import decoded_text

SEPARATORS = {"\t": "tab", "::": "'::'", ";": "';'", "|": "'|'", ",": "','", " ": "space"}
LAYOUTS = ("events", "histories", "item-lists")
# The names of columns that options have by default. In a file without a header they stand for places.
DEFAULT_NAMES = {"user": "user_id", "item": "item_id", "time": "timestamp", "rating": "rating"}
NO_TIME = "no times: the order of the rows is the order of the events"
_HISTORY_EXTENSIONS = (".txt", ".dat", ".data")  # a table with commas and one bad row is no list of histories
_TYPED = re.compile(r"(.+):(?:token|token_seq|float|float_seq)")
_QUOTED = r' *"(?:[^"]|"")*" *'
_SAMPLE_LINES = 1000
_LEAST_SECONDS = 1e8  # smaller numbers are not recognised as times
_HIGHEST_RATING = 10


@dataclass(frozen=True)
class Reading:
    """How files of events are read, where this is not recognised or not wanted.

    Args:
        separator: separator of the columns: one character, "::", "tab" or "space". Default: None, recognised.
        header: False: the first line is an event; columns have the names "1", "2" and so on. Default: None, recognised.
        layout: "events" (a line is an event), "histories" (a user and then the items) or "item-lists" (only items; the
            user is the number of the line). Default: None, recognised.
        time: False: read no times; the order of the rows is the order of the events. Default: True.
        min_rating: leave out events with a lower rating. Default: None, ratings are not read.
        rating_column: name of the column of ratings. Default: "rating".
        drop_missing: leave out events whose user or item is empty, `NA`, `N/A`, `NaN`, `null`, `None` or `.`.
            Default: False; an empty id is an error, and the others are ids.

    Raises:
        InputError: an argument is out of its range, or ratings or no times are combined with lists of items.

    Example:
        >>> Reading(separator="tab", header=False).settings()
        {'separator': '\\t', 'header': False}
    """

    separator: str | None = None
    header: bool | None = None
    layout: str | None = None
    time: bool = True
    min_rating: float | None = None
    rating_column: str = "rating"
    drop_missing: bool = False

    def __post_init__(self) -> None:
        named = {"tab": "\t", "\\t": "\t", "space": " "}
        if self.separator is not None:
            object.__setattr__(self, "separator", named.get(self.separator, self.separator))
            if not (self.separator == "::" or (len(self.separator) == 1 and self.separator.isascii())):
                raise InputError(
                    "Argument `separator` must be one ASCII character, '::', 'tab' or 'space'. "
                    f"Received: {self.separator!r}."
                )
        if self.layout not in (None, *LAYOUTS):
            raise InputError(f"Argument `layout` must be one of {', '.join(LAYOUTS)}. Received: {self.layout!r}.")
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise InputError(f"Argument `min_rating` must be a finite number. Received: {self.min_rating}.")
        if self.layout in LAYOUTS[1:] and self.min_rating is not None:
            raise InputError(f"Argument `min_rating` needs events: the layout {self.layout!r} has no ratings.")

    def settings(self) -> dict[str, Any]:
        """Return the arguments that are not the default, for `dataset.json`."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rating_column"}
        defaults = {field.name: field.default for field in fields(self)}
        found = {name: value for name, value in values.items() if value != defaults[name]}
        return found | ({"rating_column": self.rating_column} if self.min_rating is not None else {})

    def columns(self, user: str, item: str, time: str) -> dict[str, str]:
        """Return the names of the columns to read by their roles."""
        names = {"user": user, "item": item} | ({"time": time} if self.time else {})
        return names | ({"rating": self.rating_column} if self.min_rating is not None else {})


@dataclass(frozen=True)
class Layout:
    """The layout of one text file.

    Args:
        separator: one character or "::".
        kind: one of `LAYOUTS`. Default: "events".
        has_header: whether the first line has the names of the columns. Default: True.
        names: name of each column: of a typed header, without types; without a header the names that were looked for,
            and "" for other columns. Default: none, the names of the header.
        note: what was recognised, for the user; None if there is nothing to say. Default: None.
    """

    separator: str
    kind: str = "events"
    has_header: bool = True
    names: tuple[str, ...] = ()
    note: str | None = None

    @property
    def by_lines(self) -> bool:
        """Whether a line is split on its own: the separator is not one character, or lengths differ."""
        return self.kind != "events" or self.separator in ("::", " ")


def recognise(
    file: Path, extension: str, columns: Mapping[str, str], reading: Reading, preferred: str | None
) -> Layout | None:
    """Recognise the layout of a text file by its first 1,000 lines.

    Args:
        file: the file.
        extension: its extension, without `.gz`.
        columns: the role of each column -> its name. The roles "user", "item", "time" and "rating" are recognised in
            a file without a header if their names are the defaults; a number names a place.
        reading: what the user told about the file.
        preferred: the separator that the extension stands for, or None.

    Returns:
        The layout, or None if it is not clear.

    Raises:
        InputError: the file is empty or is no text, it has no header but a column has a name, or columns have numbers
            but the first line may be a header.
    """
    lines = _first_lines(file)
    if not lines:
        has_header = reading.header is None and reading.layout not in LAYOUTS[1:]
        raise InputError(f"{file} is empty. It must contain {'a header and ' * has_header}at least one row.")
    separators = [reading.separator] if reading.separator else sorted(SEPARATORS, key=lambda each: each != preferred)
    if reading.layout in LAYOUTS[1:]:
        return _history_layout(lines, separators, reading.layout)
    found = None
    if reading.header is not False:
        found = _with_header(lines[0], separators, list(columns.values()), preferred)
    found = found or _without_header(file, lines, separators, columns, reading)
    if found is not None and reading.header is None and "user" in columns:
        _check_numbered(file, lines[0], found, columns)
    if found is None and reading.layout is None and reading.header is None and extension in _HISTORY_EXTENSIONS:
        has_columns = any(name != DEFAULT_NAMES.get(role) for role, name in columns.items())
        kind = None if has_columns or not {"user", "item"} <= columns.keys() else _kind_of_histories(lines, separators)
        found = None if kind is None else _history_layout(lines, separators, kind)
    return found


def _check_numbered(file: Path, line: str, found: Layout, columns: Mapping[str, str]) -> None:
    """Refuse columns with numbers where the first line may be both: a header of text or numbers, or an event."""
    numbered = {role: name for role, name in columns.items() if name.isdecimal()}
    fields = split_line(line, found.separator)
    if not numbered or any(int(name) < 1 for name in numbered.values()):
        return
    if found.has_header:
        is_clear, remedy = len(numbered) < len(columns), "rename the columns"
    else:
        role, name = next(iter(numbered.items()))
        is_clear = any(_kind([field]) for field in fields)  # a header has no numbers and times
        remedy = f"give the names of columns, such as --{role}-column {fields[int(name) - 1]}"
    if not is_clear:
        raise InputError(
            f"{file}: the first line, {_shown(line)}, may be a header or an event. If it is a header, {remedy}; if it "
            "is an event, `prepare` with --no-header."
        )


def not_understood(file: Path, columns: Mapping[str, str], reading: Reading, named_by_option: bool) -> str:
    """Return the error message for a file whose layout is not clear: its first two lines, and what would read it."""
    lines = _first_lines(file)
    separators = [reading.separator] if reading.separator else list(SEPARATORS)
    message = f"{file} is not understood. First lines: {', '.join(_shown(line) for line in lines[:2])}."
    if not named_by_option or not {"user", "item"} <= columns.keys():
        return f"{message} Give it a header with the columns {', '.join(map(repr, columns.values()))}."
    table = next((each for each in separators if _width(lines, each) > 1), None)
    options = ["--layout item-lists (item item ...)"]
    if any(len(split_line(line, each)) > 1 for line in lines for each in separators):
        options.insert(0, "--layout histories (user item item ...)")
    if table is not None:
        width = _width(lines, table)
        last = "--time-column 3, or --no-time" if width == 3 else f"--time-column {width}" if width > 3 else "--no-time"
        options.insert(0, f"--no-header --user-column 1 --item-column 2 {last}")
        if len(lines) > 1:
            options.insert(0, "--user-column NAME --item-column NAME --time-column NAME of its header")
    else:
        options.append("--separator CHARACTER")
    return f"{message} `laclrec-tf prepare` reads it with one of these: {'; '.join(options)}."


def first_two_lines(file: Path) -> str:
    """Return the first two lines of a file that are not blank, quoted, for a message."""
    return ", ".join(_shown(line) for line in _first_lines(file)[:2])


def split_line(line: str, separator: str) -> list[str]:
    """Split a line into its fields, as CSV has them: in quotes if they contain the separator, a quote then doubled.

    A quote inside a field, or one that is not closed, is an ordinary character.

    Example:
        >>> split_line("1::Heat (1995)", "::"), split_line('a,"b,c"', ","), split_line(' 1  "2 3" ', " ")
        (['1', 'Heat (1995)'], ['a', 'b,c'], ['1', '2 3'])
    """
    between = None if separator == " " else separator
    if '"' not in line:
        return line.split(between)
    if between is None:
        fields = re.findall(r'"(?:[^"]|"")*"(?!\S)|\S+', line)
    else:
        end = f"(?={re.escape(between)}|$)"
        fields = re.findall(f"{re.escape(between)}({_QUOTED}{end}|.*?{end})", between + line)
    return [field.strip(" ")[1:-1].replace('""', '"') if re.fullmatch(_QUOTED, field) else field for field in fields]


def without_type(name: str) -> str:
    """Return a name of RecBole's typed header without its type.

    Example:
        >>> without_type("user_id:token")
        'user_id'
    """
    typed = _TYPED.fullmatch(name)
    return typed[1] if typed else name


def _first_lines(file: Path) -> list[str]:
    with decoded_text(file) as text:
        lines = (line.rstrip("\r\n") for line in text)
        return list(islice((line for line in lines if line.strip()), _SAMPLE_LINES))


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:60] + "...")


def _width(lines: Sequence[str], separator: str) -> int:
    """Return the number of fields of the first line, 0 if more than a tenth of the lines have another number."""
    lengths = [len(split_line(line, separator)) for line in lines]
    return lengths[0] if 10 * lengths.count(lengths[0]) >= 9 * len(lengths) else 0


def _with_header(line: str, separators: Sequence[str], names: Sequence[str], preferred: str | None) -> Layout | None:
    """Split the header at the separator that gives most of the names, or else types for all columns."""

    def score(separator: str) -> tuple[int, bool]:
        found = split_line(line, separator)
        # Names that are given with their types are looked for as they are.
        is_typed = len(found) > 1 and not set(names) & set(found) and all(map(_TYPED.fullmatch, found))
        names_found = [without_type(name) for name in found] if is_typed else found
        n_found = sum(name in names_found for name in names)
        # Numbers are the names of columns only if the header has all names, else they are places.
        return 0 if n_found < len(names) and any(map(str.isdecimal, names)) else n_found, is_typed

    separator = max(separators, key=score)
    n_found, is_typed = score(separator)
    if not (n_found or is_typed):
        return None
    header = split_line(line, separator)
    notes = ["typed header"] if is_typed else []
    if separator != preferred:
        notes.append(f"separator {SEPARATORS.get(separator, repr(separator))}")
    layout = Layout(separator, note=", ".join(notes) or None)
    return replace(layout, names=tuple(map(without_type, header))) if is_typed or layout.by_lines else layout


def _without_header(
    file: Path, lines: Sequence[str], separators: Sequence[str], columns: Mapping[str, str], reading: Reading
) -> Layout | None:
    told = reading.header is False
    places = {role: int(name) for role, name in columns.items() if name.isdecimal()}
    named = {role: name for role, name in columns.items() if role not in places and name != DEFAULT_NAMES.get(role)}
    if named:
        if told:
            role, name = next(iter(named.items()))
            raise InputError(
                f"{file} has no header, so its columns have numbers: --{role}-column 1 for the first one. "
                f"Received: {name!r}. First lines: {first_two_lines(file)}."
            )
        return None
    if told:  # no times and ratings need to be told apart, so any separator would do: the one of most columns
        separators = sorted(separators, key=lambda each: _width(lines, each), reverse=True)
    for separator in separators:
        width = _width(lines, separator)
        if width < max(2, *places.values(), 2):
            continue
        rows = [row for row in (split_line(line, separator) for line in lines) if len(row) == width]
        places = _places(rows, places, columns, told) or {}
        if not places:
            return None
        by_place = {place: columns[role] for role, place in places.items()}
        names = tuple(by_place.get(place, "") for place in range(1, width + 1))
        roles = {place: role for role, place in places.items()}
        shown = " ".join(roles.get(place, "-") for place in range(1, width + 1))
        note = f"no header, separator {SEPARATORS.get(separator, repr(separator))}, columns: {shown}"
        if "time" in columns and "time" not in places:
            note += f"; {NO_TIME}"
        return Layout(separator, has_header=False, names=names, note=note)
    return None


def _places(
    rows: Sequence[Sequence[str]], told: Mapping[str, int], columns: Mapping[str, str], is_headerless: bool
) -> dict[str, int] | None:
    """Return the place of each role, from 1, without the role "time" if there are no times; None if it is not clear."""
    places = dict(told)
    for role, place in (("user", 1), ("item", 2)):
        if role in columns:
            places.setdefault(role, place)
    if not columns.keys() - told.keys():
        return places
    width = len(rows[0])
    rest = [place for place in range(1, width + 1) if place not in places.values()]
    every_kind = {place: _kind([row[place - 1] for row in rows]) for place in range(1, width + 1)}
    kinds = {place: every_kind[place] for place in rest}
    if not told and "time" in every_kind.values() and "time" not in kinds.values():
        return None  # such as a time in front of the user
    if not is_headerless and not told:
        if width > 4 or None in kinds.values():
            return None
        if width == 2 and not all(field.isdecimal() for row in rows for field in row):
            return None
    wants_rating = "rating" in columns and "rating" not in places
    if "time" in columns and "time" not in places:
        times = [place for place, kind in kinds.items() if kind == "time"]
        if len(times) == 1:
            places["time"] = times[0]
        elif (
            times
            or len(rest) > 1
            or rest
            and not (kinds[rest[0]] == "rating" and (wants_rating or _is_no_counter(rows, rest[0], places)))
        ):
            return None
    if wants_rating:
        others = [place for place in rest if place not in places.values()]
        if len(others) != 1:
            return None
        places["rating"] = others[0]
    return places


def _kind(values: Sequence[str]) -> str | None:
    """Return what a column of text seems to hold: "time", "rating" or "number", None for other text."""
    try:
        parsed = parse_timestamps(pl.Series(values, dtype=pl.String))
    except (InputError, UnicodeEncodeError):  # text that is not UTF-8 is named when the rows are read
        return None
    if parsed.null_count():
        return None
    if isinstance(parsed.dtype, pl.Datetime):
        return "time"
    lowest, highest = pl.select(low=pl.lit(parsed).min(), high=pl.lit(parsed).max()).row(0)
    if lowest >= _LEAST_SECONDS:
        return "time"
    return "rating" if max(-lowest, highest) <= _HIGHEST_RATING else "number"


def _is_no_counter(rows: Sequence[Sequence[str]], place: int, places: Mapping[str, int]) -> bool:
    """Return whether small numbers are no places in a history: they have fractions, or do not ascend for a user."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row[places["user"] - 1], []).append(float(row[place - 1]))
    return any(value % 1 or later <= value for history in values.values() for value, later in pairwise([*history, 1e9]))


def _history_separator(lines: Sequence[str], separators: Sequence[str]) -> str:
    """Return the first separator that more than half of the lines have, else one that any line has."""
    counts = {each: sum(len(split_line(line, each)) > 1 for line in lines) for each in separators if each != "::"}
    return next((each for each, n in counts.items() if 2 * n > len(lines)), max(counts, key=lambda each: counts[each]))


def _history_layout(lines: Sequence[str], separators: Sequence[str], kind: str) -> Layout:
    separator = separators[0] if len(separators) == 1 else _history_separator(lines, separators)
    what = {"histories": "a line is a user and then the items", "item-lists": "a line is the items of a user"}
    note = f"layout {kind}, {what[kind]}, separator {SEPARATORS.get(separator, repr(separator))}; {NO_TIME}"
    return Layout(separator, kind, has_header=False, note=note)


def _kind_of_histories(lines: Sequence[str], separators: Sequence[str]) -> str | None:
    """Return "histories" or "item-lists" if lines of several lengths are clearly one of them."""
    if len(separators) == 1 and separators[0] == "::":
        return None
    separator = _history_separator(lines, separators)
    rows = [split_line(line, separator) for line in lines]
    widths = Counter(map(len, rows))
    if len(widths) < 2 or max(widths) < 2:
        return None
    for width in (3, 4):  # events of which some are damaged
        alike = [row for row in rows if len(row) == width]
        if 2 * len(alike) > len(rows) and _kind([row[-1] for row in alike]) == "time":
            return None
    users, items = [row[0] for row in rows], {item for row in rows for item in row[1:]}
    if len(set(users)) < len(users):
        return "item-lists"
    first = int(users[0]) if users[0].isdecimal() else 0
    is_numbered = users == [str(first + place) for place in range(len(users))]
    return "histories" if is_numbered or not items & set(users) else None
