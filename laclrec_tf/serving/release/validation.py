"""Validation: the check that a version is fit to be served.

It must be whole, need no Python, and recommend the same as the model did when it was exported.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework import op_def_registry
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.local.fresh_process import FreshProcessError, answers_of_fresh_process
from laclrec_tf.serving.local.loaded_model import read_saved_model
from laclrec_tf.serving.version.held_out_topk import (
    SIGNATURE,
    HeldOutHistories,
    RankedItems,
    ranked_items,
    read_held_out_topk,
    same_ranking,
)
from laclrec_tf.serving.version.manifest import verify_manifest
from laclrec_tf.serving.version.warmup import WARMUP_FILE, read_warmup_requests, write_requests

# Registered operations that call the Python process that created them.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


@dataclass(frozen=True)
class Validation:
    """The checks that a version passed.

    Args:
        files: number of files that match the manifest.
        warmup_requests: number of answered warm-up requests.
        held_out_histories: number of histories for which the version recommends the same as the live model.
        source: origin of these histories.
    """

    files: int
    warmup_requests: int
    held_out_histories: int
    source: str


def validate(version: Path) -> Validation:
    """Check a version before it is served.

    Its files must match the manifest. Its graph may hold only operations of stock TensorFlow, and none that calls
    Python. In a new process, which can import neither `laclrec_tf` nor Keras, it must answer every warm-up request, and
    recommend for the held-out histories the same as the training process: the same items, scores within 1e-5. Items
    with equal scores may change places.

    Args:
        version: the version's folder.

    Returns:
        The checks.

    Raises:
        InputError: a check failed; the message says which.
    """
    files = verify_manifest(version)
    foreign = foreign_ops(version)
    if foreign:
        raise _unfit(version, f"its graph needs {', '.join(foreign)}, which a server in C++ cannot run")
    held_out, expected = read_held_out_topk(version)
    requests = read_warmup_requests(version)
    if not requests:
        raise _unfit(version, f"{WARMUP_FILE.as_posix()} holds no request")
    with tempfile.TemporaryDirectory() as scratch:
        held_out_file = Path(scratch) / "held_out.tfrecord"
        write_requests(held_out_file, [_request(held_out)])
        try:
            *_, response = answers_of_fresh_process(version, version / WARMUP_FILE, held_out_file)
        except FreshProcessError as error:
            raise _unfit(version, f"it does not run in a fresh process: {error.reason}") from error
    _compare(version, expected, response)
    return Validation(files, len(requests), len(expected), held_out.source)


def foreign_ops(version: Path) -> list[str]:
    """List the operations that a server without Python, or without custom kernels, cannot run.

    The graph and its function library are read, but not loaded.

    Args:
        version: the version's folder.

    Returns:
        The operations' names, sorted: those that call Python, and those that stock TensorFlow does not know.

    Raises:
        InputError: `saved_model.pb` is missing or damaged.

    Example:
        >>> foreign_ops(Path("shop/1"))
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: Cannot load shop/1: saved_model.pb is missing. Export the model again.
    """
    foreign = set()
    for graph in (meta_graph.graph_def for meta_graph in read_saved_model(version).meta_graphs):
        functions = {function.signature.name for function in graph.library.function}
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        used = {node.op for node in nodes} - functions  # an operation may call a function
        foreign |= {op for op in used if op in PYTHON_OPS or op_def_registry.get(op) is None}
    return sorted(foreign)


def _request(held_out: HeldOutHistories) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = SIGNATURE
    request.inputs["history"].CopyFrom(tf.make_tensor_proto(padded_batch(held_out.histories), tf.string))
    return request


def _compare(version: Path, expected: list[RankedItems], response: predict_pb2.PredictResponse) -> None:
    received = ranked_items({name: tf.make_ndarray(response.outputs[name]) for name in ("item_ids", "scores")})
    wrong = [
        row for row, answers in enumerate(zip(expected, received, strict=True), start=1) if not same_ranking(*answers)
    ]
    if wrong:
        raise _unfit(
            version,
            f"it recommends other items or scores than the training process for {len(wrong)} of {len(expected)} "
            f"held-out histories, the first of them number {wrong[0]}",
        )


def _unfit(version: Path, reason: str) -> InputError:
    return InputError(f"{version} is not fit to be served: {reason}. Export the model again.")
