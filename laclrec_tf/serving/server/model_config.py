"""TensorFlow Serving's `models.config`: which models a server holds, from where, in which versions."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import message, text_format
from tensorflow_serving.config import model_server_config_pb2

from laclrec_tf.errors import InputError, reason_of

Proto = TypeVar("Proto", bound=message.Message)
EXAMPLE = 'model_config_list { config { name: "shop" base_path: "/models/shop" model_platform: "tensorflow" } }'


def read_proto_text(path: Path, proto: Proto, example: str) -> tuple[str, Proto]:
    """Read a file into a message.

    Args:
        path: the file.
        proto: an empty message of the type that the file holds; it is filled.
        example: what the file should look like, for the error.

    Returns:
        The file's text and the message.

    Raises:
        InputError: the file cannot be read, is no UTF-8, or is not in the format.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"Cannot read {path}: byte {error.start} is not UTF-8. An example: {example}") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {reason_of(error)}.") from error
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
    problem = problem.removeprefix(f"'{text.splitlines()[line - 1]}': ")
    return f", line {line}, column {column}: {problem}".rstrip(".")


def proto_lines(text: str, field: str, depth: int) -> list[int]:
    """Find the lines on which a field's values begin.

    Args:
        text: valid text format.
        field: the field's name.
        depth: how many messages it lies in.

    Returns:
        Line numbers from 1, in the file's order. A list written in brackets counts once.

    Example:
        >>> proto_lines("models {\\n  config { name: 'a' }\\n  config { name: 'b' }\\n}", "config", depth=1)
        [2, 3]
    """
    tokenizer = text_format.Tokenizer(text.splitlines())
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


def read_model_config(path: str | Path) -> model_server_config_pb2.ModelServerConfig:
    """Read and check a `models.config` in protobuf's text format, as `--model_config_file` takes it.

    A relative `base_path` is read from the file's folder and comes back absolute; TensorFlow Serving itself wants
    it absolute. `logging_config` is not checked, for the embedded server does not log requests' contents.

    Args:
        path: the file.

    Returns:
        The configuration. `model_platform` is `"tensorflow"` for each model.

    Raises:
        InputError: the file is missing, not in the format, or asks for what no server can do: a model without a
            name, two of one name, another platform, `specific` without versions, a label of a version that is
            not served.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/config/model_server_config.proto

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "models.config")
        ...     _ = file.write_text(EXAMPLE)
        ...     [model.name for model in read_model_config(file).model_config_list.config]
        ['shop']
    """
    path = Path(path)
    text, config = read_proto_text(path, model_server_config_pb2.ModelServerConfig(), EXAMPLE)
    if config.HasField("custom_model_config"):
        raise InputError(f"{path}: custom_model_config is not supported. Use: {EXAMPLE}")
    models = config.model_config_list.config
    if not models:
        raise InputError(f"{path} names no model. An example: {EXAMPLE}")
    lines = proto_lines(text, "config", depth=1)
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
        raise InputError(f"{where}: the model '{model.name}' is listed twice. Give each model a name of its own.")
    if not model.base_path:
        raise InputError(f"{where}: the model '{model.name}' has no base_path. Add base_path: \"FOLDER\".")
    _check_platform(where, model)
    served = _check_version_policy(where, model)
    for label, version in model.version_labels.items():
        if not label or version < 0:
            raise InputError(f"{where}: label '{label}' of model '{model.name}' must have a name and a version >= 0.")
        if served is not None and version not in served:
            raise InputError(
                f"{where}: label '{label}' of model '{model.name}' names version {version}, which its version policy "
                f"does not serve. Served: {', '.join(map(str, served))}."
            )


def _check_platform(where: str, model: model_server_config_pb2.ModelConfig) -> None:
    given = model.model_platform
    if not given and model.model_type == model_server_config_pb2.TENSORFLOW:
        given = "tensorflow"  # the older way to say it
    if given != "tensorflow":
        raise InputError(
            f"{where}: the model '{model.name}' must have model_platform: \"tensorflow\". "
            f"Received: {text_format.MessageToString(model, as_one_line=True)}."
        )
    model.model_platform, model.model_type = "tensorflow", model_server_config_pb2.MODEL_TYPE_UNSPECIFIED


def _check_version_policy(where: str, model: model_server_config_pb2.ModelConfig) -> list[int] | None:
    """Return the versions of a `specific` policy; of the others nothing is known beforehand."""
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
