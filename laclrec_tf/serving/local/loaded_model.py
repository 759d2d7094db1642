"""A SavedModel read from disk, with its signatures checked before they are called."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.version.folder import SAVED_MODEL_FILE

# TensorFlow's error codes have gRPC's numbers.
STATUS_OF_CODE = {code.value[0]: code for code in grpc.StatusCode}
INIT_OP = "__saved_model_init_op"


class SignatureInputs:
    """Checks the inputs of a signature and fills in those that may be left out.

    Args:
        signature: its name, for messages.
        definition: what the SavedModel says of it. `defaults` are the values of inputs that a request may leave out.

    Attributes:
        specs: `TensorSpec` by input name, in the order of the definition.

    Example:
        >>> definition = meta_graph_pb2.SignatureDef()
        >>> definition.inputs["k"].dtype = tf.int32.as_datatype_enum
        >>> definition.defaults["k"].CopyFrom(tf.make_tensor_proto(10))
        >>> SignatureInputs("retrieve", definition).complete({})["k"].item()
        10
    """

    def __init__(self, signature: str, definition: meta_graph_pb2.SignatureDef) -> None:
        """Read the definition once; requests are many."""
        self.signature = signature
        self.specs = {
            name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.dtypes.as_dtype(info.dtype))
            for name, info in definition.inputs.items()
        }
        self._defaults = {
            name: np.asarray(tf.make_ndarray(definition.defaults[name]))
            for name in self.specs
            if name in definition.defaults
        }
        self._expected = {
            name: (np.dtype(spec.dtype.as_numpy_dtype), None if spec.shape.rank is None else spec.shape.as_list())
            for name, spec in self.specs.items()
        }

    def complete(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Fill in defaults and check.

        Args:
            inputs: arrays by name; strings are object arrays of bytes.

        Returns:
            All inputs, in the order of `specs`.

        Raises:
            ServingError: INVALID_ARGUMENT, an input is missing, superfluous, of the wrong dtype or shape.
        """
        missing = self.specs.keys() - inputs.keys() - self._defaults.keys()
        superfluous = inputs.keys() - self.specs.keys()
        if missing or superfluous:
            raise _invalid(
                f"Signature '{self.signature}' takes the inputs {_listed(set(self.specs))}. "
                f"Missing: {_listed(missing)}. Superfluous: {_listed(superfluous)}."
            )
        complete = {}
        for name, (dtype, shape) in self._expected.items():
            array = inputs[name] if name in inputs else self._defaults[name]
            if array.dtype != dtype or not _fits(array.shape, shape):
                raise _invalid(
                    f"Input '{name}' of signature '{self.signature}' must be {_described(self.specs[name])}. "
                    f"Received: {_described(tf.TensorSpec(array.shape, tf.dtypes.as_dtype(array.dtype)))}."
                )
            complete[name] = array
        return complete


