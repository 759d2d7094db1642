"""What a new vocabulary changes: added, retired, returned, and what changes nothing."""

from __future__ import annotations

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.training.grow import CatalogueChange

OLD = ItemVocabulary("abcd")


def between(new, retired="", **options):
    return CatalogueChange.between(OLD, list(retired), ItemVocabulary(new), **options)


def test_items_are_added_retired_and_brought_back():
    change = between("zdyc", retired="cb")
    assert change == CatalogueChange(added=("z", "y"), retired=("a",), returned=("c",), retired_before=("b",))
    assert change.all_retired(OLD) == ("a", "b")


def test_what_is_missing_can_be_kept_but_what_was_retired_stays_so():
    change = between("az", retired="b", keep_missing=True)
    assert change == CatalogueChange(added=("z",), retired=(), returned=(), retired_before=("b",))


def test_another_order_is_no_change():
    with pytest.raises(InputError, match="adds no item to the run and retires none. Use the run as it is."):
        between("dcba")
    with pytest.raises(InputError, match="and with --keep-missing items it lacks stay. Use the run as it is."):
        between("a", keep_missing=True)
    assert between("dcba", retired="a").returned == ("a",)


def test_another_shops_catalogue_is_refused():
    with pytest.raises(InputError, match="2 items, the first 'y'.*4 items, the first 'a'.*no item in common"):
        between("yz")
