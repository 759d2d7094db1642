"""What a client raises when the server does not answer a question."""

from __future__ import annotations

import grpc

from laclrec_tf.errors import InputError


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


class RequestRefused(InputError):
    """A question that was not answered. Its text is one line with what to do.

    Args:
        message: the line.
        code: the gRPC status.

    Attributes:
        code: the gRPC status, to tell what may be asked again later (UNAVAILABLE, RESOURCE_EXHAUSTED,
            DEADLINE_EXCEEDED) from what never works (INVALID_ARGUMENT, NOT_FOUND).

    Example:
        >>> RequestRefused("127.0.0.1:8500 is away.", grpc.StatusCode.UNAVAILABLE).code.name
        'UNAVAILABLE'
    """

    def __init__(self, message: str, code: grpc.StatusCode) -> None:
        """Keep both parts."""
        super().__init__(message)
        self.code = code
