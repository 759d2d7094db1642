"""The four methods without any transport."""

from __future__ import annotations

import threading

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, predict_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.api import ServingApi
from laclrec_tf.serving.server.batching import BatchingParameters, RequestBatcher
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.registry import ModelRegistry


class Gauge:
    """Remembers how many requests were in flight."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def set_in_flight(self, n: int) -> None:
        self.seen.append(n)


def request_of(history=(("a", "b", ""),), signature: str = "", **inputs) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "counting"
    request.model_spec.signature_name = signature
    request.inputs["history"].CopyFrom(tf.make_tensor_proto(history, tf.string))
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def config_of(folder) -> ModelServerConfig:
    config = ModelServerConfig()
    config.model_config_list.config.add(name="counting", base_path=str(folder))
    return config


@pytest.fixture
def make_api(counting_folder):
    """Return a function that makes an API of the counting model."""
    made = []

    def make(
        batching: BatchingParameters | None = None, limits: RequestLimits | None = None, metrics=None
    ) -> ServingApi:
        registry, batcher = ModelRegistry(), RequestBatcher(batching or BatchingParameters())
        made.append((registry, batcher))
        registry.apply(config_of(counting_folder))
        return ServingApi(registry, batcher, limits, metrics)

    yield make
    for registry, batcher in made:
        batcher.close()
        registry.close()


def refusal(api: ServingApi, request, **more) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(ServingError) as caught:
        api.predict(request, **more)
    return caught.value.code, caught.value.message


def counts(response: predict_pb2.PredictResponse) -> list[int]:
    return list(response.outputs["count"].int_val)


def test_a_default_is_filled_in(make_api):
    api = make_api()
    assert counts(api.predict(request_of())) == [20]
    assert counts(api.predict(request_of(k=3))) == [6]
    assert refusal(api, request_of(signature="count"))[1].endswith("Missing: k. Superfluous: none.")


def test_requests_in_one_batch_get_their_own_answers(make_api):
    """Ten seconds would pass were they not put together."""
    api = make_api(BatchingParameters(max_batch_size=4, batch_timeout_micros=10_000_000))
    running = [
        api.start_predict(request_of([["a"]], k=2)),
        api.start_predict(request_of([["a", "b"], ["c", "poison"]], k=2)),
        api.start_predict(request_of([["a", "b", "c"]], k=2)),
    ]
    assert counts(running[0].response()) == [2]
    assert counts(running[2].response()) == [6]
    with pytest.raises(ServingError, match="a poisoned history"):
        running[1].response()


def test_limits(make_api):
    gauge = Gauge()
    api = make_api(
        BatchingParameters(batch_timeout_micros=60_000_000),
        RequestLimits(max_history_length=2, max_k=5, max_concurrent_requests=1),
        gauge,
    )
    for request, limit in ((request_of(), "max_history_length"), (request_of([["a"]], k=6), "max_k")):
        code, message = refusal(api, request)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and f"({limit})" in message
    running = api.start_predict(request_of([["a"]], k=5))
    code, message = refusal(api, request_of([["a"]]))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "(max_concurrent_requests)" in message
    assert running.outputs.cancel()
    assert gauge.seen == [1, 0, 1, 0, 1, 0]
    assert counts(make_api(limits=RequestLimits(max_history_length=2)).predict(request_of([["a"]], k=6))) == [6]


def test_a_deadline(make_api):
    api = make_api(BatchingParameters(batch_timeout_micros=300_000))
    code, message = refusal(api, request_of(), timeout=0.001)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    late = api.start_predict(request_of(), timeout=0.0)
    with pytest.raises(ServingError, match="deadline passed before it was run"):
        late.response()
    assert counts(api.predict(request_of(), timeout=60)) == [20]


def test_a_swap_under_load_fails_nobody(make_api, add_version):
    api = make_api()
    stop = threading.Event()
    answers: list[int] = []
    errors: list[Exception] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                response = api.predict(request_of(), timeout=60)
                assert counts(response) == [20]
                answers.append(response.model_spec.version.value)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 6):
        add_version(number)
        api.registry.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert api.predict(request_of()).model_spec.version.value == 5
    assert set(answers) <= {1, 2, 3, 4, 5} and len(set(answers)) > 1


def test_reload(make_api, counting_folder, add_version):
    api = make_api()
    add_version(2)
    request = model_management_pb2.ReloadConfigRequest(config=config_of(counting_folder))
    request.config.model_config_list.config[0].model_version_policy.all.SetInParent()
    assert api.reload(request).status.error_code == 0
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "counting"
    assert [entry.version for entry in api.status(status).model_version_status] == [2, 1]
    request.config.model_config_list.config[0].base_path = ""
    with pytest.raises(ServingError, match="no base_path") as caught:
        api.reload(request)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert counts(api.predict(request_of())) == [20]
