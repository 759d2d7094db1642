"""Reading a request's body within limits."""

from __future__ import annotations

import asyncio

import grpc
from starlette.requests import Request

from laclrec_tf.serving.rest_status import RestError


async def read_body(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Read a body.

    Args:
        request: whose body it is.
        max_bytes: size that is still read.
        timeout: seconds that the caller may take to send it.

    Returns:
        The body.

    Raises:
        RestError: 413, it is larger; 415, it is compressed; 408, it did not arrive in time.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        text = f"Content-Encoding {encoding} is not supported. Send the JSON as it is."
        raise RestError(grpc.StatusCode.INVALID_ARGUMENT, text, 415)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        text = f"The request's body did not arrive within {timeout:g} seconds."
        raise RestError(grpc.StatusCode.DEADLINE_EXCEEDED, text, 408) from None
    return bytes(body)


def _too_large(max_bytes: int) -> RestError:
    text = f"A request's body may have {max_bytes} bytes. Send fewer rows in one request."
    return RestError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, 413)
