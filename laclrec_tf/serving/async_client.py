"""The client's twin for programs on asyncio."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from laclrec_tf.serving.model_endpoint import MAX_RETRIES, ModelEndpoint, read_outputs, read_status
from laclrec_tf.serving.recommendation import (
    AugmentedHistory,
    HistoryVectors,
    ItemVectors,
    Ranking,
    Recommendation,
    SimilarItems,
)
from laclrec_tf.serving.retrieval_query import (
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
from laclrec_tf.serving.wire_messages import (
    GET_MODEL_STATUS,
    PREDICT,
    GetModelStatusRequest,
    GetModelStatusResponse,
    PredictRequest,
    PredictResponse,
)


class AsyncRetrievalClient:
    """`RetrievalClient`'s questions, awaited: the same arguments, answers and errors.

    Make and use it inside one running event loop; any number of tasks may share it.

    Args:
        target: the server, `HOST:PORT` or `[IPV6]:PORT`.
        model_name: the model's name on the server.
        timeout: seconds a call may take, with all its requests and retries. Default: 5.
        version: ask this version only. Default: the one that the server takes.
        version_label: or the version with this label. Default: none.
        retries: how often to send again what was UNAVAILABLE, 0 to 4. Default: 4.
        wait_for_ready: wait for a connection until the timeout. Default: False.
        root_certificates: PEM file of the authorities; turns TLS on. Default: no TLS.
        client_certificate: PEM file of the client's certificate, for mutual TLS. Default: none.
        client_key: PEM file of its key. Default: none.

    Raises:
        InputError: an argument is out of its range, or a PEM file cannot be used.

    Example:
        >>> async with AsyncRetrievalClient("127.0.0.1:8500", "shop") as client:  # doctest: +SKIP
        ...     (answer,) = await client.recommend(["tent", "stove"], k=3)
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
        credentials, options = self.endpoint.credentials(), self.endpoint.channel_options()
        self._channel = (
            grpc.aio.insecure_channel(target, options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options)
        )
        self._send_predict = self._channel.unary_unary(
            PREDICT, PredictRequest.SerializeToString, PredictResponse.FromString
        )
        self._send_status = self._channel.unary_unary(
            GET_MODEL_STATUS, GetModelStatusRequest.SerializeToString, GetModelStatusResponse.FromString
        )

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
