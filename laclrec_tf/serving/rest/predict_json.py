"""The JSON of `:predict` requests and answers, as in TensorFlow Serving's REST API.

Row format: the answer to `{"instances": [{"history": ["a", "b"], "k": 3}, ...]}` is `{"predictions": [...]}`.
Columnar format: the answer to `{"inputs": {"history": [["a", "b"]], "k": 3}}` is `{"outputs": {...}}`.
A name may be omitted when it is the only one: the signature's only input, or its only input without a default, and its
only output.

Three kinds of requests are accepted in addition to TensorFlow Serving's: rows of strings may differ in length, and are
padded with "", which the signatures ignore; inputs with a default in the `SignatureDef` may be omitted; and next to
`instances`, `parameters` (sent by Vertex AI) may contain `signature_name` and inputs for all rows, such as `{"k": 3}`.
One answer differs: a string that is not UTF-8 is written in base64, as `*_bytes` outputs are, while TensorFlow Serving
writes bytes that no JSON parser reads.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from laclrec_tf.serving.rest.json_tensors import invalid, is_base64, json_to_proto, proto_to_json


@dataclass(frozen=True)
class PredictBody:
    """A `:predict` request, before its signature is known.

    Args:
        signature_name: name of the signature; empty for the default one.
        rows: the value of `instances`; None in columnar format.
        columns: the value of `inputs` in columnar format, else the inputs for all rows in `parameters`.
    """

    signature_name: str
    rows: list[Any] | None
    columns: Any

    @property
    def row_format(self) -> bool:
        """Whether the answer is `predictions` and not `outputs`."""
        return self.rows is not None


def read_predict_body(body: bytes | bytearray) -> PredictBody:
    """Read the body of a `:predict` request.

    Args:
        body: JSON in UTF-8; `NaN` and `Infinity` are numbers, as in TensorFlow Serving.

    Returns:
        The request.

    Raises:
        ServingError: INVALID_ARGUMENT, it is not JSON (with the position) or not a `:predict` request.

    Example:
        >>> read_predict_body(b'{"instances": [["tent"]], "parameters": {"k": 3}}')
        PredictBody(signature_name='', rows=[['tent']], columns={'k': 3})
        >>> read_predict_body(b"")
        Traceback (most recent call last):
        laclrec_tf.serving.errors.ServingError: JSON Parse error: Expecting value at offset: 0 (line 1, column 1)
    """
    document = _parsed(body)
    if not isinstance(document, dict):
        raise invalid(f"The request must be a JSON object. Received: {reprlib.repr(document)}.")
    signature_name = document.get("signature_name", "")
    if ("instances" in document) == ("inputs" in document):
        raise invalid("The request must have one of the keys 'instances' and 'inputs'.")
    if "inputs" in document:
        return PredictBody(_name(signature_name), None, document["inputs"])
    rows = document["instances"]
    if not isinstance(rows, list) or not rows:
        raise invalid(f"'instances' must be a list of at least one row. Received: {reprlib.repr(rows)}.")
    parameters = document.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise invalid(f"'parameters' must be an object. Received: {reprlib.repr(parameters)}.")
    signature_name = signature_name or parameters.get("signature_name", "")
    columns = {name: value for name, value in parameters.items() if name != "signature_name"}
    return PredictBody(_name(signature_name), rows, columns)


def input_protos(body: PredictBody, definition: meta_graph_pb2.SignatureDef) -> dict[str, tensor_pb2.TensorProto]:
    """Make the input tensors of a signature.

    Args:
        body: the request.
        definition: the signature.

    Returns:
        The inputs by name, without those that the request omits.

    Raises:
        ServingError: INVALID_ARGUMENT, an input is missing, unknown, of another type or of another shape;
            RESOURCE_EXHAUSTED, the padded rows would be too large.
    """
    columns = _columns(body, definition)
    _check_names(set(columns), definition)
    return {name: json_to_proto(name, value, definition.inputs[name]) for name, value in columns.items()}


def predict_answer(outputs: Mapping[str, tensor_pb2.TensorProto], row_format: bool) -> bytes:
    """Write the outputs of a signature.

    Numbers that are not finite are written as `NaN`, `Infinity` and `-Infinity` without quotes, as TensorFlow Serving
    does. The JSON parsers of Python and protobuf read them, stricter ones do not.

    Args:
        outputs: the tensors by name.
        row_format: whether the request had `instances`.

    Returns:
        JSON in UTF-8.

    Raises:
        ServingError: INVALID_ARGUMENT, the outputs are not rows of one batch and need the columnar format.

    Example:
        >>> import tensorflow as tf
        >>> predict_answer({"scores": tf.make_tensor_proto([[0.2, float("-inf")]])}, row_format=True)
        b'{"predictions": [[0.2, -Infinity]]}'
    """
    values = {name: proto_to_json(name, outputs[name]) for name in sorted(outputs)}
    if not row_format:
        return _written("outputs", values if len(values) > 1 else next(iter(values.values())))
    sizes = {len(value) if isinstance(value, list) else None for value in values.values()}
    if len(sizes) != 1 or None in sizes:
        raise invalid("The outputs are not rows of one batch. Send 'inputs' instead of 'instances'.")
    if len(values) == 1:
        return _written("predictions", next(iter(values.values())))
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _written("predictions", rows)


def _parsed(body: bytes | bytearray) -> Any:
    try:
        return json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: invalid UTF-8 at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"{error.pos} (line {error.lineno}, column {error.colno})"
        raise invalid(f"JSON Parse error: {error.msg} at offset: {place}") from None
    except ValueError:
        raise invalid("JSON Parse error: a number has too many digits") from None
    except RecursionError:
        raise invalid("JSON Parse error: nested too deeply") from None


def _name(signature_name: Any) -> str:
    if not isinstance(signature_name, str):
        raise invalid(f"'signature_name' must be a string. Received: {reprlib.repr(signature_name)}.")
    return signature_name


def _columns(body: PredictBody, definition: meta_graph_pb2.SignatureDef) -> dict[str, Any]:
    if body.rows is None:
        if isinstance(body.columns, dict) and not is_base64(body.columns):
            return body.columns
        return {_only_input(definition, "inputs"): body.columns}
    named = [isinstance(row, dict) and not is_base64(row) for row in body.rows]
    if not any(named):
        columns = {_only_input(definition, "instances"): body.rows}
    elif not all(named):
        raise invalid("All 'instances' must be objects with named inputs, or none of them.")
    else:
        names = set(body.rows[0])
        for index, row in enumerate(body.rows):
            if set(row) != names:
                raise invalid(
                    f"Each of the 'instances' must name the same inputs. Item 0 has: {_listed(names)}. "
                    f"Item {index} has: {_listed(row)}."
                )
        columns = {name: [row[name] for row in body.rows] for name in sorted(names)}
    duplicates = set(columns) & set(body.columns)
    if duplicates:
        raise invalid(f"'instances' and 'parameters' both give: {_listed(duplicates)}. Give each input once.")
    return columns | body.columns


def _only_input(definition: meta_graph_pb2.SignatureDef, key: str) -> str:
    names = list(definition.inputs)
    required = [name for name in names if name not in definition.defaults]
    if len(names) == 1 or len(required) == 1:
        return (names if len(names) == 1 else required)[0]
    raise invalid(f"'{key}' must name its inputs, because the signature has several: {_listed(names)}.")


def _check_names(given: set[str], definition: meta_graph_pb2.SignatureDef) -> None:
    known = set(definition.inputs)
    missing = known - set(definition.defaults) - given
    if missing or given - known:
        raise invalid(
            f"The signature takes the inputs {_listed(known)}. "
            f"Missing: {_listed(missing)}. Superfluous: {_listed(given - known)}."
        )


def _written(key: str, value: Any) -> bytes:
    return json.dumps({key: value}, ensure_ascii=False).encode("utf-8")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
