"""A model on a server: where it is, which version is meant, how requests are made and refusals are told."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    array_to_tensor,
    tensor_to_array,
)
from laclrec_tf.serving.errors import RequestRefused
from laclrec_tf.serving.tls import channel_credentials

_ADDRESS = re.compile(r"(?:\[[^\[\]\s]+\]|[^\[\]:/\s]+):(?P<port>[0-9]+)")  # a colon in the host asks for brackets
MAX_RETRIES = 4  # gRPC makes five attempts at most, whatever it is told
REMEDIES = {
    grpc.StatusCode.NOT_FOUND: "Give the name of a model that is served there, and the number of a version if any.",
    grpc.StatusCode.INVALID_ARGUMENT: "",
    grpc.StatusCode.FAILED_PRECONDITION: "",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Ask for fewer histories or a smaller k.",
    grpc.StatusCode.UNAVAILABLE: "Start a server with `laclrec-tf serve MODEL`, or give its HOST:PORT.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Give a larger timeout; check that the server runs and answers others.",
    grpc.StatusCode.UNIMPLEMENTED: "Give the address of a server of TensorFlow Serving's protocol.",
}
TLS_REMEDY = "Check that the server speaks TLS, the certificates on both sides, and the server's name in its own."


@dataclass(frozen=True)
class ModelEndpoint:
    """What the client and its async twin are given, checked.

    The arguments are `RetrievalClient`'s; `InputError` for one that is out of its range.

    Example:
        >>> ModelEndpoint("127.0.0.1:8500", "shop", version=3).predict_request("rank", {}).model_spec.version.value
        3
    """

    target: str
    model_name: str
    timeout: float = 5.0
    version: int | None = None
    version_label: str | None = None
    retries: int = MAX_RETRIES
    wait_for_ready: bool = False
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
        if self.version is not None and self.version_label is not None:
            raise InputError(
                "Give `version` or `version_label`, not both. "
                f"Received: version={self.version}, version_label={self.version_label!r}."
            )
        if self.version is not None and not 0 <= self.version < 2**63:
            raise InputError(f"Argument `version` must be 0 or above. Received: version={self.version}.")

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Read the certificates; None for a connection without TLS."""
        return channel_credentials(self.root_certificates, self.client_certificate, self.client_key)

    def channel_options(self) -> list[tuple[str, Any]]:
        """Return how the connection behaves: the retries are gRPC's own."""
        options: list[tuple[str, Any]] = [
            # How long an answer may be is the server's business.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            # By default a client looks for a server that was away only every two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        if self.retries == 0:
            return [*options, ("grpc.enable_retries", 0)]
        policy = {
            "maxAttempts": self.retries + 1,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
        return [*options, ("grpc.service_config", json.dumps(config))]

    def predict_request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Any:
        """Make a `PredictRequest` of arrays; strings are object arrays of bytes."""
        request = PredictRequest()
        request.model_spec.name = self.model_name
        request.model_spec.signature_name = signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        if self.version_label is not None:
            request.model_spec.version_label = self.version_label
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(array_to_tensor(array))
        return request

    def status_request(self) -> Any:
        """Make a `GetModelStatusRequest` about all versions."""
        request = GetModelStatusRequest()
        request.model_spec.name = self.model_name
        return request

    def refusal(self, error: grpc.RpcError) -> RequestRefused:
        """Return a call's error as one line for people, with what to do."""
        code, details = error.code(), " ".join(str(error.details()).split()).rstrip(".")
        remedy = REMEDIES.get(code, "This is the server's fault: its log says more.")
        is_unreached = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        if is_unreached and self.root_certificates is not None:
            remedy = f"{remedy} {TLS_REMEDY}"
        return RequestRefused(
            f"{self.target}, model {self.model_name}: {details} ({code.name}). {remedy}".rstrip(), code
        )


def read_outputs(response: Any) -> dict[str, np.ndarray]:
    """Read the outputs of a `PredictResponse`; strings become object arrays of bytes.

    Raises:
        InputError: an output is not one of a retriever's.
    """
    try:
        return {name: tensor_to_array(tensor) for name, tensor in response.outputs.items()}
    except ValueError as error:
        raise InputError(f"The answer holds what no retriever gives: {error}. Ask another model.") from error


def read_status(response: Any) -> dict[int, str]:
    """Read the state of each version, by number, of a `GetModelStatusResponse`."""
    return {status.version: STATES.get(status.state, "UNKNOWN") for status in response.model_version_status}


class ModelConnection(ABC):
    """What `RetrievalClient` and its twin on asyncio have in common: the arguments, and a channel made of them.

    The arguments are told of at `RetrievalClient`.

    Attributes:
        endpoint: the arguments, checked.

    Raises:
        InputError: an argument is out of its range, or a PEM file cannot be used.
    """

    def __init__(
        self,
        target: str,
        model_name: str,
        timeout: float = 5.0,
        *,
        version: int | None = None,
        version_label: str | None = None,
        retries: int = MAX_RETRIES,
        wait_for_ready: bool = False,
        root_certificates: str | Path | None = None,
        client_certificate: str | Path | None = None,
        client_key: str | Path | None = None,
    ) -> None:
        """Prepare the connection; it is made by the first question."""
        self.endpoint = ModelEndpoint(
            target,
            model_name,
            timeout,
            version=version,
            version_label=version_label,
            retries=retries,
            wait_for_ready=wait_for_ready,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
        )
        self._channel = self._open_channel(target, self.endpoint.credentials(), self.endpoint.channel_options())
        self._send_predict = self._channel.unary_unary(
            PREDICT, PredictRequest.SerializeToString, PredictResponse.FromString
        )
        self._send_status = self._channel.unary_unary(
            GET_MODEL_STATUS, GetModelStatusRequest.SerializeToString, GetModelStatusResponse.FromString
        )

    def __repr__(self) -> str:
        asked = self.endpoint.version_label if self.endpoint.version is None else self.endpoint.version
        version = "" if asked is None else f", version {asked}"
        return f"{type(self).__name__}({self.target!r}, {self.model_name!r}{version})"

    @property
    def target(self) -> str:
        """The server's address."""
        return self.endpoint.target

    @property
    def model_name(self) -> str:
        """The model's name on the server."""
        return self.endpoint.model_name

    @property
    def timeout(self) -> float:
        """Seconds a call may take."""
        return self.endpoint.timeout

    @staticmethod
    @abstractmethod
    def _open_channel(
        target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
    ) -> Any:
        """Make a channel of the client's kind, without TLS where there are no credentials."""
