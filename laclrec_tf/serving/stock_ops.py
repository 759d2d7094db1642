"""Whether a graph needs nothing but TensorFlow's own operations, as a server in C++ has them."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from laclrec_tf.errors import InputError
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE

# Registered, but they call back into the Python process that made them.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


def foreign_ops(version_folder: Path) -> list[str]:
    """List the operations that a server without Python, or without custom kernels, cannot run.

    The graph and its function library are read, nothing is loaded.

    Args:
        version_folder: the version's folder, with `saved_model.pb` in it.

    Returns:
        The operations' names, sorted: those that call Python, and those that stock TensorFlow does not know.

    Raises:
        InputError: `saved_model.pb` is missing or damaged.

    Example:
        >>> foreign_ops(Path("shop/1"))
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: shop/1/saved_model.pb is missing or damaged. Export the model again.
    """
    file = version_folder / SAVED_MODEL_FILE
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except (OSError, DecodeError):
        raise InputError(f"{file} is missing or damaged. Export the model again.") from None
    foreign = set()
    for graph in (meta_graph.graph_def for meta_graph in graphs):
        functions = {function.signature.name for function in graph.library.function}
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        used = {node.op for node in nodes} - functions  # an operation may be a call of a function
        foreign |= {op for op in used if op in PYTHON_OPS or op_def_registry.get(op) is None}
    return sorted(foreign)
