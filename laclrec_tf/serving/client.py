"""The gRPC client, for the embedded server and for TensorFlow Serving alike. It needs no TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy as np

from laclrec_tf.serving.history_queries import HistoryQueries
from laclrec_tf.serving.model_connection import ModelConnection
from laclrec_tf.serving.model_endpoint import read_outputs, read_status
from laclrec_tf.serving.retrieval_query import Answer, RetrievalQuery


class RetrievalClient(ModelConnection, HistoryQueries):
    """Asks a server for recommendations. Several threads may share one client.

    A request that the server could not take (UNAVAILABLE) is sent again, up to `retries` times, after 0.1, 0.2,
    0.4 and 0.8 seconds, each a little more or less by chance. Any other error ends the call at once.

    Args:
        target: the server, `HOST:PORT` or `[IPV6]:PORT`. An HTTP proxy in the environment is not used.
        model_name: the model's name on the server.
        timeout: seconds a call may take, with all its requests and retries. Default: 5.
        version: ask this version only. Default: the one that the server takes, usually the newest.
        version_label: or the version with this label, such as "stable". Default: none.
        retries: how often to send again, 0 to 4. Default: 4.
        wait_for_ready: while there is no connection, wait for one until the timeout, in place of an error after
            the retries; for servers that restart. Default: False.
        root_certificates: PEM file of the authorities that may have signed the server's certificate; turns TLS
            on. Default: no TLS.
        client_certificate: PEM file of the client's certificate, for mutual TLS. Default: none.
        client_key: PEM file of its key. Default: none.

    Raises:
        InputError: an argument is out of its range, or a PEM file cannot be used.

    Example:
        >>> with RetrievalClient("127.0.0.1:8500", "shop") as client:  # doctest: +SKIP
        ...     answer = client.recommend(["tent", "stove"], k=3, exclude=["rope"])[0]
        ...     print(answer.item_ids, answer.scores)
        ('lamp', 'mug', 'map') (1.9, 1.2, 0.4)
    """

    def status(self) -> dict[int, str]:
        """Return the state of each version, such as `{1: "AVAILABLE"}`.

        Raises:
            InputError: no server answers, or it has no such model.
        """
        return read_status(self._call(self._send_status, self.endpoint.status_request(), self.timeout))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> RetrievalClient:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    @staticmethod
    def _open_channel(
        target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
    ) -> grpc.Channel:
        if credentials is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, credentials, options)

    def _ask(self, query: RetrievalQuery[Answer]) -> Answer:
        end = time.monotonic() + self.timeout
        return query.read([self._predict(query.signature, inputs, end - time.monotonic()) for inputs in query.requests])

    def _predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        request = self.endpoint.predict_request(signature, inputs)
        return read_outputs(self._call(self._send_predict, request, self.timeout if seconds is None else seconds))

    def _call(self, send: Any, request: Any, seconds: float) -> Any:
        try:
            return send(request, timeout=max(0.0, seconds), wait_for_ready=self.endpoint.wait_for_ready)
        except grpc.RpcError as error:
            raise self.endpoint.refusal(error) from error
