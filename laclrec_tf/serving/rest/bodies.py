"""The bodies of requests: received within a time, decompressed piece by piece, and limited in memory."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from starlette.requests import Request

from laclrec_tf.serving.rest.status import RestError

# Bytes that gzip is given, and gives, at a time.
PIECE_BYTES = 2**16


class HeldBodies:
    """The memory of the bodies that have arrived, from their first byte to the answer. Used by several threads.

    The limit of concurrent requests counts a request only when its body has arrived.

    Args:
        max_bytes: max number of bytes of all bodies together.

    Example:
        >>> bodies = HeldBodies(10)
        >>> with bodies.of_request() as hold:
        ...     hold(8)
        ...     bodies.held
        8
        >>> bodies.held
        0
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held = 0
        self._lock = threading.Lock()

    @contextmanager
    def of_request(self) -> Iterator[Callable[[int], None]]:
        """Return a function that counts bytes of one request, and releases those of a negative number.

        The rest is released at the end of the block.

        Raises:
            RestError: 429, all bodies together would have more than `max_bytes`.
        """
        own = 0

        def hold(n_bytes: int) -> None:
            nonlocal own
            with self._lock:
                if self.held + n_bytes > self.max_bytes:
                    text = (
                        "The bodies of all requests take too much memory at the moment. Send the request again later."
                    )
                    raise RestError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, 429)
                self.held += n_bytes
                own += n_bytes

        try:
            yield hold
        finally:
            hold(-own)


def content_encoding(request: Request) -> str:
    """Return the compression of a request's body, "identity" or "gzip".

    Raises:
        RestError: 415, it is another one.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        text = f"Content-Encoding {encoding} is not supported. Use gzip, or send plain JSON."
        raise RestError(grpc.StatusCode.INVALID_ARGUMENT, text, 415)
    return encoding


async def read_body(request: Request, max_bytes: int, timeout: float, hold: Callable[[int], None]) -> bytearray:
    """Receive the body of a request, without decompressing it.

    Args:
        request: the request.
        max_bytes: max size of the body.
        timeout: max seconds until the body has arrived.
        hold: called with the number of bytes of each part, before it is kept, see `HeldBodies`.

    Returns:
        The body.

    Raises:
        RestError: 429, `hold` refuses the bytes; 413, it is larger; 408, it did not arrive in time.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.stream():
                hold(len(chunk))
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        text = f"The request's body did not arrive within {timeout:g} seconds."
        raise RestError(grpc.StatusCode.DEADLINE_EXCEEDED, text, 408) from None
    return body


def decompressed(body: bytearray, encoding: str, max_bytes: int, hold: Callable[[int], None]) -> bytearray:
    """Decompress gzip, as TensorFlow Serving does. It takes time for a large body: call it in a thread.

    A few bytes of gzip can contain gigabytes, so that each piece is counted before it exists.

    Args:
        body: the body as it was received.
        encoding: "identity" or "gzip".
        max_bytes: max size of the decompressed body.
        hold: called with the max number of bytes of each piece before it is decompressed, and with the difference to
            its real number after; see `HeldBodies`.

    Returns:
        The decompressed body.

    Raises:
        RestError: 429, `hold` refuses the bytes; 413, it is larger; 400, it is not gzip.

    Example:
        >>> import gzip
        >>> decompressed(bytearray(gzip.compress(b"{}")), "gzip", 100, lambda n_bytes: None)
        bytearray(b'{}')
    """
    if encoding != "gzip":
        return body
    gzip, result = zlib.decompressobj(wbits=zlib.MAX_WBITS + 16), bytearray()
    for start in range(0, len(body), PIECE_BYTES):
        rest = bytes(body[start : start + PIECE_BYTES])
        size = piece_size = 0
        while size == piece_size and not gzip.eof:  # a full piece: zlib may have more
            size = min(PIECE_BYTES, max_bytes + 1 - len(result))
            try:
                hold(size)
            except RestError:  # release now: other threads would be refused, too, until the event loop does
                own = len(result)
                result.clear()
                hold(-own)
                raise
            try:
                piece = gzip.decompress(rest, size)
            except zlib.error:
                raise RestError(grpc.StatusCode.INVALID_ARGUMENT, "The request's body is not gzip.", 400) from None
            result += piece
            if len(result) > max_bytes:
                raise _too_large(max_bytes)
            rest, piece_size = gzip.unconsumed_tail, len(piece)
            hold(piece_size - size)
        if gzip.eof:
            return result
    raise RestError(grpc.StatusCode.INVALID_ARGUMENT, "The request's body is truncated gzip.", 400)


def _no_memory() -> RestError:
    text = "The bodies of all requests take too much memory at the moment. Send the request again later."
    return RestError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, 429)


def _too_large(max_bytes: int) -> RestError:
    text = f"A request's body may have at most {max_bytes} bytes. Send fewer rows in one request."
    return RestError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, 413)
