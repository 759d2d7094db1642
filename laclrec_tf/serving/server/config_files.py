"""TensorFlow Serving's configuration files, `models.config` and `batching_parameters.txt`, read and checked."""

from __future__ import annotations

import os
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.files import read_text
from laclrec_tf.serving.server.batching import BatchingParameters

Proto = TypeVar("Proto", bound=message.Message)
MODELS_EXAMPLE = 'model_config_list { config { name: "shop" base_path: "/models/shop" model_platform: "tensorflow" } }'
_LINE_END = "\n"  # the only one that protobuf's parser counts
BATCHING_EXAMPLE = "max_batch_size { value: 32 } batch_timeout_micros { value: 1000 }"


def read_model_config(path: str | Path) -> model_server_config_pb2.ModelServerConfig:
    """Read and check a `models.config` in protobuf's text format, as `--model_config_file` takes it.

    A relative `base_path` is resolved against the file's folder; TensorFlow Serving itself needs an absolute one.
    `logging_config` is not checked, because the embedded server does not log the contents of requests.

    Args:
        path: the file.

    Returns:
        The configuration. `model_platform` is `"tensorflow"` for each model.

    Raises:
        InputError: the file is missing or not in the format, or no server can serve it: a model without a name, two
            models of one name, another platform, `specific` without versions, or a label of a version that is not
            served.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/config/model_server_config.proto

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "models.config")
        ...     _ = file.write_text(MODELS_EXAMPLE)
        ...     [model.name for model in read_model_config(file).model_config_list.config]
        ['shop']
    """
    path = Path(path)
    text, config = _read_text_proto(path, model_server_config_pb2.ModelServerConfig(), MODELS_EXAMPLE)
    if config.HasField("custom_model_config"):
        raise InputError(f"{path}: custom_model_config is not supported. Use: {MODELS_EXAMPLE}")
    models = config.model_config_list.config
    if not models:
        raise InputError(f"{path} names no model. An example: {MODELS_EXAMPLE}")
    lines = _field_lines(text, "config", depth=1)
    names: set[str] = set()
    for index, model in enumerate(models):
        where = f"{path}, line {lines[index]}" if len(lines) == len(models) else f"{path}, model {index + 1}"
        _check_model(where, model, names)
        names.add(model.name)
        if "://" not in model.base_path:
            model.base_path = str(path.resolve().parent / model.base_path)
    return config


def _check_model(where: str, model: model_server_config_pb2.ModelConfig, names: set[str]) -> None:
    if not model.name:
        raise InputError(f'{where}: a model has no name. Add name: "NAME".')
    if model.name in names:
        raise InputError(f"{where}: the model '{model.name}' is listed twice. Give each model its own name.")
    if not model.base_path:
        raise InputError(f"{where}: the model '{model.name}' has no base_path. Add base_path: \"FOLDER\".")
    platform = model.model_platform
    if not platform and model.model_type == model_server_config_pb2.TENSORFLOW:
        platform = "tensorflow"  # the older field
    if platform != "tensorflow":
        raise InputError(
            f"{where}: the model '{model.name}' must have model_platform: \"tensorflow\". "
            f"Received: {text_format.MessageToString(model, as_one_line=True)}."
        )
    model.model_platform, model.model_type = "tensorflow", model_server_config_pb2.MODEL_TYPE_UNSPECIFIED
    served = _specific_versions(where, model)
    for label, version in model.version_labels.items():
        if not label or version < 0:
            raise InputError(f"{where}: label '{label}' of model '{model.name}' must have a name and a version >= 0.")
        if served is not None and version not in served:
            raise InputError(
                f"{where}: label '{label}' of model '{model.name}' names version {version}, which its version policy "
                f"does not serve. Served: {', '.join(map(str, served))}."
            )


def _specific_versions(where: str, model: model_server_config_pb2.ModelConfig) -> list[int] | None:
    """Return the versions of a `specific` policy; other policies depend on the folder."""
    policy = model.model_version_policy
    if policy.WhichOneof("policy_choice") != "specific":
        return None
    versions = list(policy.specific.versions)
    if not versions or min(versions) < 0 or len(set(versions)) < len(versions):
        raise InputError(
            f"{where}: the policy `specific` of model '{model.name}' must list its versions, each once and none below "
            f"0, such as specific {{ versions: 1 versions: 2 }}. Received: {versions}."
        )
    return versions


