"""Answering a PredictRequest with a loaded model."""

from __future__ import annotations

import grpc
from tensorflow_serving.apis import predict_pb2

from laclrec_tf.serving.loaded_model import LoadedModel
from laclrec_tf.serving.serving_error import ServingError
from laclrec_tf.serving.tensor_protos import from_proto, to_proto

DEFAULT_SIGNATURE = "serving_default"


def predict(model: LoadedModel, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    """Run one request as TensorFlow Serving would.

    Args:
        model: the version that was asked for; the request's model name and version are not looked at.
        request: signature name (empty: `serving_default`), inputs and output filter.

    Returns:
        The response with the signature's name; the caller fills in the model's name and version.

    Raises:
        ServingError: the request does not fit the signature, or the model refused its values.
    """
    signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
    wanted = _wanted_outputs(list(request.output_filter), list(model.signature_def(signature).outputs))
    inputs = {name: from_proto(name, proto) for name, proto in request.inputs.items()}
    outputs = model.run(signature, inputs)
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = signature
    for name in wanted:
        response.outputs[name].CopyFrom(to_proto(outputs[name]))
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
