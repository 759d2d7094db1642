"""From strings to recommendations: the exported SavedModel, its server and the client that asks it."""

from __future__ import annotations

from laclrec_tf.serving.client import RetrievalClient
from laclrec_tf.serving.export import ExportCheckError, export_model
from laclrec_tf.serving.local_model import LocalModel
from laclrec_tf.serving.recommendation import AugmentedHistory, Recommendation
from laclrec_tf.serving.retriever import Retriever
from laclrec_tf.serving.server import ModelServer

__all__ = [
    "AugmentedHistory",
    "ExportCheckError",
    "LocalModel",
    "ModelServer",
    "Recommendation",
    "RetrievalClient",
    "Retriever",
    "export_model",
]
