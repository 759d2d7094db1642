"""What Vertex AI tells a serving container by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from laclrec_tf.errors import InputError


@dataclass(frozen=True)
class VertexEnvironment:
    """The port and the routes that Vertex AI will use; `None` where it says nothing.

    Args:
        port: `AIP_HTTP_PORT`.
        health_route: `AIP_HEALTH_ROUTE`, asked with GET.
        predict_route: `AIP_PREDICT_ROUTE`, asked with POST.

    Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
    """

    port: int | None = None
    health_route: str | None = None
    predict_route: str | None = None


def read_vertex_environment(environment: Mapping[str, str] = os.environ) -> VertexEnvironment:
    """Read the variables.

    Args:
        environment: the variables by name. Default: this process's.

    Returns:
        What they say. A variable that is empty says nothing.

    Raises:
        InputError: a port that is none, or a route that does not begin with a slash.

    Example:
        >>> read_vertex_environment({"AIP_HTTP_PORT": "8080", "AIP_HEALTH_ROUTE": "/ping"})
        VertexEnvironment(port=8080, health_route='/ping', predict_route=None)
    """
    port = environment.get("AIP_HTTP_PORT") or None
    if port is not None and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise InputError(f"AIP_HTTP_PORT must be a port from 0 to 65535. Received: {port}.")
    return VertexEnvironment(
        port=None if port is None else int(port),
        health_route=_route("AIP_HEALTH_ROUTE", environment),
        predict_route=_route("AIP_PREDICT_ROUTE", environment),
    )


def _route(name: str, environment: Mapping[str, str]) -> str | None:
    route = environment.get(name) or None
    if route is not None and not route.startswith("/"):
        raise InputError(f"{name} must begin with a slash. Received: {route}.")
    return route
