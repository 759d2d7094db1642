"""TensorFlow Serving's `models.config`: which models a server holds, from where, in which versions."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from laclrec_tf.errors import InputError
from laclrec_tf.serving.proto_text import proto_lines, read_proto_text

EXAMPLE = 'model_config_list { config { name: "shop" base_path: "/models/shop" model_platform: "tensorflow" } }'


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
