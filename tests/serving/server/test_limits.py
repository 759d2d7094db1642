"""Limits name themselves when they refuse."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.limits import RequestLimits


def strings(*shape: int) -> np.ndarray:
    return np.full(shape, b"a", object)


def refusal(limits: RequestLimits, inputs: dict[str, np.ndarray]) -> str:
    with pytest.raises(ServingError) as caught:
        limits.check_inputs(inputs)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    return caught.value.message


def test_what_is_at_the_limit_passes():
    limits = RequestLimits(max_history_length=3, max_k=5)
    limits.check_inputs({"history": strings(2, 3), "items": strings(9), "k": np.array(5, np.int32)})
    limits.check_inputs({"weights": np.zeros((1, 9)), "k": np.zeros(0, np.int32)})
    limits.check_concurrency(1023)


def test_what_is_beyond_is_refused_by_the_limits_name():
    limits = RequestLimits(max_history_length=3, max_k=5, max_concurrent_requests=2)
    assert refusal(limits, {"exclude": strings(1, 4)}) == (
        "Input 'exclude' may have at most 3 columns (max_history_length). Received: shape [1, 4]."
    )
    assert refusal(limits, {"k": np.array([1, 6], np.int32)}) == "Input 'k' may be at most 5 (max_k). Received: 6."
    with pytest.raises(ServingError, match=r"2 requests at the same time \(max_concurrent_requests\)"):
        limits.check_concurrency(2)


def test_one_list_for_many_rows_counts_for_each():
    at_the_limit = {"history": strings(1024, 1), "candidates": strings(1, 2**14), "k": np.array(5, np.int32)}
    RequestLimits().check_inputs(at_the_limit)
    RequestLimits().check_inputs({"history": strings(1, 1), "candidates": strings(1, 2**14 + 1)})
    assert refusal(RequestLimits(), at_the_limit | {"candidates": strings(1, 2**14 + 1)}) == (
        "Input 'candidates' may have at most 16777216 elements when each row has a copy. "
        "Received: 16385 for 1024 rows. Send fewer histories in one request."
    )


@pytest.mark.parametrize("name", ["max_message_bytes", "max_history_length", "max_k", "max_concurrent_requests"])
def test_a_limit_below_one(name):
    with pytest.raises(InputError, match=f"Argument `{name}` must be at least 1. Received: {name}=0."):
        RequestLimits(**{name: 0})
