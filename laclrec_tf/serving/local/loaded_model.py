"""A SavedModel in memory, whose signatures check their inputs before they run."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from copy import deepcopy
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


class LoadedModel:
    """One version of a model in memory. It needs neither Keras nor the model's code, only the SavedModel.

    The model runs in its own TensorFlow session, as in TensorFlow Serving. A call costs a third of what a
    function of `tf.saved_model.load` costs, and `close` frees the memory. The first call of a signature, or `prepare`,
    makes it ready, which takes some tenths of a second.

    Args:
        folder: the version's folder, which holds `saved_model.pb`.
        intra_op_threads: number of processors that one operation may use. With 1, a call runs in the caller's thread
            and costs the least processor time, if the process has not run TensorFlow before. Default: 0, all.

    Attributes:
        folder: the version's folder.
        signature_defs: inputs and outputs of each signature, by the signature's name.

    Raises:
        InputError: the folder holds no SavedModel, or it is damaged.

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
        # -1: run all operations in the caller's thread. Threads that pass the operations of a small graph to each other
        # take five times the processor time.
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
        """Return the inputs and outputs of a signature.

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
        """Make every signature ready, so that its first call does not wait.

        Raises:
            InputError: a signature cannot be made ready.
        """
        for name in self.signature_names:
            self._call_of(name)

    def check(self, signature: str, specs: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        """Check the dtypes and shapes of inputs.

        Args:
            signature: its name.
            specs: number of the dtype in TensorFlow's `DataType`, and shape, by name. Inputs with a default may be
                missing.

        Raises:
            ServingError: as `complete` does.
        """
        self.signature_def(signature)
        self._inputs[signature].check(specs)

    def with_defaults(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add the defaults of missing inputs to inputs whose dtypes and shapes `check` has accepted."""
        return self._inputs[signature].with_defaults(inputs)

    def complete(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Check inputs, and add the defaults of missing ones.

        Args:
            signature: its name.
            inputs: arrays by name; strings are object arrays of bytes.

        Returns:
            All inputs.

        Raises:
            ServingError: INVALID_ARGUMENT, there is no such signature, or an input is missing, superfluous, or of the
                wrong dtype or shape.
        """
        self.signature_def(signature)
        return self._inputs[signature].complete(inputs)

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Call a signature.

        Args:
            signature: its name.
            inputs: arrays by name; strings are object arrays of bytes. Inputs with a default may be missing.

        Returns:
            The outputs by name; strings are object arrays of bytes.

        Raises:
            ServingError: INVALID_ARGUMENT, an input is missing, superfluous, or of the wrong dtype or shape;
                otherwise the status of the operation that failed.
        """
        return self.run_complete(signature, self.complete(signature, inputs))

    def run_complete(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Call a signature with the inputs that `complete` returned, or with several such batches joined.

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
        except UnicodeDecodeError as error:  # TensorFlow's message quotes the input, which is not text
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Signature '{signature}' cannot read its inputs: malformed bytes"
            ) from error
        return dict(zip(self.signature_defs[signature].outputs, outputs, strict=True))

    def close(self) -> None:
        """Free the memory. No call may be running, and none may follow."""
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
        reason = operation_reason(error) if isinstance(error, tf.errors.OpError) else one_line(str(error))
        return InputError(f"Cannot load {self.folder}: {reason}. Export the model again.")

    def _made_ready(self, definition: meta_graph_pb2.SignatureDef) -> Any:
        options = config_pb2.CallableOptions(
            feed=[tensor.name for tensor in definition.inputs.values()],
            fetch=[tensor.name for tensor in definition.outputs.values()],
        )
        # The public make_callable() calls run() each time, which costs as much as a small graph.
        return self._session._make_callable_from_options(options)


class _Quiet:
    """Hides TensorFlow's warning that its loader for sessions is deprecated; there is no other one."""

    def __enter__(self) -> None:
        self._level = tf.get_logger().level
        tf.get_logger().setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        tf.get_logger().setLevel(self._level)


def _read_signature_defs(folder: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    for graph in read_saved_model(folder).meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            # A copy of each, because a reference would keep the whole graph in memory.
            return {name: deepcopy(definition) for name, definition in graph.signature_def.items()}
    raise _damaged(folder)


def read_saved_model(folder: Path) -> saved_model_pb2.SavedModel:
    """Read the graph and signatures of a version, without its variables.

    Args:
        folder: the version's folder.

    Raises:
        InputError: `saved_model.pb` is missing or damaged.
    """
    file = folder / SAVED_MODEL_FILE
    if not file.is_file():
        raise InputError(f"Cannot load {folder}: {SAVED_MODEL_FILE} is missing. Export the model again.")
    try:
        return saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except (DecodeError, OSError):
        raise _damaged(folder) from None


def _damaged(folder: Path) -> InputError:
    return InputError(f"Cannot load {folder}: {SAVED_MODEL_FILE} is damaged. Export the model again.")


class SignatureInputs:
    """Checks the inputs of a signature and adds defaults.

    Args:
        signature: the signature's name, for messages.
        definition: the signature as the SavedModel defines it; `defaults` holds values of inputs that may be missing.

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
        """Read the definition once, for many requests."""
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
            name: (spec.dtype.as_datatype_enum, None if spec.shape.rank is None else spec.shape.as_list())
            for name, spec in self.specs.items()
        }

    def check(self, specs: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
        """Check dtypes and shapes.

        Args:
            specs: number of the dtype in TensorFlow's `DataType`, and shape, by name. Inputs with a default may be
                missing.

        Raises:
            ServingError: as `complete` does.
        """
        missing = self.specs.keys() - specs.keys() - self._defaults.keys()
        superfluous = specs.keys() - self.specs.keys()
        if missing or superfluous:
            raise _invalid(
                f"Signature '{self.signature}' takes the inputs {_listed(set(self.specs))}. "
                f"Missing: {_listed(missing)}. Superfluous: {_listed(superfluous)}."
            )
        for name, (dtype, shape) in specs.items():
            expected_dtype, expected_shape = self._expected[name]
            if dtype != expected_dtype or not _fits(shape, expected_shape):
                raise _invalid(
                    f"Input '{name}' of signature '{self.signature}' must be {_described(self.specs[name])}. "
                    f"Received: {_described(tf.TensorSpec(shape, tf.dtypes.as_dtype(dtype)))}."
                )

    def with_defaults(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return all inputs in the order of `specs`: the given ones, which `check` has accepted, and defaults."""
        return {name: inputs[name] if name in inputs else self._defaults[name] for name in self.specs}

    def complete(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Check, and add defaults.

        Args:
            inputs: arrays by name; strings are object arrays of bytes.

        Returns:
            All inputs, in the order of `specs`.

        Raises:
            ServingError: INVALID_ARGUMENT, an input is missing, superfluous, or of the wrong dtype or shape.
        """
        dtypes = {name: tf.dtypes.as_dtype(array.dtype).as_datatype_enum for name, array in inputs.items()}
        self.check({name: (dtypes[name], array.shape) for name, array in inputs.items()})
        return self.with_defaults(inputs)


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
    """Return the error message of an operation as one line without a full stop.

    Args:
        error: the error that TensorFlow raised.

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
    """Return a text on one line, without the final full stop.

    Example:
        >>> one_line("No such\\n  file.")
        'No such file'
    """
    return " ".join(text.split()).rstrip(".")
