"""The bodies of requests: received within a time, decompressed piece by piece, and limited in memory."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import grpc
from starlette.requests import Request

from laclrec_tf.serving.rest.status import RestError

# Bytes that gzip is given, and gives, at a time.
PIECE_BYTES = 2**16


class HeldBodies:
    """The memory of the bodies that have arrived, from their first byte to the answer. Used by several threads.

    The limit of concurrent requests counts a request only when its body has arrived. Bodies that never arrive
    completely must not keep others out: when memory is short, the largest body that is still arriving is refused,
    unless the one that needs memory is larger.

    Args:
        max_bytes: max number of bytes of all bodies together.

    Example:
        >>> bodies = HeldBodies(10)
        >>> with bodies.of_request() as body:
        ...     body.hold(8)
        ...     bodies.held
        8
        >>> bodies.held
        0
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held = 0
        self.lock = threading.Lock()
        self._bodies: set[HeldBody] = set()

    @contextmanager
    def of_request(self) -> Iterator[HeldBody]:
        """Return what counts the bytes of one request; they are released at the end of the block."""
        body = HeldBody(self)
        with self.lock:
            self._bodies.add(body)
        try:
            yield body
        finally:
            with self.lock:
                self._bodies.remove(body)
                self.held -= body.n_bytes

    def make_room(self, body: HeldBody, n_bytes: int) -> bool:
        """Return whether a body may have further bytes, for which another one may be refused. The lock is held."""
        if self.held + n_bytes <= self.max_bytes:
            return True
        arriving = [other for other in self._bodies if other.refuse is not None and other is not body]
        largest = max(arriving, key=lambda other: other.n_bytes, default=body)
        if largest.refuse is None or largest.n_bytes <= body.n_bytes + n_bytes:
            return False
        self.held -= largest.n_bytes
        largest.n_bytes, largest.refused = 0, True
        largest.refuse()
        return True


class HeldBody:
    """The memory of one body, see `HeldBodies.of_request`.

    Attributes:
        refuse: called, in any thread and once, when the body is refused for another one; None when it cannot be.
        refused: whether it was.
    """

    def __init__(self, bodies: HeldBodies) -> None:
        self.n_bytes = 0
        self.refuse: Callable[[], object] | None = None
        self.refused = False
        self._bodies = bodies

    def hold(self, n_bytes: int) -> None:
        """Count bytes before they are kept. A negative number releases them.

        Raises:
            RestError: 429, all bodies together would have more than the max, or this one was refused.
        """
        with self._bodies.lock:
            if self.refused or not self._bodies.make_room(self, n_bytes):
                raise _no_memory()
            self._bodies.held += n_bytes
            self.n_bytes += n_bytes

    def arrived(self) -> None:
        """Keep the body until its request is answered.

        Raises:
            RestError: 429, it was refused before.
        """
        with self._bodies.lock:
            self.refuse = None
        if self.refused:
            raise _no_memory()


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


async def read_body(request: Request, max_bytes: int, timeout: float, held: HeldBody) -> bytearray:
    """Receive the body of a request, without decompressing it.

    Args:
        request: the request.
        max_bytes: max size of the body.
        timeout: max seconds until the body has arrived.
        held: counts the bytes before they are kept.

    Returns:
        The body.

    Raises:
        RestError: 429, `held` refuses the bytes; 413, the body is larger; 408, it did not arrive in time.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body, loop = bytearray(), asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout) as arrival:

            def end_now() -> None:
                with suppress(RuntimeError):  # it has ended
                    arrival.reschedule(loop.time())

            held.refuse = partial(loop.call_soon_threadsafe, end_now)
            async for chunk in request.stream():
                held.hold(len(chunk))
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        if held.refused:
            raise _no_memory() from None
        text = f"The request's body did not arrive within {timeout:g} seconds."
        raise RestError(grpc.StatusCode.DEADLINE_EXCEEDED, text, 408) from None
    held.arrived()
    return body


def decompressed(body: bytearray, encoding: str, max_bytes: int, hold: Callable[[int], None]) -> bytearray:
    """Decompress gzip, as TensorFlow Serving does. It takes time for a large body: call it in a thread.

    A few bytes of gzip can contain gigabytes, so that each piece is counted before it exists.

    Args:
        body: the body as it was received.
        encoding: "identity" or "gzip".
        max_bytes: max size of the decompressed body.
        hold: called with the max number of bytes of each piece before it is decompressed, and with the difference to
            its real number after; see `HeldBody.hold`.

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