def read_batching_parameters(path: str | Path) -> BatchingParameters:
    """Read a `batching_parameters.txt` in protobuf's text format, as `--batching_parameters_file` takes it.

    `allowed_batch_sizes` and the splitting of large batches, with which TensorFlow Serving fits batches to an
    accelerator, are checked but not used. `pad_variable_length_inputs` is refused, because TensorFlow Serving pads a
    history with its own first item, which a model reads as an item and not as padding.

    Args:
        path: the file.

    Returns:
        The parameters. A parameter that the file does not name has TensorFlow Serving's default, not the default of
        `BatchingParameters`.

    Raises:
        InputError: the file is missing or not in the format, or a value is out of its range.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "batching_parameters.txt")
        ...     _ = file.write_text("max_batch_size { value: 32 } num_batch_threads { value: 2 }")
        ...     read_batching_parameters(file).max_batch_size
        32
    """
    path = Path(path)
    _, proto = _read_text_proto(path, batching_parameters_proto()(), BATCHING_EXAMPLE)
    if proto.pad_variable_length_inputs:
        raise InputError(
            f"{path}: pad_variable_length_inputs must stay off. It pads each history with its own first item, which "
            'changes the recommendations. Send histories of one width, padded with "".'
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


def tensorflow_serving_defaults() -> dict[str, int]:
    """Return TensorFlow Serving's defaults for a `batching_parameters.txt`.

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


@cache
def batching_parameters_proto() -> Any:
    """Return the class of `tensorflow.serving.BatchingParameters`, which `tensorflow-serving-api` does not contain.

    It is in its own descriptor pool, so that it does not clash with the published one.

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
        field = message.field.add(name=name, number=number, label=label, type=type_ or kind.TYPE_MESSAGE)
        if wrapper:
            field.type_name = f".google.protobuf.{wrapper}"

    add("max_batch_size", 1, "Int64Value")
    add("batch_timeout_micros", 2, "Int64Value")
    add("max_enqueued_batches", 3, "Int64Value")
    add("num_batch_threads", 4, "Int64Value")
    add("thread_pool_name", 5, "StringValue")
    add("allowed_batch_sizes", 6, label=kind.LABEL_REPEATED, type_=kind.TYPE_INT64)
    add("pad_variable_length_inputs", 7, type_=kind.TYPE_BOOL)
    # The text format identifies fields by name, so these numbers have no effect.
    add("enable_large_batch_splitting", 8, "BoolValue")
    add("max_execution_batch_size", 9, "Int64Value")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))


def _read_text_proto(path: Path, proto: Proto, example: str) -> tuple[str, Proto]:
    """Read a file into an empty message; return the file's text and the message."""
    text = read_text(path)
    try:
        return text, text_format.Parse(text, proto)
    except text_format.ParseError as error:
        raise InputError(f"{path}{_place_and_problem(text, error)}. An example: {example}") from error


def _place_and_problem(text: str, error: text_format.ParseError) -> str:
    line, column = error.GetLine(), error.GetColumn()
    if line is None:
        return f": {error}".rstrip(".")
    # protobuf quotes the whole line, which may be long.
    problem = str(error).removeprefix(f"{line}:{column} : ")
    problem = problem.removeprefix(f"'{text.split(_LINE_END)[line - 1]}': ")
    return f", line {line}, column {column}: {problem}".rstrip(".")


def _field_lines(text: str, field: str, depth: int) -> list[int]:
    """Return the line on which each value of a field starts, inside `depth` messages. A list in brackets counts once.

    Example:
        >>> _field_lines("models {\\n  config { name: 'a' }\\n  config { name: 'b' }\\n}", "config", depth=1)
        [2, 3]
    """
    tokenizer = text_format.Tokenizer(text.split(_LINE_END))
    lines, level = [], 0
    while not tokenizer.AtEnd():
        if tokenizer.token in ("{", "<"):
            level += 1
        elif tokenizer.token in ("}", ">"):
            level -= 1
        elif tokenizer.token == field and level == depth:
            lines.append(tokenizer.ParseError("").GetLine())
        tokenizer.NextToken()
    return lines
