"""Whether a version is fit to be served: whole, free of Python, and answering as the model did when it was trained."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.history_batch import padded_batch
from laclrec_tf.serving.local.fresh_process import FreshProcessError, answers_of_fresh_process
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE
from laclrec_tf.serving.version.held_out_topk import (
    SIGNATURE,
    HeldOutHistories,
    RankedItems,
    ranked_items,
    read_held_out_topk,
    same_ranking,
)
from laclrec_tf.serving.version.manifest import read_manifest, verify_manifest
from laclrec_tf.serving.version.warmup import WARMUP_FILE, read_warmup_requests, write_requests

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


@dataclass(frozen=True)
class Validation:
    """What a version has stood.

    Args:
        files: how many files are as the manifest says.
        warmup_requests: how many were answered.
        held_out_histories: how many were answered as by the live model.
        source: where those histories come from.
    """

    files: int
    warmup_requests: int
    held_out_histories: int
    source: str


def validate(version_folder: Path) -> Validation:
    """Check a version before it is served.

    Its files must fit the manifest. Its graph may hold operations of stock TensorFlow only, none that calls Python.
    In a fresh process, which can import neither `laclrec_tf` nor Keras, it must answer every warm-up request, and
    recommend for the held-out histories what the training process recommended: the same items, scores within 1e-5;
    items whose scores tie may change places.

    Args:
        version_folder: the version's folder.

    Returns:
        What was checked.

    Raises:
        InputError: it is not fit; the message says what failed.
    """
    verify_manifest(version_folder)
    foreign = foreign_ops(version_folder)
    if foreign:
        raise _unfit(version_folder, f"its graph needs {', '.join(foreign)}, which a server in C++ cannot run")
    held_out, expected = read_held_out_topk(version_folder)
    requests = read_warmup_requests(version_folder)
    if not requests:
        raise _unfit(version_folder, f"{WARMUP_FILE.as_posix()} holds no request, so nothing warms it up")
    with tempfile.TemporaryDirectory() as scratch:
        asked = Path(scratch) / "held_out.tfrecord"
        write_requests(asked, [_request(held_out)])
        try:
            *_, response = answers_of_fresh_process(version_folder, version_folder / WARMUP_FILE, asked)
        except FreshProcessError as error:
            raise _unfit(version_folder, f"it does not run in a fresh process: {error.reason}") from error
    _compare(version_folder, expected, response)
    return Validation(len(read_manifest(version_folder)), len(requests), len(expected), held_out.source)


def _request(held_out: HeldOutHistories) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = SIGNATURE
    request.inputs["history"].CopyFrom(tf.make_tensor_proto(padded_batch(held_out.histories), tf.string))
    return request


def _compare(version_folder: Path, expected: list[RankedItems], response: predict_pb2.PredictResponse) -> None:
    received = ranked_items({name: tf.make_ndarray(response.outputs[name]) for name in ("item_ids", "scores")})
    wrong = [
        row for row, answers in enumerate(zip(expected, received, strict=True), start=1) if not same_ranking(*answers)
    ]
    if wrong:
        raise _unfit(
            version_folder,
            f"it recommends other items or scores than the training process for {len(wrong)} of {len(expected)} "
            f"held-out histories, the first of them number {wrong[0]}",
        )


def _unfit(version_folder: Path, reason: str) -> InputError:
    return InputError(f"{version_folder} is not fit to be served: {reason}. Export the model again.")
