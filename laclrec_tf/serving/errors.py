"""The errors of requests to a served model."""

from __future__ import annotations

import grpc

from laclrec_tf.errors import InputError


class ServingError(Exception):
    """The server's side: a request that cannot be answered.

    Args:
        code: the gRPC status, as TensorFlow Serving would answer it.
        message: one line for the caller.

    Example:
        >>> ServingError(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(shop)").code.name
        'NOT_FOUND'
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RequestRefused(InputError):
    """The client's side: a query that failed. Its text is one line with the remedy.

    Args:
        message: the line.
        code: the gRPC status.

    Attributes:
        code: the gRPC status. UNAVAILABLE, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED may succeed later; others, such as
            INVALID_ARGUMENT and NOT_FOUND, never do.

    Example:
        >>> RequestRefused("127.0.0.1:8500 does not answer.", grpc.StatusCode.UNAVAILABLE).code.name
        'UNAVAILABLE'
    """

    def __init__(self, message: str, code: grpc.StatusCode) -> None:
        super().__init__(message)
        self.code = code
