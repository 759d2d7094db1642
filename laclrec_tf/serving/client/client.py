"""The client's twin for programs on asyncio."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy as np

from laclrec_tf.serving.client.answers import (
    AugmentedHistory,
    HistoryVectors,
    ItemVectors,
    Ranking,
    Recommendation,
    SimilarItems,
)
from laclrec_tf.serving.client.connection import ModelConnection, read_outputs, read_status
from laclrec_tf.serving.client.queries import HistoryQueries
from laclrec_tf.serving.client.questions import (
    Answer,
    Items,
    RetrievalQuery,
    augment_query,
    embed_history_query,
    embed_items_query,
    rank_query,
    recommend_query,
    similar_items_query,
)


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


class AsyncRetrievalClient(ModelConnection):
    """`RetrievalClient`'s questions, awaited: the same arguments, answers and errors.

    Make and use it inside one running event loop; any number of tasks may share it.

    Raises:
        InputError: an argument is out of its range, or a PEM file cannot be used.

    Example:
        >>> async with AsyncRetrievalClient("127.0.0.1:8500", "shop") as client:  # doctest: +SKIP
        ...     (answer,) = await client.recommend(["tent", "stove"], k=3)
    """

    async def recommend(
        self,
        history: Items,
        k: int = 10,
        exclude: Items = (),
        allow: Items = (),
        exclude_history: bool = True,
    ) -> list[Recommendation]:
        """Recommend the next items, see `HistoryQueries.recommend`."""
        return await self._ask(recommend_query(history, k, exclude, allow, exclude_history))

    async def similar_items(self, items: Sequence[str], k: int = 10) -> list[SimilarItems]:
        """Find the items most similar to each of the given ones, see `HistoryQueries.similar_items`."""
        return await self._ask(similar_items_query(items, k))

    async def embed_history(self, history: Items) -> HistoryVectors:
        """Turn histories into vectors, see `HistoryQueries.embed_history`."""
        return await self._ask(embed_history_query(history))

    async def embed_items(self, items: Sequence[str]) -> ItemVectors:
        """Turn items into vectors, see `HistoryQueries.embed_items`."""
        return await self._ask(embed_items_query(items))

    async def rank(self, history: Items, candidates: Items) -> list[Ranking]:
        """Put candidates in order for histories, see `HistoryQueries.rank`."""
        return await self._ask(rank_query(history, candidates))

    async def augment(self, history: Items) -> list[AugmentedHistory]:
        """Ask what the learned augmenter does to histories, see `HistoryQueries.augment`."""
        return await self._ask(augment_query(history))

    async def status(self) -> dict[int, str]:
        """Return the state of each version, such as `{1: "AVAILABLE"}`."""
        response = await self._call(self._send_status, self.endpoint.status_request(), self.endpoint.timeout)
        return read_status(response)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncRetrievalClient:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    @staticmethod
    def _open_channel(
        target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
    ) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(target, options)
        return grpc.aio.secure_channel(target, credentials, options)

    async def _ask(self, query: RetrievalQuery[Answer]) -> Answer:
        end = time.monotonic() + self.endpoint.timeout
        outputs = []
        for inputs in query.requests:
            request = self.endpoint.predict_request(query.signature, inputs)
            outputs.append(read_outputs(await self._call(self._send_predict, request, end - time.monotonic())))
        return query.read(outputs)

    async def _call(self, send: Any, request: Any, seconds: float) -> Any:
        try:
            return await send(request, timeout=max(0.0, seconds), wait_for_ready=self.endpoint.wait_for_ready)
        except grpc.aio.AioRpcError as error:
            raise self.endpoint.refusal(error) from error
