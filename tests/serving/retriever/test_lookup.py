"""Which items may still be recommended, and a vocabulary that is not the exported one: no server loads it."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from laclrec_tf.errors import InputError
from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.retriever.lookup import active_items
from laclrec_tf.serving.version.metadata import VOCABULARY_FILE


def test_retired_items_are_not_active():
    assert active_items(ItemVocabulary("abc"), ["c", "a"]).tolist() == [False, True, False]
    assert active_items(ItemVocabulary("abc"), []).all()


def test_an_unknown_item_cannot_retire():
    with pytest.raises(InputError, match="`retired` must hold items of the vocabulary. Received: 'z'"):
        active_items(ItemVocabulary("abcde"), ["a", "z"])


def load_in_cpp(folder: Path) -> None:
    """Load a SavedModel with TensorFlow's C++ loader, as TensorFlow Serving does, through the C API."""
    library = ctypes.CDLL(str(Path(tf.__file__).parent / "libtensorflow_cc.so.2"))
    make = ("TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions", "TF_LoadSessionFromSavedModel")
    for name in make:
        getattr(library, name).restype = ctypes.c_void_p
    library.TF_Message.restype = ctypes.c_char_p
    status, graph, options = (ctypes.c_void_p(getattr(library, name)()) for name in make[:3])
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = library.TF_LoadSessionFromSavedModel(options, None, bytes(folder), tags, 1, graph, None, status)
    try:
        if library.TF_GetCode(status):
            raise ValueError(library.TF_Message(status).decode())
        library.TF_CloseSession(ctypes.c_void_p(session), status)
        library.TF_DeleteSession(ctypes.c_void_p(session), status)
    finally:
        library.TF_DeleteSessionOptions(options)
        library.TF_DeleteGraph(graph)
        library.TF_DeleteStatus(status)


LOADERS: list[Callable[[Path], object]] = [load_in_cpp, lambda folder: tf.saved_model.load(str(folder)), LoadedModel]


@pytest.mark.parametrize("load", LOADERS, ids=["C++", "tf.saved_model", "embedded"])
def test_a_vocabulary_that_is_not_the_exported_one_is_not_loaded(exported, tmp_path, load):
    folder = shutil.copytree(exported, tmp_path / "1")
    file = folder / VOCABULARY_FILE
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    damaged = {
        "cut in the middle": whole[: len(whole) // 2],
        "the last line cut": whole[:-3],
        "empty": b"",
        "another order": b"".join([*lines[1:], lines[0]]),
        "a line more": whole + b"tent\n",
    }
    for damage, content in damaged.items():
        file.write_bytes(content)
        with pytest.raises(Exception, match=r"vocabulary.txt is not as it was exported|[Ii]nvalid vocab_size"):
            load(folder)
            pytest.fail(f"loaded: {damage}")
    file.write_bytes(whole)
    load(folder)


def test_the_embedded_server_says_in_one_line_what_is_wrong(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "1")
    (folder / VOCABULARY_FILE).write_text("007\n")
    with pytest.raises(InputError) as caught:
        LoadedModel(folder)
    assert str(caught.value) == (
        f"Cannot load {folder}: vocabulary.txt is not as it was exported: it is cut, changed or of another version. "
        "Export the model again."
    )