def _fits(shape: tuple[int, ...], expected: list[int | None] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(
        size is None or size == given for given, size in zip(shape, expected, strict=True)
    )


def _described(spec: tf.TensorSpec) -> str:
    if spec.shape.rank is None:
        return f"{spec.dtype.name} of any shape"
    sizes = ", ".join("any" if size is None else str(size) for size in spec.shape)
    return f"{spec.dtype.name} of shape [{sizes}]"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def operation_reason(error: tf.errors.OpError) -> str:
    """Return an operation's complaint as one line without a full stop.

    Args:
        error: as TensorFlow raises it.

    Example:
        >>> message = "assertion failed: [Input k must be at least 1. Received: k =] [0]\\n\\t [[{{node Assert}}]]"
        >>> operation_reason(tf.errors.InvalidArgumentError(None, None, message))
        'Input k must be at least 1. Received: k = 0'
    """
    assertion = re.search(r"assertion failed: (.*?)\s*\[\[\{\{(?:function_)?node", error.message, re.DOTALL)
    if assertion:
        return one_line(re.sub(r"[\[\]]", "", assertion.group(1)))
    without_trace = re.sub(
        r"Graph execution error:|Detected at node.*?stack traces unavailable>",
        "",
        error.message,
        flags=re.DOTALL,
    )
    return one_line(re.split(r"\[\[\{\{(?:function_)?node", without_trace)[0])


def one_line(text: str) -> str:
    """Return a text on one line, without the full stop at its end.

    Example:
        >>> one_line("No such\\n  file.")
        'No such file'
    """
    return " ".join(text.split()).rstrip(".")


class LoadedModel:
    """One version of a model in memory. No Keras and no model code is needed: all is in the SavedModel.

    It runs in a TensorFlow session of its own, as in TensorFlow Serving: a call costs a third of what a call of
    `tf.saved_model.load`'s functions costs, and `close` gives the memory back. A signature is made ready, which takes
    some tenths of a second, when it is first called, or by `prepare`.

    Args:
        folder: the version's folder, with `saved_model.pb` in it.
        intra_op_threads: processors that one operation may use. With 1, a call runs in the caller's thread and
            costs the least processor time, if the process has not run TensorFlow before. Default: 0, all.

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

    def __init__(self, folder: Path, intra_op_threads: int = 0) -> None:
        """Read variables, assets and graph."""
        self.folder = folder
        self.signature_defs: dict[str, meta_graph_pb2.SignatureDef] = _read_signature_defs(folder)
        self.signature_names: list[str] = sorted(self.signature_defs.keys() - {INIT_OP})
        self._inputs = {name: SignatureInputs(name, self.signature_defs[name]) for name in self.signature_names}
        # -1: all operations in the caller's thread. Threads that hand a small graph's operations to each other
        # cost five times the processor time.
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads, inter_op_parallelism_threads=-1 if intra_op_threads else 0
        )
        self._calls: dict[str, Any] = {}
        self._preparing = threading.Lock()
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default(), _Quiet():
                tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        except (OSError, ValueError, KeyError, RuntimeError, tf.errors.OpError) as error:
            self._session.close()
            raise self._not_loaded(error) from error

    def __repr__(self) -> str:
        return f"LoadedModel({str(self.folder)!r}: {', '.join(self.signature_names)})"

    def signature_def(self, name: str) -> meta_graph_pb2.SignatureDef:
        """Return what a signature takes and gives.

        Raises:
            ServingError: INVALID_ARGUMENT, there is no such signature.
        """
        if name not in self._inputs:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"The model has no signature '{name}'. It has: {', '.join(self.signature_names)}.",
            )
        return self.signature_defs[name]

    def prepare(self) -> None:
        """Make every signature ready, so that no first call waits.

        Raises:
            InputError: a signature cannot be made ready.
        """
        for name in self.signature_names:
            self._call_of(name)

    def complete(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Check inputs, and fill those left out from the signature's defaults.

        Args:
            signature: its name.
            inputs: the arrays by name; strings are object arrays of bytes.

        Returns:
            All inputs.

        Raises:
            ServingError: INVALID_ARGUMENT, there is no such signature, or an input is missing, superfluous, of
                the wrong dtype or shape.
        """
        self.signature_def(signature)
        return self._inputs[signature].complete(inputs)

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Call a signature.

        Args:
            signature: its name.
            inputs: the arrays by name; strings are object arrays of bytes. One that has a default may be missing.

        Returns:
            The outputs by name; strings are object arrays of bytes.

        Raises:
            ServingError: INVALID_ARGUMENT, an input is missing, superfluous, of the wrong dtype or shape;
                otherwise the status of the operation that failed.
        """
        return self.run_complete(signature, self.complete(signature, inputs))

    def run_complete(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Call a signature with what `complete` returned, or several of those put together.

        Raises:
            ServingError: the status of the operation that failed.
            InputError: the signature cannot be made ready.
        """
        call = self._call_of(signature)
        try:
            outputs = call(*inputs.values())
        except tf.errors.OpError as error:
            code = STATUS_OF_CODE.get(error.error_code, grpc.StatusCode.UNKNOWN)
            raise ServingError(code, operation_reason(error)) from error
        except UnicodeDecodeError as error:  # TensorFlow's message quotes the input, and that is no text
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Signature '{signature}' cannot read its inputs: malformed bytes"
            ) from error
        return dict(zip(self.signature_defs[signature].outputs, outputs, strict=True))

    def close(self) -> None:
        """Give the memory back. No call may be running, and none may come."""
        self._calls = {}
        self._session.close()

    def _call_of(self, signature: str) -> Any:
        if signature not in self._calls:
            with self._preparing:
                if signature not in self._calls:
                    try:
                        self._calls[signature] = self._made_ready(self.signature_defs[signature])
                    except (ValueError, RuntimeError, tf.errors.OpError) as error:
                        raise self._not_loaded(error) from error
        return self._calls[signature]

    def _not_loaded(self, error: Exception) -> InputError:
        return InputError(f"Cannot load {self.folder}: {one_line(str(error))}. Export the model again.")

    def _made_ready(self, definition: meta_graph_pb2.SignatureDef) -> Any:
        options = config_pb2.CallableOptions(
            feed=[tensor.name for tensor in definition.inputs.values()],
            fetch=[tensor.name for tensor in definition.outputs.values()],
        )
        # The public make_callable() goes through run() at every call, which costs as much as a small graph.
        return self._session._make_callable_from_options(options)


class _Quiet:
    """Keeps TensorFlow from calling its loader for sessions deprecated; there is no other one."""

    def __enter__(self) -> None:
        self._level = tf.get_logger().level
        tf.get_logger().setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        tf.get_logger().setLevel(self._level)


def _read_signature_defs(folder: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    file = folder / SAVED_MODEL_FILE
    if not file.is_file():
        raise InputError(f"Cannot load {folder}: {SAVED_MODEL_FILE} is missing. Export the model again.")
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except (DecodeError, OSError):
        graphs = []
    for graph in graphs:
        if "serve" in graph.meta_info_def.tags:
            # A copy each, or the whole graph would be kept with them.
            return {name: _copy(definition) for name, definition in graph.signature_def.items()}
    raise InputError(f"Cannot load {folder}: {SAVED_MODEL_FILE} is damaged. Export the model again.")


def _copy(definition: meta_graph_pb2.SignatureDef) -> meta_graph_pb2.SignatureDef:
    copy = meta_graph_pb2.SignatureDef()
    copy.CopyFrom(definition)
    return copy
