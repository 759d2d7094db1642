"""One REST request from its arrival to its answer: errors, log line and metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from laclrec_tf.serving.rest_status import error_json, http_status
from laclrec_tf.serving.server.log import log_request
from laclrec_tf.serving.server.metrics import ServerMetrics
from laclrec_tf.serving.serving_error import ServingError

logger = logging.getLogger(__name__)

HEALTH = "REST Health"


@dataclass
class RestCall:
    """A request, as far as it is understood.

    Args:
        method: what is asked, such as `REST Predict`.
        model: the model's name as the request gives it.
        version: who answered.
        signature: the signature asked for.
        rows: rows in the request.
        code: the gRPC status's name.
        error: what the caller is told when there is no answer.
    """

    method: str = "REST"
    model: str = ""
    version: int | None = None
    signature: str | None = None
    rows: int | None = None
    code: str = "OK"
    error: str | None = None


class Face(Protocol):
    """What the endpoints are methods of."""

    metrics: ServerMetrics | None


def answering(
    endpoint: Callable[[Any, Request, RestCall], Awaitable[bytes]],
) -> Callable[[Any, Request], Awaitable[Response]]:
    """Turn an endpoint's errors into answers; whatever happens, none gets away.

    Args:
        endpoint: `(self, request, call) -> JSON`, which says in `call` what it learns of the request and raises
            `ServingError` for what it cannot answer.

    Returns:
        `(self, request) -> response`, as Starlette calls it. Each request is logged and counted, only not the log
        line of a server that reports its health every few seconds.
    """

    @wraps(endpoint)
    async def answer(face: Face, request: Request) -> Response:
        started, call, status = time.perf_counter(), RestCall(), 200
        try:
            body = await endpoint(face, request, call)
        except ServingError as error:
            status, call.code, call.error = http_status(error), error.code.name, error.message
        except ClientDisconnect:
            status, call.code, call.error = 499, "CANCELLED", "The caller hung up."
        except Exception:
            logger.exception("%s failed", call.method)
            status, call.code, call.error = 500, "INTERNAL", f"{call.method} failed; the server's log says why."
        if call.error is not None:
            body = error_json(call.error)
        seconds = time.perf_counter() - started
        if face.metrics is not None:
            face.metrics.observe_request(call.method, call.model, call.code, seconds)
        if call.method != HEALTH or call.code != "OK":
            log_request(**vars(call), milliseconds=1000 * seconds)
        return Response(body, status, media_type="application/json")

    return answer
