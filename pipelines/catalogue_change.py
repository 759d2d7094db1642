"""What a new vocabulary changes of a run's catalogue: which items come, go and come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary


@dataclass(frozen=True)
class CatalogueChange:
    """The items that a new vocabulary adds, retires and brings back.

    Args:
        added: items the run does not know, in the order of the new vocabulary.
        retired: items that leave the index now, in the order of the run's vocabulary.
        returned: retired items that the new vocabulary holds again.
        retired_before: items that were retired already and stay so.

    Example:
        >>> change = CatalogueChange.between(ItemVocabulary("abc"), ["c"], ItemVocabulary("bcd"))
        >>> change.added, change.retired, change.returned
        (('d',), ('a',), ('c',))
    """

    added: tuple[str, ...]
    retired: tuple[str, ...]
    returned: tuple[str, ...]
    retired_before: tuple[str, ...]

    @classmethod
    def between(
        cls, old: ItemVocabulary, retired: Sequence[str], new: ItemVocabulary, *, keep_missing: bool = False
    ) -> CatalogueChange:
        """Compare a run's catalogue with a new one.

        Args:
            old: the run's items.
            retired: those of them that are retired already.
            new: the items of the new catalogue.
            keep_missing: retire nothing that the new catalogue lacks. Default: False.

        Raises:
            InputError: the catalogues have no item in common, or nothing changes.
        """
        if not any(item in old for item in new):
            raise InputError(
                f"The new vocabulary ({new.n_items:,} items, the first {new.items[0]!r}) and the run's "
                f"({old.n_items:,} items, the first {old.items[0]!r}) have no item in common. "
                "Give the vocabulary of the same shop, with ids written as in the run."
            )
        before = set(retired)
        missing = () if keep_missing else tuple(item for item in old if item not in new and item not in before)
        change = cls(
            added=tuple(item for item in new if item not in old),
            retired=missing,
            returned=tuple(item for item in retired if item in new),
            retired_before=tuple(item for item in retired if item not in new),
        )
        if not (change.added or change.retired or change.returned):
            but = ", and with --keep-missing items it lacks stay" if keep_missing else ""
            raise InputError(f"The new vocabulary adds no item to the run and retires none{but}. Use the run as it is.")
        return change

    def all_retired(self, old: ItemVocabulary) -> tuple[str, ...]:
        """Return all items that are out of the index after the change, in the order of the run's vocabulary."""
        gone = {*self.retired_before, *self.retired}
        return tuple(item for item in old if item in gone)
