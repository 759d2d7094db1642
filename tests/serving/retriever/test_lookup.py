"""Which items may still be recommended."""

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.retriever.lookup import active_items


def test_retired_items_are_not_active():
    assert active_items(ItemVocabulary("abc"), ["c", "a"]).tolist() == [False, True, False]
    assert active_items(ItemVocabulary("abc"), []).all()


def test_an_unknown_item_cannot_retire():
    with pytest.raises(InputError, match="`retired` must hold items of the vocabulary. Received: 'z'"):
        active_items(ItemVocabulary("abcde"), ["a", "z"])
