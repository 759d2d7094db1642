"""Reading a request's body within limits."""

from __future__ import annotations

import asyncio
import zlib

import grpc
from starlette.requests import Request

from laclrec_tf.serving.rest_status import RestError


async def read_body(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Read a body; gzip is unpacked, as TensorFlow Serving does.

    Args:
        request: whose body it is.
        max_bytes: size that is still read, on the wire and unpacked.
        timeout: seconds that the caller may take to send it.

    Returns:
        The body.

    Raises:
        RestError: 413, it is larger; 415, it is compressed in another way; 400, it is no gzip though it says so;
            408, it did not arrive in time.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        text = f"Content-Encoding {encoding} is not supported. Use gzip, or send the JSON as it is."
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
    return _unpacked(bytes(body), max_bytes) if encoding == "gzip" else bytes(body)


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    """Unpack at most `max_bytes`: a few bytes of gzip can hold gigabytes."""
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS + 16)
    try:
        unpacked = gzip.decompress(body, max_bytes + 1)
    except zlib.error:
        raise RestError(grpc.StatusCode.INVALID_ARGUMENT, "The request's body is no gzip.", 400) from None
    if len(unpacked) > max_bytes:
        raise _too_large(max_bytes)
    if not gzip.eof:
        raise RestError(grpc.StatusCode.INVALID_ARGUMENT, "The request's body is gzip that was cut off.", 400)
    return unpacked


def _too_large(max_bytes: int) -> RestError:
    text = f"A request's body may have {max_bytes} bytes. Send fewer rows in one request."
    return RestError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, 413)
