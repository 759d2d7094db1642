"""A connection to a model's server, and the two calls that the clients make over it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from laclrec_tf.serving.model_endpoint import MAX_RETRIES, ModelEndpoint
from laclrec_tf.serving.wire_messages import (
    GET_MODEL_STATUS,
    PREDICT,
    GetModelStatusRequest,
    GetModelStatusResponse,
    PredictRequest,
    PredictResponse,
)


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
