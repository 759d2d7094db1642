"""Import TensorFlow and gRPC without their start-up messages, and set up TensorFlow's matrix products."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# More than training on Amazon Beauty needs, where all of them take about 0.4 GB.
KEPT_PRODUCTS = 16384
NATIVE_STANDARD_ERROR = 2


def keep_compiled_products() -> None:
    """Let oneDNN cache the compiled matrix products of all batch shapes. No effect once TensorFlow is loaded.

    oneDNN computes TensorFlow's matrix products on x86 processors. It compiles one product for each shape and caches
    1,024 of them. Batches whose length is that of their longest history have more shapes. A value that is already set
    in the environment is kept.

    Source: https://oneapi-src.github.io/oneDNN/v3.0/dev_guide_primitive_cache.html

    Example:
        >>> keep_compiled_products()
    """
    _set("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_PRODUCTS))


def compile_no_products() -> None:
    """Disable oneDNN, which takes longer to compile the small matrix products of a server's requests than it saves.

    No effect once TensorFlow is loaded.

    Example:
        >>> compile_no_products()
    """
    _set("TF_ENABLE_ONEDNN_OPTS", "0")


def _set(name: str, value: str) -> None:
    # Later it would only affect child processes.
    if "tensorflow" not in sys.modules:
        os.environ.setdefault(name, value)


def import_tensorflow_quietly(intra_op_threads: int = 0) -> None:
    """Import TensorFlow and list its devices while the standard error of the process is discarded.

    TensorFlow's C++ libraries write messages on CPU features and missing accelerators there, whatever
    `TF_CPP_MIN_LOG_LEVEL` says. Exceptions are raised as usual.

    Args:
        intra_op_threads: max number of threads of one operation, for the rest of the process. No effect if TensorFlow
            has already run. Default: 0, all processors.

    Example:
        >>> import_tensorflow_quietly()
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    silence_grpc()
    keep_compiled_products()
    with _native_standard_error_discarded():
        import tensorflow as tf

        # In a notebook, its Python code also reports what it saves.
        tf.get_logger().setLevel(max(logging.WARNING, tf.get_logger().level))
        if intra_op_threads:
            with suppress(RuntimeError):  # TensorFlow has already run in this process and keeps its threads
                tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
        tf.config.list_physical_devices()
        # The first operations write messages too. Workers must connect to each other before any operation.
        if not (os.environ.get("TF_CONFIG") or os.environ.get("CLUSTER_SPEC")):
            tf.transpose(tf.zeros([2, 3], tf.int32))


def silence_grpc() -> None:
    """Keep gRPC's messages from standard error, unless the environment sets a verbosity. Errors are raised anyway.

    Example:
        >>> silence_grpc()
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def call_quietly(task: bytes, *more: Any) -> None:
    """Import TensorFlow quietly, then call a function. Use it as the target of a new process.

    Args:
        task: `(function, arguments)`, pickled, because unpickling may import TensorFlow.
        *more: further arguments that can only be passed to a starting process, e.g. a connection.

    Example:
        >>> call_quietly(pickle.dumps((print, ("printed by", ))), "the process")
        printed by the process
    """
    import_tensorflow_quietly()
    function, arguments = pickle.loads(task)
    function(*arguments, *more)


@contextmanager
def _native_standard_error_discarded() -> Iterator[None]:
    # Not `sys.stderr.fileno()`: in a notebook the libraries write to another descriptor.
    try:
        kept = os.dup(NATIVE_STANDARD_ERROR)
    except OSError:  # it is closed
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
