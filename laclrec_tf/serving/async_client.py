"""The client's twin for programs on asyncio."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import grpc

from laclrec_tf.serving.model_connection import ModelConnection
from laclrec_tf.serving.model_endpoint import read_outputs, read_status
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
