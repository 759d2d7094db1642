"""The embedded server: TensorFlow Serving's gRPC protocol from one Python process."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from pathlib import Path

from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.processes import Repetition
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.api import ServingApi
from laclrec_tf.serving.server.batching import BatchingParameters, RequestBatcher
from laclrec_tf.serving.server.grpc_server import GrpcServer
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.metrics import Metrics
from laclrec_tf.serving.server.registry import ModelRegistry
from laclrec_tf.serving.tls import TlsFiles
from laclrec_tf.serving.version.folder import newest_version

logger = logging.getLogger(__name__)


class ModelServer:
    """Serves models over gRPC, as TensorFlow Serving does.

    `PredictionService` answers `Predict` and `GetModelMetadata`, `ModelService` answers `GetModelStatus` and
    `HandleReloadConfigRequest`; the standard health and reflection services are available, too. A client written for
    TensorFlow Serving works unchanged. One status differs: an unknown signature name is INVALID_ARGUMENT, like other
    mistakes in a request; TensorFlow Serving answers FAILED_PRECONDITION.

    Args:
        model_name: name of the model in requests.
        base_path: the model's folder, with one sub-folder for each version; the newest is served.
        host: address to listen on. Default: "127.0.0.1", this machine only.
        port: port to listen on, 0 for any free one. Default: 8500, TensorFlow Serving's.
        config: several models, or other version policies than the newest, in place of `model_name` and `base_path`.
            Default: the one model.
        poll_seconds: seconds between two checks of the folders for added and removed versions, 0 for none. Default: 1.
        batching: how requests are run together. Default: `BatchingParameters()`.
        limits: limits of requests. Default: `RequestLimits()`.
        tls: certificates. Default: no TLS.
        metrics: counts the requests. Default: requests are not counted.
        intra_op_threads: processors that one operation of a model may use, 0 for all. 1 costs the least processor
            time; more shorten the latency for catalogues of a million items. It takes effect only in a process that
            has not run TensorFlow before. Default: 1.

    Attributes:
        api: after `start`, answers requests; other protocols, such as REST, can be built on it.

    Raises:
        InputError: a setting is out of its range.

    Example:
        >>> with ModelServer("shop", "saved_models/shop", port=0) as server:  # doctest: +SKIP
        ...     print(f"serving on 127.0.0.1:{server.port}")
    """

    def __init__(
        self,
        model_name: str | None = None,
        base_path: str | Path | None = None,
        host: str = "127.0.0.1",
        port: int = 8500,
        *,
        config: ModelServerConfig | None = None,
        poll_seconds: float = 1.0,
        batching: BatchingParameters | None = None,
        limits: RequestLimits | None = None,
        tls: TlsFiles | None = None,
        metrics: Metrics | None = None,
        intra_op_threads: int = 1,
    ) -> None:
        if not 0 <= port <= 65535:
            raise InputError(f"Argument `port` must be between 0 and 65535. Received: port={port}.")
        if not poll_seconds >= 0:
            raise InputError(f"Argument `poll_seconds` must be at least 0. Received: poll_seconds={poll_seconds}.")
        if intra_op_threads < 0:
            raise InputError(
                f"Argument `intra_op_threads` must be at least 0. Received: intra_op_threads={intra_op_threads}."
            )
        if (config is None) == (model_name is None) or (model_name is None) != (base_path is None):
            raise InputError("Give either `model_name` and `base_path`, or `config`.")
        self.base_path = None if base_path is None else Path(base_path)
        if config is None:
            config = ModelServerConfig()
            config.model_config_list.config.add(name=model_name, base_path=str(base_path), model_platform="tensorflow")
        self.config = config
        self.host, self.port = host, port
        self.poll_seconds = poll_seconds
        self.batching: BatchingParameters = batching or BatchingParameters()
        self.limits = limits or RequestLimits()
        self.tls = tls
        self.metrics = metrics
        self.intra_op_threads = intra_op_threads
        self.api: ServingApi | None = None
        self._running: _RunningServer | None = None
        self._stopped = threading.Event()
        self._stopped.set()

    def __repr__(self) -> str:
        names = ", ".join(each.name for each in self.config.model_config_list.config)
        return f"ModelServer({names}: {f'on {self.host}:{self.port}' if self._running else 'not running'})"

    def start(self) -> int:
        """Listen, load the models, and answer. Starting a running server does nothing.

        The server listens first, so that health checks get NOT_SERVING while it loads the models.

        Returns:
            The port.

        Raises:
            InputError: there is no version to serve, it does not load, or the port is in use.
        """
        if self._running is None:
            if self.base_path is not None:
                newest_version(self.base_path)  # it has the best message for a wrong folder
            running = _RunningServer(self)
            try:
                self.port = running.listen()
                running.load()
            except BaseException:
                running.close(0.0)
                raise
            self.api, self._running = running.api, running
            self._stopped = threading.Event()
        return self.port

    def drain(self, grace: float) -> None:
        """Answer the gRPC requests that have arrived, refuse further ones, and return; the models stay until `stop`.

        Args:
            grace: max seconds for the running requests; then they are cancelled.
        """
        if self._running is not None:
            self._running.drain(grace)

    def stop(self, grace: float | None = None) -> threading.Event:
        """Refuse new requests and end the running ones, without waiting for them.

        Args:
            grace: max seconds for the running requests; then they are cancelled. Default: 0.

        Returns:
            An event that is set when the server has stopped.
        """
        running, self._running = self._running, None
        stopped = self._stopped
        if running is not None:

            def close() -> None:
                try:
                    running.close(grace or 0.0)
                finally:
                    stopped.set()

            threading.Thread(target=close, name="server-stop").start()
        return stopped

    def wait(self) -> None:
        """Block until the server has stopped."""
        self._stopped.wait()

    def __enter__(self) -> ModelServer:
        """Start."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, and wait for the end."""
        self.stop().wait()


class _RunningServer:
    """The parts that exist from `start` to `stop`."""

    def __init__(self, settings: ModelServer) -> None:
        metrics = settings.metrics
        self._settings = settings
        self._registry = ModelRegistry(settings.intra_op_threads, metrics.set_version_state if metrics else None)
        self._batcher = RequestBatcher(settings.batching, metrics.observe_batch if metrics else None)
        self._watcher = ExitStack()
        self.api = ServingApi(self._registry, self._batcher, settings.limits, metrics, self._report_health)
        self._grpc = GrpcServer(self.api, limits=settings.limits, tls=settings.tls, metrics=metrics)

    def listen(self) -> int:
        return self._grpc.listen(self._settings.host, self._settings.port)

    def load(self) -> None:
        try:
            self._registry.apply(self._settings.config)
        except ServingError as error:
            raise InputError(error.message) from error
        if self._settings.poll_seconds > 0:
            watcher = Repetition(self._refresh, self._settings.poll_seconds, name="version-watcher")
            self._watcher.enter_context(watcher)
        self._report_health()

    def _report_health(self) -> None:
        # A configuration is taken only when each of its models can be served.
        self._grpc.report_health(serving=self._registry.has_models())

    def _refresh(self) -> bool:
        try:
            self._registry.refresh()
        except Exception:
            logger.exception("the check for versions failed; the next one is in %s s", self._settings.poll_seconds)
        return True

    def drain(self, grace: float) -> None:
        self._grpc.stop(grace)

    def close(self, grace: float) -> None:
        self._grpc.stop(grace)
        self._watcher.close()
        self._batcher.close()
        self._registry.close(grace)
        self._grpc.close()
