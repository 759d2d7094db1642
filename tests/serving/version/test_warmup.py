"""Warm-up requests are what a server that concatenates requests takes: TensorFlow Serving with --enable_batching."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from laclrec_tf.item_vocabulary import ItemVocabulary
from laclrec_tf.serving.server.config_files import read_batching_parameters
from laclrec_tf.serving.version.warmup import INPUTS, read_warmup_requests, warmup_requests

DEPLOY = Path(__file__).parents[3] / "deploy"


def batch_size(inputs: dict[str, np.ndarray]) -> int:
    """Return the rows of a request, as `ComputeTensorBatchSize` of TensorFlow Serving does, or fail as it does.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/batching_util.h
    """
    assert all(array.ndim >= 1 for array in inputs.values()), "Batching input tensors must have at least one dimension"
    sizes = {len(array) for array in inputs.values()}
    assert len(sizes) == 1, "Batching input tensors supplied in a given request must have equal 0th-dimension size"
    return sizes.pop()


def merged_inputs(requests: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate requests as `MergeInputTensors` of TensorFlow Serving does, without padding, or fail as it does.

    Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/batching_session.cc
    """
    merged = {}
    for name in requests[0]:
        shapes = {request[name].shape[1:] for request in requests}
        assert len(shapes) == 1, f"Tensors with name {name} from different tasks have different shapes"
        merged[name] = np.concatenate([request[name] for request in requests])
    return merged


def arrays(request) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}


def test_every_request_has_a_row_a_history_and_no_more_than_a_batch(exported):
    requests = read_warmup_requests(exported)
    assert len(requests) == 3 * len(INPUTS)
    rows = [batch_size(arrays(request)) for request in requests]
    assert set(rows) == {1, 8, 32}
    assert max(rows) <= read_batching_parameters(DEPLOY / "batching_parameters.txt").max_batch_size


@pytest.mark.parametrize("signature", INPUTS)
def test_requests_of_a_signature_are_answered_concatenated(exported, loaded, signature):
    recorded = [request for request in read_warmup_requests(exported) if request.model_spec.signature_name == signature]
    requests = [arrays(request) for request in recorded]
    assert all(request.keys() == set(INPUTS[signature]) for request in requests)
    run = loaded.signatures[signature]
    answers = run(**{name: tf.constant(array) for name, array in merged_inputs(requests).items()})
    ends = np.cumsum([batch_size(request) for request in requests])
    for name, answer in answers.items():
        assert answer.shape[0] == ends[-1], f"{name} is not split by rows"
        if answer.dtype.is_floating:
            assert np.isfinite(answer).all(), f"{name} is no strict JSON"
    for request, end in zip(requests, ends, strict=True):
        alone = run(**{name: tf.constant(array) for name, array in request.items()})
        for name, expected in alone.items():
            part = answers[name].numpy()[end - batch_size(request) : end]
            part = part[tuple(map(slice, expected.shape))]  # as wide as alone: the rest is padding
            if expected.dtype == tf.string:
                np.testing.assert_array_equal(part, expected)
            else:
                np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-5)


def test_few_items_are_repeated():
    _, eight, _ = map(arrays, warmup_requests(["retrieve"], ItemVocabulary("ab"), 3, "shop"))
    assert eight["exclude"][:, 0].tolist() == [b"a", b"b"] * 4
