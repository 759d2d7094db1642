"""From strings to recommendations: the exported SavedModel, its server and the client that asks it.

A name is imported when it is first asked for: who only asks a server does not wait for TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laclrec_tf.serving.client.answers import (
        AugmentedHistory,
        HistoryVectors,
        ItemVectors,
        Ranking,
        Recommendation,
        SimilarItems,
    )
    from laclrec_tf.serving.client.client import AsyncRetrievalClient, RetrievalClient
    from laclrec_tf.serving.local.models import LocalModel
    from laclrec_tf.serving.release.export import ExportCheckError, export_model
    from laclrec_tf.serving.retriever.retriever import Retriever
    from laclrec_tf.serving.server.server import ModelServer

__all__ = [
    "AsyncRetrievalClient",
    "AugmentedHistory",
    "ExportCheckError",
    "HistoryVectors",
    "ItemVectors",
    "LocalModel",
    "ModelServer",
    "Ranking",
    "Recommendation",
    "RetrievalClient",
    "Retriever",
    "SimilarItems",
    "export_model",
]

_FILE_OF = {
    "AsyncRetrievalClient": "async_client",
    "AugmentedHistory": "recommendation",
    "ExportCheckError": "export",
    "HistoryVectors": "recommendation",
    "ItemVectors": "recommendation",
    "LocalModel": "local_model",
    "ModelServer": "server",
    "Ranking": "recommendation",
    "Recommendation": "recommendation",
    "RetrievalClient": "client",
    "Retriever": "retriever",
    "SimilarItems": "recommendation",
    "export_model": "export",
}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
