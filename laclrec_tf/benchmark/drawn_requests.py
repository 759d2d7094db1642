"""Well-formed requests, drawn at random, of which a caller may replace any part."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from laclrec_tf.serving.client.wire import PredictRequest, TensorProto

FLOAT, INT32, STRING, INT64, BOOL = 1, 3, 7, 9, 10


class RequestDraw:
    """Draws well-formed requests, and the histories in them.

    Args:
        generator: draws.
        model_name: the model's name on the server.
        items: items that the model knows.

    Example:
        >>> draw = RequestDraw(random.Random(0), "shop", ["tent"])
        >>> draw.request("retrieve", k=tensor(INT32, [], int_val=[0])).inputs["k"].int_val
        [0]
    """

    def __init__(self, generator: random.Random, model_name: str, items: list[str]) -> None:
        self.random = generator
        self.model_name = model_name
        self.items = items

    def history(self, length: int | None = None) -> list[bytes]:
        """Draw items; 1 to 8 when no length is given."""
        length = self.random.randint(1, 8) if length is None else length
        return [self.random.choice(self.items).encode() for _ in range(length)]

    def request(self, signature: str | None = None, history: Any = None, **inputs: Any) -> Any:
        """Make a request that is right but for what the caller gives."""
        signature = self.random.choice(("", "serving_default", "retrieve")) if signature is None else signature
        request = PredictRequest()
        request.model_spec.name = self.model_name
        request.model_spec.signature_name = signature
        if history is None:
            items = self.history()
            history = tensor(STRING, [1, len(items)], string_val=items)
        inputs = {"history": history} | inputs
        if signature == "retrieve":
            empty = tensor(STRING, [1, 0])
            inputs = {"k": tensor(INT32, [], int_val=[5]), "exclude": empty} | inputs
        for name, proto in inputs.items():
            request.inputs[name].CopyFrom(proto)
        return request


def tensor(dtype: int, shape: Sequence[int], **values: Any) -> Any:
    """Write a `TensorProto`, whether its parts fit or not.

    Args:
        dtype: its number.
        shape: its sizes; any integers.
        **values: its values, such as `string_val`.
    """
    proto = TensorProto(dtype=dtype, **values)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto
