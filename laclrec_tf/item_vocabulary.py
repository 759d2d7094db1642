"""The catalogue: item string <-> id, and the ids of the special tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from laclrec_tf.errors import InputError

PAD_ID = 0

# Everything that some reader takes for the end of a line; the vocabulary file holds one item a line.
LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_LINE_BREAK = re.compile(f"[{LINE_BREAKS}]")


class ItemVocabulary:
    """Item strings with the ids `1..N`; `0` is PAD, `N+1` EOS, `N+2` MASK.

    Args:
        items: the item strings; the first one gets id 1.

    Raises:
        InputError: there is no item, an item is empty, holds a line break, is no string or comes twice.

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
            raise InputError("Argument `items` must hold at least one item. Received: none.")
        self._ids: dict[str, int] = {}
        for item_id, item in enumerate(self.items, start=1):
            if not isinstance(item, str) or not item:
                raise InputError(f"Items must be strings, not empty. Received: {item!r} as item {item_id}.")
            if _LINE_BREAK.search(item):
                raise InputError(f"Items must not hold a line break. Received: {item!r} as item {item_id}.")
            first = self._ids.setdefault(item, item_id)
            if first != item_id:
                raise InputError(f"Items must differ. Received: {item!r} as items {first} and {item_id}.")

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
        """The id that ends an inserted run, `N + 1`."""
        return self.n_items + 1

    @property
    def mask_id(self) -> int:
        """The id of a masked item, `N + 2`."""
        return self.n_items + 2

    @property
    def table_size(self) -> int:
        """Rows of an embedding table: the items and the three special tokens, `N + 3`."""
        return self.n_items + 3

    def to_ids(self, items: Iterable[str]) -> list[int]:
        """Look up the ids of item strings; an unknown item gets 0."""
        return [self._ids.get(item, PAD_ID) for item in items]

    def to_items(self, item_ids: Iterable[int]) -> list[str]:
        """Look up the strings of item ids.

        Raises:
            InputError: an id is not in `1..N`; PAD, EOS and MASK have no string.
        """
        names = []
        for item_id in item_ids:
            if not 1 <= item_id <= self.n_items:
                raise InputError(f"Argument `item_ids` must hold 1 to {self.n_items}. Received: {item_id}.")
            names.append(self.items[item_id - 1])
        return names

    def save(self, path: str | Path) -> None:
        r"""Write one item a line, UTF-8, `\n` at every line's end; line 1 is id 1."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{item}\n" for item in self.items)

    @classmethod
    def load(cls, path: str | Path) -> ItemVocabulary:
        """Read a file that `save` wrote.

        Raises:
            InputError: the file is missing, is not UTF-8, or a line is empty or comes twice.
        """
        try:
            # Bytes, so that only `\n` ends a line.
            text = Path(path).read_bytes().decode("utf-8")
        except OSError as error:
            raise InputError(f"Cannot read the vocabulary {path}: {error.strerror}.") from None
        except UnicodeDecodeError as error:
            raise InputError(f"The vocabulary {path} is not UTF-8 text (byte {error.start}).") from None
        try:
            return cls(text.removesuffix("\n").split("\n"))
        except InputError as error:
            raise InputError(f"The vocabulary {path} is damaged: {error}") from None

    def __len__(self) -> int:
        """Return `n_items`."""
        return len(self.items)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the item strings, id 1 first."""
        return iter(self.items)

    def __contains__(self, item: object) -> bool:
        """Return True for a known item string."""
        return item in self._ids

    def __eq__(self, other: object) -> bool:
        """Return True when the other vocabulary has the same items in the same order."""
        return isinstance(other, ItemVocabulary) and self.items == other.items

    def __hash__(self) -> int:
        """Hash the items."""
        return hash(self.items)

    def __repr__(self) -> str:
        """Show the size and the first items."""
        shown = ", ".join(repr(item) for item in self.items[:3])
        more = ", ..." if self.n_items > 3 else ""
        return f"ItemVocabulary({self.n_items} items: {shown}{more})"
