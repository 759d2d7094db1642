"""TensorFlow Serving's `batching_parameters.txt`: how requests are put together before the model runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.server.model_config import read_proto_text

_SMALLEST = {"max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "num_batch_threads": 1}
EXAMPLE = "max_batch_size { value: 32 } batch_timeout_micros { value: 1000 }"


@dataclass(frozen=True)
class BatchingParameters:
    """TensorFlow Serving's batching parameters, with defaults that measured best for retrieval on few processors.

    Args:
        max_batch_size: rows that are run together. 1 switches batching off. Default: 64.
        batch_timeout_micros: how long a request waits for others, in microseconds. Default: 0, a batch is
            whatever is waiting when a thread is free.
        max_enqueued_batches: full batches that may wait; what comes on top is answered UNAVAILABLE. Default: 64.
        num_batch_threads: batches that run at the same time. Default: one less than processors, at least 1; one
            processor reads requests and writes answers.

    Raises:
        InputError: a parameter is out of its range.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/README.md

    Example:
        >>> BatchingParameters(max_batch_size=32).batch_timeout_micros
        0
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 64
    num_batch_threads: int = field(default_factory=lambda: max(1, (os.cpu_count() or 1) - 1))

    def __post_init__(self) -> None:
        """Check the parameters."""
        for name, smallest in _SMALLEST.items():
            value = getattr(self, name)
            if value < smallest:
                raise InputError(f"Argument `{name}` must be at least {smallest}. Received: {name}={value}.")


def tensorflow_serving_defaults() -> dict[str, int]:
    """Return the values of a `batching_parameters.txt` that names none.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/README.md

    Example:
        >>> tensorflow_serving_defaults()["max_batch_size"]
        1000
    """
    return {
        "max_batch_size": 1000,
        "batch_timeout_micros": 0,
        "max_enqueued_batches": 10,
        "num_batch_threads": os.cpu_count() or 1,
    }


def read_batching_parameters(path: str | Path) -> BatchingParameters:
    """Read a file in protobuf's text format, as `--batching_parameters_file` takes it.

    `allowed_batch_sizes` and the splitting of large batches are checked and not used: they say how TensorFlow
    Serving fits batches to an accelerator. `pad_variable_length_inputs` is refused, because TensorFlow Serving pads
    a history with its own first item, which is an item more and not padding.

    Args:
        path: the file.

    Returns:
        The parameters; what the file does not name has TensorFlow Serving's default, not ours.

    Raises:
        InputError: the file is missing, not in the format, or a value is out of its range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "batching_parameters.txt")
        ...     _ = file.write_text("max_batch_size { value: 32 } num_batch_threads { value: 2 }")
        ...     read_batching_parameters(file).max_batch_size
        32
    """
    path = Path(path)
    _, proto = read_proto_text(path, batching_parameters_proto()(), EXAMPLE)
    if proto.pad_variable_length_inputs:
        raise InputError(
            f"{path}: pad_variable_length_inputs must stay off. It pads each history with its own first item, which "
            'changes what is recommended. Send histories of one width, filled up with "".'
        )
    given = {f.name: getattr(proto, f.name).value for f in fields(BatchingParameters) if proto.HasField(f.name)}
    try:
        parameters = BatchingParameters(**(tensorflow_serving_defaults() | given))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    sizes = list(proto.allowed_batch_sizes)
    if sizes and (sizes != sorted(set(sizes)) or sizes[-1] != parameters.max_batch_size):
        raise InputError(
            f"{path}: allowed_batch_sizes must increase and end with max_batch_size, {parameters.max_batch_size}. "
            f"Received: {sizes}."
        )
    return parameters


@cache
def batching_parameters_proto() -> Any:
    """Return the class of `tensorflow.serving.BatchingParameters`, which `tensorflow-serving-api` leaves out.

    It is built in a pool of its own, so that it does not clash with the published one where that is at hand.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/servables/tensorflow/session_bundle_config.proto
    """
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/servables/tensorflow/session_bundle_config.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")

    def add(name: str, number: int, wrapper: str = "", label: Any = kind.LABEL_OPTIONAL, type_: Any = None) -> None:
        declared = message.field.add(name=name, number=number, label=label, type=type_ or kind.TYPE_MESSAGE)
        if wrapper:
            declared.type_name = f".google.protobuf.{wrapper}"

    add("max_batch_size", 1, "Int64Value")
    add("batch_timeout_micros", 2, "Int64Value")
    add("max_enqueued_batches", 3, "Int64Value")
    add("num_batch_threads", 4, "Int64Value")
    add("thread_pool_name", 5, "StringValue")
    add("allowed_batch_sizes", 6, label=kind.LABEL_REPEATED, type_=kind.TYPE_INT64)
    add("pad_variable_length_inputs", 7, type_=kind.TYPE_BOOL)
    # The text format names fields, so their numbers do not matter.
    add("enable_large_batch_splitting", 8, "BoolValue")
    add("max_execution_batch_size", 9, "Int64Value")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))
