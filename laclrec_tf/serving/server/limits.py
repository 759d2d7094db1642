"""The limits of a request."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

import grpc
import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.merging import rows_of_shapes

# Max elements of a list for all rows, times the rows: each row has a copy, and a score for each copy takes 64 MB.
MAX_COPIED_ELEMENTS = 2**24


@dataclass(frozen=True)
class RequestLimits:
    """Limits of requests. A request beyond one gets RESOURCE_EXHAUSTED, with the limit's name.

    Args:
        max_message_bytes: size of a request on the wire. Default: 64 MiB.
        max_history_length: columns of any string input, such as `history` or `exclude`. Default: 2**20.
        max_k: the largest `k`. Default: any; a retriever never returns more items than there are.
        max_concurrent_requests: number of requests in progress at the same time. Default: 1024.

    Raises:
        InputError: a limit is below 1.

    Example:
        >>> RequestLimits(max_k=100).check_inputs({"k": np.array(101, np.int32)})
        Traceback (most recent call last):
        laclrec_tf.serving.errors.ServingError: Input 'k' may be at most 100 (max_k). Received: 101.
    """

    max_message_bytes: int = 64 * 2**20
    max_history_length: int = 2**20
    max_k: int = 2**31 - 1
    max_concurrent_requests: int = 1024

    def __post_init__(self) -> None:
        """Check the limits."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise InputError(f"Argument `{field.name}` must be at least 1. Received: {field.name}={value}.")

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]], strings: Collection[str]) -> None:
        """Refuse inputs that are too wide, and a list for all rows whose copies would fill the memory.

        Args:
            shapes: shapes by name.
            strings: names of the inputs that hold strings; others are not limited.

        Raises:
            ServingError: RESOURCE_EXHAUSTED.
        """
        rows = rows_of_shapes(shapes.values()) or 1
        for name, shape in shapes.items():
            if name not in strings or len(shape) < 2:
                continue
            size = math.prod(shape)
            if shape[0] == 1 and size * rows > MAX_COPIED_ELEMENTS:
                raise _exhausted(
                    f"Input '{name}' may have at most {MAX_COPIED_ELEMENTS} elements when each row has a copy. "
                    f"Received: {size} for {rows} rows. Send fewer histories in one request."
                )
            if shape[1] > self.max_history_length:
                raise _exhausted(
                    f"Input '{name}' may have at most {self.max_history_length} columns (max_history_length). "
                    f"Received: shape {list(shape)}."
                )

    def check_inputs(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Refuse inputs beyond the limits, see `check_shapes` and `check_k`.

        Args:
            inputs: arrays by name.

        Raises:
            ServingError: RESOURCE_EXHAUSTED.
        """
        strings = [name for name, array in inputs.items() if array.dtype == object]
        self.check_shapes({name: array.shape for name, array in inputs.items()}, strings)
        self.check_k(inputs.get("k"))

    def check_k(self, k: np.ndarray | None) -> None:
        """Refuse a `k` that is too large.

        Args:
            k: any array; other dtypes than integers are not limited. None: the request has none.

        Raises:
            ServingError: RESOURCE_EXHAUSTED.
        """
        if k is not None and k.dtype.kind == "i" and k.size and k.max() > self.max_k:
            raise _exhausted(f"Input 'k' may be at most {self.max_k} (max_k). Received: {k.max()}.")

    def check_concurrency(self, running: int) -> None:
        """Refuse a request when the max number of requests is in progress.

        Args:
            running: number of requests in progress, without this one.

        Raises:
            ServingError: RESOURCE_EXHAUSTED.
        """
        if running >= self.max_concurrent_requests:
            raise _exhausted(
                f"The server answers at most {self.max_concurrent_requests} requests at the same time "
                "(max_concurrent_requests). Try again later."
            )


def _exhausted(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
