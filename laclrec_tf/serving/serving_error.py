"""A request that cannot be answered, with the gRPC status that says why."""

from __future__ import annotations

import grpc


class ServingError(Exception):
    """A request that cannot be answered.

    Args:
        code: the gRPC status, as TensorFlow Serving would give it.
        message: one line for the caller.

    Example:
        >>> ServingError(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(shop)").code.name
        'NOT_FOUND'
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        """Keep both parts."""
        super().__init__(message)
        self.code = code
        self.message = message
