"""The clients of a served model, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import grpc.aio
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
from laclrec_tf.serving.client.queries import (
    Answer,
    HistoryQueries,
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
    """A client of a model on a server. Several threads may share it.

    When the server is UNAVAILABLE, or ends a call as CANCELLED that this client did not cancel, the request is sent
    again, up to `retries` times, after about 0.1, 0.2, 0.4 and 0.8 seconds. Any other error ends the call at once.

    Args:
        target: address of the server, `HOST:PORT` or `[IPV6]:PORT`. An HTTP proxy in the environment is not used.
        model_name: name of the model on the server.
        timeout: max seconds of a call, with all its requests and retries. Default: 5.
        version: version of the model. Default: the server's choice, usually the newest.
        version_label: label of the version, such as "stable", in place of `version`. Default: none.
        retries: max number of retries, 0 to 4. Default: 4.
        wait_for_ready: whether to wait for the server until the timeout, instead of failing after the retries: for a
            connection, and while it is UNAVAILABLE, as it is while it loads its models. Default: False.
        row_width: for TensorFlow Serving with `--enable_batching`, which concatenates requests of equal shapes only:
            every input gets a row for each history, and every list (history, `exclude`, `allow`, `candidates`) is
            padded to this number of items. Give all clients the same. Default: None, requests are sent as they are.
        root_certificates: PEM file of the authorities that may have signed the server's certificate; it turns TLS
            on. Default: no TLS.
        client_certificate: PEM file of the client's certificate, for mutual TLS. Default: none.
        client_key: PEM file of the private key of `client_certificate`. Default: none.

    Raises:
        InputError: an argument is out of its range, or a PEM file cannot be used.

    Example:
        >>> with RetrievalClient("127.0.0.1:8500", "shop") as client:  # doctest: +SKIP
        ...     answer = client.recommend(["tent", "stove"], k=3, exclude=["rope"])[0]
        ...     print(answer.item_ids, answer.scores)
        ('lamp', 'mug', 'map') (1.9, 1.2, 0.4)
    """

    _grpc = grpc

    def status(self) -> dict[int, str]:
        """Return the state of each version, such as `{1: "AVAILABLE"}`.

        Raises:
            InputError: no server answers, or it has no such model.
        """
        return read_status(self._call(self._send_status, self.status_request(), self.timeout))

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> RetrievalClient:
        """Return the client."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connection."""
        self.close()

    def _answer(self, query: RetrievalQuery[Answer]) -> Answer:
        end = time.monotonic() + self.timeout
        return query.read([self._predict(query.signature, inputs, end - time.monotonic()) for inputs in query.requests])

    def _predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        request = self.predict_request(signature, inputs)
        return read_outputs(self._call(self._send_predict, request, self.timeout if seconds is None else seconds))

    def _call(self, send: Any, request: Any, seconds: float) -> Any:
        end, sent = time.monotonic() + seconds, 0
        while True:
            try:
                left = max(0.0, end - time.monotonic())
                return send(request, timeout=left, wait_for_ready=self.wait_for_ready)
            except grpc.RpcError as error:
                sent += 1
                pause = self.pause_after(error, sent, end)
                if pause is None:
                    raise self.refusal(error) from error
            time.sleep(pause)


class AsyncRetrievalClient(ModelConnection):
    """`RetrievalClient` for asyncio: the same arguments, answers and errors.

    Create and use it inside one running event loop; any number of tasks may share it.

    Raises:
        InputError: an argument is out of its range, or a PEM file cannot be used.

    Example:
        >>> async with AsyncRetrievalClient("127.0.0.1:8500", "shop") as client:  # doctest: +SKIP
        ...     (answer,) = await client.recommend(["tent", "stove"], k=3)
    """

    _grpc = grpc.aio

    async def recommend(
        self,
        history: Items,
        k: int = 10,
        exclude: Items = (),
        allow: Items = (),
        exclude_history: bool | None = None,
    ) -> list[Recommendation]:
        """Recommend the next items, see `HistoryQueries.recommend`."""
        return await self._answer(recommend_query(history, k, exclude, allow, exclude_history))

    async def similar_items(self, items: Sequence[str], k: int = 10) -> list[SimilarItems]:
        """Find the items most similar to each of the given ones, see `HistoryQueries.similar_items`."""
        return await self._answer(similar_items_query(items, k))

    async def embed_history(self, history: Items) -> HistoryVectors:
        """Turn histories into vectors, see `HistoryQueries.embed_history`."""
        return await self._answer(embed_history_query(history))

    async def embed_items(self, items: Sequence[str]) -> ItemVectors:
        """Turn items into vectors, see `HistoryQueries.embed_items`."""
        return await self._answer(embed_items_query(items))

    async def rank(self, history: Items, candidates: Items) -> list[Ranking]:
        """Rank candidates for histories, see `HistoryQueries.rank`."""
        return await self._answer(rank_query(history, candidates))

    async def augment(self, history: Items) -> list[AugmentedHistory]:
        """Edit histories with the learned augmenter, see `HistoryQueries.augment`."""
        return await self._answer(augment_query(history))

    async def status(self) -> dict[int, str]:
        """Return the state of each version, such as `{1: "AVAILABLE"}`."""
        return read_status(await self._call(self._send_status, self.status_request(), self.timeout))

    async def close(self) -> None:
        """Close the connection."""
        self._closed = True
        await self._channel.close()

    async def __aenter__(self) -> AsyncRetrievalClient:
        """Return the client."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the connection."""
        await self.close()

    async def _answer(self, query: RetrievalQuery[Answer]) -> Answer:
        end = time.monotonic() + self.timeout
        outputs = []
        for inputs in query.requests:
            request = self.predict_request(query.signature, inputs)
            outputs.append(read_outputs(await self._call(self._send_predict, request, end - time.monotonic())))
        return query.read(outputs)

    async def _call(self, send: Any, request: Any, seconds: float) -> Any:
        end, sent = time.monotonic() + seconds, 0
        while True:
            try:
                left = max(0.0, end - time.monotonic())
                return await send(request, timeout=left, wait_for_ready=self.wait_for_ready)
            except grpc.RpcError as error:
                sent += 1
                pause = self.pause_after(error, sent, end)
                if pause is None:
                    raise self.refusal(error) from error
            await asyncio.sleep(pause)
