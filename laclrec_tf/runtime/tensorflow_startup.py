"""Import TensorFlow without its start-up notes, and keep gRPC's from standard error."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# More than training on Amazon Beauty needs; all of them take some 0.4 GB there.
KEPT_PRODUCTS = 16384
NATIVE_STANDARD_ERROR = 2


def keep_compiled_products() -> None:
    """Let oneDNN keep the matrix products of all batch shapes. Without effect once TensorFlow is loaded.

    oneDNN computes TensorFlow's matrix products on x86 processors. It compiles a product for each shape and keeps the
    last 1,024 of them; batches that are as long as their longest history have more shapes than that. A value that the
    environment sets already stays.

    Source: https://oneapi-src.github.io/oneDNN/v3.0/dev_guide_primitive_cache.html

    Example:
        >>> keep_compiled_products()
    """
    _set("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_PRODUCTS))


def compile_no_products() -> None:
    """Leave products to TensorFlow's own code: the small ones of a server's requests are not worth compiling.

    Without effect once TensorFlow is loaded.

    Example:
        >>> compile_no_products()
    """
    _set("TF_ENABLE_ONEDNN_OPTS", "0")


def _set(name: str, value: str) -> None:
    # Set too late it would only change what the processes do that this one starts.
    if "tensorflow" not in sys.modules:
        os.environ.setdefault(name, value)


def import_tensorflow_quietly(intra_op_threads: int = 0) -> None:
    """Import TensorFlow and look for its devices while the process's standard error goes nowhere.

    TensorFlow's C++ libraries write notes on CPU features and missing accelerators there, whatever
    `TF_CPP_MIN_LOG_LEVEL` says; in a terminal they bury the one line that matters. Errors raised in Python
    come through as always.

    Args:
        intra_op_threads: processors that one operation may use, for the rest of the process; without effect where
            TensorFlow has run already. Default: 0, all.

    Example:
        >>> import_tensorflow_quietly()
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    silence_grpc()
    keep_compiled_products()
    with _native_standard_error_discarded():
        import tensorflow as tf

        # In a notebook its Python side speaks of what it saves, too.
        tf.get_logger().setLevel(max(logging.WARNING, tf.get_logger().level))
        if intra_op_threads:
            with suppress(RuntimeError):  # TensorFlow has run in this process before, and keeps its threads
                tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
        tf.config.list_physical_devices()
        # The first operations look for devices and fast paths. Workers must find each other before that.
        if not (os.environ.get("TF_CONFIG") or os.environ.get("CLUSTER_SPEC")):
            tf.transpose(tf.zeros([2, 3], tf.int32))


def silence_grpc() -> None:
    """Keep gRPC's notes from standard error, unless the environment asks for them: errors come as statuses, too.

    Example:
        >>> silence_grpc()
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def call_quietly(task: bytes, *more: Any) -> None:
    """Call a function in a new process, TensorFlow imported without its notes first.

    Args:
        task: `(function, arguments)`, pickled: reading it may import TensorFlow.
        *more: further arguments, which only a starting process can be given, a connection for one.

    Example:
        >>> call_quietly(pickle.dumps((print, ("asked of", ))), "the process")
        asked of the process
    """
    import_tensorflow_quietly()
    function, arguments = pickle.loads(task)
    function(*arguments, *more)


@contextmanager
def _native_standard_error_discarded() -> Iterator[None]:
    # Not `sys.stderr.fileno()`: in a notebook that is another one than the libraries write to.
    try:
        kept = os.dup(NATIVE_STANDARD_ERROR)
    except OSError:  # it is closed, so nothing is to be kept quiet
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, NATIVE_STANDARD_ERROR)
    try:
        yield
    finally:
        os.dup2(kept, NATIVE_STANDARD_ERROR)
        os.close(kept)
        os.close(nowhere)
