"""The server's metrics, in Prometheus's format."""

from __future__ import annotations

import threading
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
OTHER_MODEL = "other"


class Metrics(Protocol):
    """Receives what the server counts; `ServerMetrics` implements it."""

    def observe_request(self, method: str, model: str, code: str, seconds: float) -> None:
        """Count an answered request."""

    def observe_batch(self, model: str, rows: int) -> None:
        """Count a run of a model."""

    def set_in_flight(self, n: int) -> None:
        """Set the number of requests in progress."""

    def set_version_state(self, model: str, version: int, state: str) -> None:
        """Set the state of a version."""


class ServerMetrics:
    """The metrics of one server; safe to use from many threads.

    | metric | kind | labels |
    | --- | --- | --- |
    | `laclrec_requests_total` | counter | `method`, `model`, `code` |
    | `laclrec_request_seconds` | histogram, from 0.5 ms | `method`, `model` |
    | `laclrec_batch_rows` | histogram | `model` |
    | `laclrec_requests_in_flight` | gauge | |
    | `laclrec_model_version` | gauge, 1 for the state a version is in | `model`, `version`, `state` |
    | `process_*` | memory, processor time, open files of the process | |

    Callers choose the model's name in a request, and a made-up name must not become a new time series. So a name that
    was never set by `set_version_state` and never answered with OK is counted as `other`.

    Args:
        registry: registry of the metrics. Default: a new one.

    Example:
        >>> metrics = ServerMetrics()
        >>> metrics.set_version_state("shop", 1, "AVAILABLE")
        >>> metrics.observe_request("Predict", "shop", "OK", 0.002)
        >>> b'laclrec_requests_total{code="OK",method="Predict",model="shop"} 1.0' in metrics.exposition()
        True
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._requests = Counter(
            "laclrec_requests",
            "Requests answered, by gRPC status.",
            ["method", "model", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "laclrec_request_seconds",
            "Seconds from a request's arrival to its answer.",
            ["method", "model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "laclrec_batch_rows", "Rows the model ran at once.", ["model"], buckets=ROWS, registry=self.registry
        )
        self._in_flight = Gauge("laclrec_requests_in_flight", "Requests being answered.", registry=self.registry)
        self._versions = Gauge(
            "laclrec_model_version",
            "1 for the state that a version is in.",
            ["model", "version", "state"],
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self._lock = threading.Lock()
        self._states: dict[tuple[str, int], str] = {}
        self._models: set[str] = set()

    def observe_request(self, method: str, model: str, code: str, seconds: float) -> None:
        """Count one answered request.

        Args:
            method: the method, such as `Predict`.
            model: name of the model in the request.
            code: name of the gRPC status, such as `OK`.
            seconds: duration until the answer.
        """
        if code == "OK":
            self._models.add(model)
        model = model if model in self._models else OTHER_MODEL
        self._requests.labels(method, model, code).inc()
        self._seconds.labels(method, model).observe(seconds)

    def observe_batch(self, model: str, rows: int) -> None:
        """Count one run of a model.

        Args:
            model: name of the model.
            rows: number of rows of the run.
        """
        self._rows.labels(model).observe(rows)

    def set_in_flight(self, n: int) -> None:
        """Set the number of requests in progress.

        Args:
            n: the number.
        """
        self._in_flight.set(n)

    def set_version_state(self, model: str, version: int, state: str) -> None:
        """Set the state of a version.

        Args:
            model: name of the model.
            version: number of the version.
            state: name of one of TensorFlow Serving's states, `START` to `END`. A version that reached `END` is
                removed, so that the metrics do not grow with each new version.
        """
        with self._lock:
            before = self._states.pop((model, version), None)
            if before is not None:
                self._versions.remove(model, str(version), before)
            if state != "END":
                self._states[model, version] = state
                self._versions.labels(model, str(version), state).set(1)
            self._models.add(model)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format, whose media type is `content_type`."""
        return generate_latest(self.registry)
