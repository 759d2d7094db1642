"""The vocabulary of a catalogue: ids of item strings and of the special tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from laclrec_tf.errors import InputError
from laclrec_tf.files import read_lines

PAD_ID = 0

# All characters that some program reads as the end of a line. The vocabulary file has one item on each line.
LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_LINE_BREAK = re.compile(f"[{LINE_BREAKS}]")


class ItemVocabulary:
    """Item strings with the ids `1` to `N`. The id `0` is PAD, `N + 1` is EOS and `N + 2` is MASK.

    Args:
        items: the item strings. The first one gets the id 1.

    Raises:
        InputError: there is no item, or an item is not a string, is empty, contains a line break or is repeated.

    Example:
        >>> vocabulary = ItemVocabulary(["tent", "stove"])
        >>> vocabulary.to_ids(["stove", "unknown"]), vocabulary.to_items([1])
        ([2, 0], ['tent'])
        >>> vocabulary.eos_id, vocabulary.mask_id, vocabulary.table_size
        (3, 4, 5)
    """

    def __init__(self, items: Iterable[str]) -> None:
        """Number the items from 1."""
        self.items = tuple(items)
        if not self.items:
            raise InputError("Argument `items` must contain at least one item. Received: none.")
        self._ids: dict[str, int] = {}
        for item_id, item in enumerate(self.items, start=1):
            if not isinstance(item, str) or not item:
                raise InputError(f"Items must be non-empty strings. Received: {item!r} as item {item_id}.")
            if _LINE_BREAK.search(item):
                raise InputError(f"Items must not contain a line break. Received: {item!r} as item {item_id}.")
            first = self._ids.setdefault(item, item_id)
            if first != item_id:
                raise InputError(f"Items must be distinct. Received: {item!r} as items {first} and {item_id}.")

    @property
    def n_items(self) -> int:
        """The number of items `N`."""
        return len(self.items)

    @property
    def pad_id(self) -> int:
        """The id of padding, 0."""
        return PAD_ID

    @property
    def eos_id(self) -> int:
        """The id that ends a sequence of inserted items, `N + 1`."""
        return self.n_items + 1

    @property
    def mask_id(self) -> int:
        """The id of a masked item, `N + 2`."""
        return self.n_items + 2

    @property
    def table_size(self) -> int:
        """The number of rows of an embedding table, for the items and the three special tokens: `N + 3`."""
        return self.n_items + 3

    def to_ids(self, items: Iterable[str]) -> list[int]:
        """Return the ids of item strings. An unknown item gets 0."""
        return [self._ids.get(item, PAD_ID) for item in items]

    def to_items(self, item_ids: Iterable[int]) -> list[str]:
        """Return the strings of item ids.

        Raises:
            InputError: an id is not in `1` to `N`. PAD, EOS and MASK have no string.
        """
        names = []
        for item_id in item_ids:
            if not 1 <= item_id <= self.n_items:
                raise InputError(f"Argument `item_ids` must contain ids from 1 to {self.n_items}. Received: {item_id}.")
            names.append(self.items[item_id - 1])
        return names

    def save(self, path: str | Path) -> None:
        r"""Write one item on each line, in UTF-8 with `\n` at the end of each line. Line 1 has the id 1."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{item}\n" for item in self.items)

    @classmethod
    def load(cls, path: str | Path) -> ItemVocabulary:
        """Read a file that `save` wrote.

        Raises:
            InputError: the file is missing or not UTF-8, or a line is empty or repeated.
        """
        try:
            # In binary mode only `\n` ends a line.
            text = Path(path).read_bytes().decode("utf-8")
        except OSError as error:
            raise InputError(f"Cannot read the vocabulary {path}: {error.strerror}.") from None
        except UnicodeDecodeError as error:
            raise InputError(f"The vocabulary {path} is not UTF-8 text (byte {error.start}).") from None
        try:
            return cls(text.removesuffix("\n").split("\n"))
        except InputError as error:
            raise InputError(f"The vocabulary {path} is damaged: {error}") from None

    @classmethod
    def read(cls, path: str | Path) -> ItemVocabulary:
        """Read a catalogue that a user wrote: a text file with one item on each line, see `read_lines`.

        Raises:
            InputError: the file cannot be read or names no item, or an item is repeated or contains a line break.
        """
        lines: dict[str, int] = {}
        for number, item in read_lines(path):
            if _LINE_BREAK.search(item):
                raise InputError(f"{path}, line {number}: the item {item!r} contains a line break. Remove it.")
            if lines.setdefault(item, number) != number:
                raise InputError(
                    f"{path}, line {number}: the item {item!r} is on line {lines[item]} already. Remove one of them."
                )
        if not lines:
            raise InputError(f"{path} names no item. Write one item on each line.")
        return cls(lines)

    def __len__(self) -> int:
        """Return `n_items`."""
        return len(self.items)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the item strings, id 1 first."""
        return iter(self.items)

    def __contains__(self, item: object) -> bool:
        """Return whether an item string is known."""
        return item in self._ids

    def __eq__(self, other: object) -> bool:
        """Return whether another vocabulary has the same items in the same order."""
        return isinstance(other, ItemVocabulary) and self.items == other.items

    def __hash__(self) -> int:
        """Hash the items."""
        return hash(self.items)

    def __repr__(self) -> str:
        """Show the size and the first items."""
        shown = ", ".join(repr(item) for item in self.items[:3])
        more = ", ..." if self.n_items > 3 else ""
        return f"ItemVocabulary({self.n_items} items: {shown}{more})"
