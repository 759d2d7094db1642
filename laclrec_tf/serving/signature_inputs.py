"""What one signature takes: the dtype, shape and default of each input."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from laclrec_tf.serving.serving_error import ServingError


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
