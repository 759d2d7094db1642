"""The connection to a model on a server: its arguments, listed and checked once, its requests, and its errors."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar

import grpc
import numpy as np

from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.wire import (
    GET_MODEL_STATUS,
    PREDICT,
    STATES,
    GetModelStatusRequest,
    GetModelStatusResponse,
    PredictRequest,
    PredictResponse,
    read_array,
    write_array,
)
from laclrec_tf.serving.errors import RequestRefused
from laclrec_tf.serving.history_batch import equal_rows
from laclrec_tf.serving.tls import channel_credentials

_ADDRESS = re.compile(r"(?:\[[^\[\]\s]+\]|[^\[\]:/\s]+):(?P<port>[0-9]+)")  # a host with colons needs brackets
MAX_RETRIES = 4
# A call that the caller cancels raises nothing that is retried, so CANCELLED comes from a server that stops, or from
# one that has more calls than its gRPC takes.
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds
REMEDIES = {
    grpc.StatusCode.NOT_FOUND: "Give the name of a model that the server has, and an available version if any.",
    grpc.StatusCode.INVALID_ARGUMENT: "",
    grpc.StatusCode.FAILED_PRECONDITION: "",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Send fewer histories, or a smaller k.",
    grpc.StatusCode.UNAVAILABLE: "Start a server with `laclrec-tf serve MODEL`, or give its HOST:PORT.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Give a larger timeout, and check that the server answers other requests.",
    grpc.StatusCode.UNIMPLEMENTED: "Give the address of a server with TensorFlow Serving's protocol.",
}
TLS_REMEDY = "Check that the server uses TLS, the certificates of both sides, and the server name in its certificate."


@dataclass(frozen=True, eq=False, repr=False)
class ModelEndpoint:
    """A model on a server, and how to call it. The clients are endpoints with an open connection.

    `RetrievalClient` documents the arguments.

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> ModelEndpoint("127.0.0.1:8500", "shop", version=3).predict_request("rank", {}).model_spec.version.value
        3
    """

    target: str
    model_name: str
    timeout: float = 5.0
    _: KW_ONLY
    version: int | None = None
    version_label: str | None = None
    retries: int = MAX_RETRIES
    wait_for_ready: bool = False
    row_width: int | None = None
    root_certificates: str | Path | None = None
    client_certificate: str | Path | None = None
    client_key: str | Path | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        address = _ADDRESS.fullmatch(self.target)
        if address is None or not 1 <= int(address["port"]) <= 65535:
            raise InputError(
                "The server must be given as HOST:PORT with a port from 1 to 65535, such as 127.0.0.1:8500. "
                f"Received: {self.target!r}."
            )
        if not self.timeout > 0:
            raise InputError(f"Argument `timeout` must be above 0. Received: timeout={self.timeout}.")
        if not 0 <= self.retries <= MAX_RETRIES:
            raise InputError(f"Argument `retries` must be from 0 to {MAX_RETRIES}. Received: retries={self.retries}.")
        if self.row_width is not None and self.row_width < 1:
            raise InputError(f"Argument `row_width` must be at least 1. Received: row_width={self.row_width}.")
        if self.version is not None and self.version_label is not None:
            raise InputError(
                "Give `version` or `version_label`, not both. "
                f"Received: version={self.version}, version_label={self.version_label!r}."
            )
        if self.version is not None and not 0 <= self.version < 2**63:
            raise InputError(f"Argument `version` must be 0 or above. Received: version={self.version}.")

    def __repr__(self) -> str:
        selected = self.version_label if self.version is None else self.version
        version = "" if selected is None else f", version {selected}"
        return f"{type(self).__name__}({self.target!r}, {self.model_name!r}{version})"

    def predict_request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Any:
        """Make a `PredictRequest` from arrays; strings are object arrays of bytes.

        Raises:
            InputError: a list has more than `row_width` items.
        """
        if self.row_width is not None:
            inputs = equal_rows(inputs, self.row_width)
        request = PredictRequest()
        request.model_spec.name = self.model_name
        request.model_spec.signature_name = signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        if self.version_label is not None:
            request.model_spec.version_label = self.version_label
        for name, array in inputs.items():
            write_array(array, request.inputs[name])
        return request

    def status_request(self) -> Any:
        """Make a `GetModelStatusRequest` for all versions."""
        request = GetModelStatusRequest()
        request.model_spec.name = self.model_name
        return request

    def refusal(self, error: grpc.RpcError) -> RequestRefused:
        """Turn the error of a call into one line with the remedy."""
        code, details = error.code(), " ".join(str(error.details()).split()).rstrip(".")
        remedy = REMEDIES.get(code, "This is an error of the server: see its log.")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and self.wait_for_ready:  # there may be no server at all
            remedy = f"No server answered there in time. {REMEDIES[grpc.StatusCode.UNAVAILABLE]} {remedy}"
        not_reached = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        if not_reached and self.root_certificates is not None:
            remedy = f"{remedy} {TLS_REMEDY}"
        return RequestRefused(
            f"{self.target}, model {self.model_name}: {details} ({code.name}). {remedy}".rstrip(), code
        )


class ModelConnection(ModelEndpoint):
    """An endpoint with a gRPC channel: the base of `RetrievalClient` and `AsyncRetrievalClient`.

    The first request opens the connection.

    Raises:
        InputError: an argument is out of its range, or a PEM file cannot be used.
    """

    _grpc: ClassVar[Any]  # the module whose channels a client uses: grpc or grpc.aio

    def __post_init__(self) -> None:
        """Check the arguments and make the channel."""
        super().__post_init__()
        self._closed = False
        credentials = channel_credentials(self.root_certificates, self.client_certificate, self.client_key)
        if credentials is None:
            self._channel = self._grpc.insecure_channel(self.target, self._channel_options())
        else:
            self._channel = self._grpc.secure_channel(self.target, credentials, self._channel_options())
        self._send_predict = self._channel.unary_unary(
            PREDICT, PredictRequest.SerializeToString, PredictResponse.FromString
        )
        self._send_status = self._channel.unary_unary(
            GET_MODEL_STATUS, GetModelStatusRequest.SerializeToString, GetModelStatusResponse.FromString
        )

    def _channel_options(self) -> list[tuple[str, Any]]:
        options: list[tuple[str, Any]] = [
            # The server decides how long an answer may be.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            # By default, the pauses between attempts to reconnect grow to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        if self.retries == 0:
            options.append(("grpc.enable_retries", 0))
        return options

    def pause_after(self, error: grpc.RpcError, sent: int, end: float) -> float | None:
        """Return how long to wait before a request that failed is sent again.

        gRPC's own retries would do neither: they end after four, and leave out requests of more than 256 KB.

        Args:
            error: the error of the last attempt.
            sent: number of attempts so far.
            end: time of `time.monotonic()` at which the call's timeout ends.

        Returns:
            The pause in seconds. None when the request is not sent again.
        """
        if error.code() not in RETRIED or self._closed or (sent > self.retries and not self.wait_for_ready):
            return None
        # Clients that one stop has interrupted must not all come back at the same moment.
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (sent - 1)) * random.uniform(0.8, 1.2)
        return pause if time.monotonic() + pause < end else None


def read_outputs(response: Any) -> dict[str, np.ndarray]:
    """Read the outputs of a `PredictResponse`; strings become object arrays of bytes.

    Raises:
        InputError: no retriever has such an output.
    """
    try:
        return {name: read_array(tensor) for name, tensor in response.outputs.items()}
    except ValueError as error:
        raise InputError(f"The answer has an output that no retriever has: {error}. Give another model.") from error


def read_status(response: Any) -> dict[int, str]:
    """Read the state of each version, by number, from a `GetModelStatusResponse`."""
    return {status.version: STATES.get(status.state, "UNKNOWN") for status in response.model_version_status}
