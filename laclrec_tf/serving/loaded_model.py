"""A SavedModel read from disk, with its signatures checked before they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.model_versions import SAVED_MODEL_FILE
from laclrec_tf.serving.serving_error import ServingError

# TensorFlow's error codes have gRPC's numbers.
STATUS_OF_CODE = {code.value[0]: code for code in grpc.StatusCode}


class LoadedModel:
    """One version of a model in memory. No Keras and no model code is needed: all is in the SavedModel.

    Args:
        folder: the version's folder, with `saved_model.pb` in it.

    Attributes:
        folder: where it was read from.
        signature_defs: what each signature takes and gives, by the signature's name.

    Raises:
        InputError: the folder holds no SavedModel, or a damaged one.

    Example:
        >>> LoadedModel(Path("missing"))
        Traceback (most recent call last):
        laclrec_tf.errors.InputError: Cannot load missing: saved_model.pb is missing. Export the model again.
    """

    def __init__(self, folder: Path) -> None:
        """Read variables, assets and graph."""
        self.folder = folder
        self.signature_defs: dict[str, meta_graph_pb2.SignatureDef] = _read_signature_defs(folder)
        try:
            # The signatures need what they were loaded with, so it is held.
            self._loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise InputError(f"Cannot load {folder}: {_one_line(str(error))}. Export the model again.") from error
        self.signature_names: list[str] = sorted(self._loaded.signatures)

    def signature_def(self, name: str) -> meta_graph_pb2.SignatureDef:
        """Return what a signature takes and gives.

        Raises:
            ServingError: INVALID_ARGUMENT, there is no such signature.
        """
        if name not in self.signature_names:
            raise _invalid(f"The model has no signature '{name}'. It has: {', '.join(self.signature_names)}.")
        return self.signature_defs[name]

    def run(self, signature: str, inputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
        """Call a signature.

        Args:
            signature: its name.
            inputs: the tensors by name; one that has a default may be missing.

        Returns:
            The outputs by name; strings are object arrays of bytes.

        Raises:
            ServingError: INVALID_ARGUMENT, an input is missing, superfluous, of the wrong dtype or shape;
                otherwise the status of the operation that failed.
        """
        definition = self.signature_def(signature)
        defaults = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in definition.defaults.items()}
        inputs = defaults | dict(inputs)
        _check_inputs(signature, definition, inputs)
        try:
            outputs = self._loaded.signatures[signature](**inputs)
            return {name: output.numpy() for name, output in outputs.items()}
        except tf.errors.OpError as error:
            code = STATUS_OF_CODE.get(error.error_code, grpc.StatusCode.UNKNOWN)
            raise ServingError(code, _reason(error)) from error


def _read_signature_defs(folder: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    file = folder / SAVED_MODEL_FILE
    if not file.is_file():
        raise InputError(f"Cannot load {folder}: {SAVED_MODEL_FILE} is missing. Export the model again.")
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except DecodeError:
        graphs = []
    for graph in graphs:
        if "serve" in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise InputError(f"Cannot load {folder}: {SAVED_MODEL_FILE} is damaged. Export the model again.")


def _check_inputs(signature: str, definition: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tf.Tensor]) -> None:
    expected, received = set(definition.inputs), set(inputs)
    if expected != received:
        raise _invalid(
            f"Signature '{signature}' takes the inputs {_listed(expected)}. "
            f"Missing: {_listed(expected - received)}. Superfluous: {_listed(received - expected)}."
        )
    for name, info in definition.inputs.items():
        spec = tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.dtypes.as_dtype(info.dtype))
        tensor = inputs[name]
        if tensor.dtype != spec.dtype or not spec.shape.is_compatible_with(tensor.shape):
            raise _invalid(
                f"Input '{name}' of signature '{signature}' must be {_described(spec)}. Received: {_described(tensor)}."
            )


def _described(tensor: tf.Tensor | tf.TensorSpec) -> str:
    if tensor.shape.rank is None:
        return f"{tensor.dtype.name} of any shape"
    sizes = ", ".join("any" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.dtype.name} of shape [{sizes}]"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _reason(error: tf.errors.OpError) -> str:
    """Take what an operation complained about out of the graph's traceback around it."""
    assertion = re.search(r"assertion failed: (.*?)\s*\[\[\{\{node", error.message, re.DOTALL)
    if assertion:
        return _one_line(re.sub(r"[\[\]]", "", assertion.group(1)))
    without_trace = re.sub(
        r"Graph execution error:|Detected at node.*?stack traces unavailable>",
        "",
        error.message,
        flags=re.DOTALL,
    )
    return _one_line(re.split(r"\[\[\{\{node", without_trace)[0])


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
