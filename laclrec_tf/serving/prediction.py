"""From a PredictRequest to arrays, and from arrays to a PredictResponse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.serving.local.loaded_model import LoadedModel
from laclrec_tf.serving.request_limits import RequestLimits
from laclrec_tf.serving.serving_error import ServingError
from laclrec_tf.serving.tensor_protos import from_proto, write_array

DEFAULT_SIGNATURE = "serving_default"
NO_LIMITS = RequestLimits(max_history_length=2**62, max_k=2**62)


@dataclass(frozen=True)
class PredictionInputs:
    """A request, read and checked.

    Args:
        signature: the signature's name.
        inputs: all inputs of the signature, by name.
        wanted: names of the outputs to answer with.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    wanted: list[str]


def read_request(
    model: LoadedModel, request: predict_pb2.PredictRequest, limits: RequestLimits = NO_LIMITS
) -> PredictionInputs:
    """Read a request for a model.

    Args:
        model: the version that was asked for; the request's model name and version are not looked at.
        request: signature name (empty: `serving_default`), inputs and output filter.
        limits: what the request may ask for. Default: anything.

    Returns:
        What to run.

    Raises:
        ServingError: INVALID_ARGUMENT, the request does not fit the signature; RESOURCE_EXHAUSTED, it is beyond
            the limits.
    """
    signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
    wanted = _wanted_outputs(list(request.output_filter), list(model.signature_def(signature).outputs))
    inputs = model.complete(signature, {name: from_proto(name, proto) for name, proto in request.inputs.items()})
    limits.check_inputs(inputs)
    return PredictionInputs(signature, inputs, wanted)


def response_of(asked: PredictionInputs, outputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictResponse:
    """Write an answer.

    Args:
        asked: what was run.
        outputs: what came out, by name.

    Returns:
        The response with the signature's name; the caller fills in the model's name and version.
    """
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = asked.signature
    for name in asked.wanted:
        write_array(outputs[name], response.outputs[name])
    return response


def _wanted_outputs(output_filter: list[str], existing: list[str]) -> list[str]:
    for name in output_filter:
        if name not in existing or output_filter.count(name) > 1:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Argument `output_filter` must name outputs, each once: {', '.join(sorted(existing))}. "
                f"Received: {', '.join(output_filter)}.",
            )
    return output_filter or existing
