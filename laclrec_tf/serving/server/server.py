"""The embedded server: TensorFlow Serving's protocol from one Python process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from laclrec_tf.errors import InputError
from laclrec_tf.serving.errors import ServingError
from laclrec_tf.serving.server.api import ServingApi
from laclrec_tf.serving.server.batcher import RequestBatcher
from laclrec_tf.serving.server.batching import BatchingParameters
from laclrec_tf.serving.server.grpc_server import GrpcServer
from laclrec_tf.serving.server.limits import RequestLimits
from laclrec_tf.serving.server.metrics import Metrics
from laclrec_tf.serving.server.registry import ModelRegistry
from laclrec_tf.serving.tls import TlsFiles
from laclrec_tf.serving.version.folder import newest_version

logger = logging.getLogger(__name__)


class VersionWatcher:
    """Calls a function every few seconds, in a thread of its own, whatever becomes of it.

    Args:
        refresh: what to call.
        poll_seconds: seconds between two calls. 0: it is never called.

    Example:
        >>> with VersionWatcher(print, poll_seconds=0):
        ...     pass
    """

    def __init__(self, refresh: Callable[[], None], poll_seconds: float) -> None:
        """Keep both; `start` begins."""
        self._refresh = refresh
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to call."""
        if self._poll_seconds > 0:
            self._thread = threading.Thread(target=self._watch, name="version-watcher", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Call no more; a call that is running is waited for."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> VersionWatcher:
        """Start."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.stop()

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._refresh()
            except Exception:
                logger.exception("looking for versions failed; the next look is in %s s", self._poll_seconds)


class ModelServer:
    """Serves models over gRPC, as TensorFlow Serving does.

    `PredictionService` answers `Predict` and `GetModelMetadata`, `ModelService` answers `GetModelStatus` and
    `HandleReloadConfigRequest`; standard health and reflection services stand beside them. A client written for
    TensorFlow Serving works unchanged. One status differs: an unknown signature name is INVALID_ARGUMENT, as
    other mistakes in a request are; TensorFlow Serving says FAILED_PRECONDITION.

    Args:
        model_name: the name that requests must give.
        base_path: the model's folder, with one sub-folder for each version; the newest is served.
        host: address to listen on. Default: "127.0.0.1", this machine only.
        port: 0 for any free one. Default: 8500, TensorFlow Serving's.
        config: several models, or other version policies than the newest, in the place of `model_name` and
            `base_path`. Default: the one model.
        poll_seconds: how often the folders are looked at for versions that came or went. 0: never. Default: 1.
        batching: how requests are run together. Default: `BatchingParameters()`.
        limits: what a request may ask for. Default: `RequestLimits()`.
        tls: certificates. Default: none, no TLS.
        metrics: where requests are counted. Default: nowhere.
        intra_op_threads: processors that one operation of a model may use, 0 for all. 1 costs the least processor
            time; more shorten the answer over catalogues of a million items. It holds for a process that has not
            run TensorFlow before. Default: 1.

    Attributes:
        api: after `start`, what answers; another face, such as REST, can be put on it.

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
        """Check the settings; `start` does the work."""
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
        self.config = config or _config_of(str(model_name), Path(str(base_path)))
        self.host, self.port = host, port
        self.poll_seconds = poll_seconds
        self.batching: BatchingParameters = batching or BatchingParameters()
        self.limits = limits or RequestLimits()
        self.tls = tls
        self.metrics = metrics
        self.intra_op_threads = intra_op_threads
        self.api: ServingApi | None = None
        self._running: _RunningServer | None = None
        self._over = threading.Event()
        self._over.set()

    def __repr__(self) -> str:
        names = ", ".join(each.name for each in self.config.model_config_list.config)
        return f"ModelServer({names}: {f'on {self.host}:{self.port}' if self._running else 'not running'})"

    def start(self) -> int:
        """Listen, load the models, and answer. A server that runs already is left as it is.

        It listens first, so that a health check sees NOT_SERVING while models are loaded.

        Returns:
            The port.

        Raises:
            InputError: there is no version to serve, it does not load, or the port is in use.
        """
        if self._running is None:
            if self.base_path is not None:
                newest_version(self.base_path)  # says best what is wrong with a folder
            running = _RunningServer(self)
            try:
                self.port = running.listen()
                running.load()
            except BaseException:
                running.close(0.0)
                raise
            self.api, self._running = running.api, running
            self._over = threading.Event()
        return self.port

    def stop(self, grace: float | None = None) -> threading.Event:
        """Take no new requests, end the running ones, and return at once.

        Args:
            grace: seconds the running requests may still take. Default: none, they are cancelled.

        Returns:
            An event that is set when all is over.
        """
        running, self._running = self._running, None
        over = self._over
        if running is not None:

            def close() -> None:
                try:
                    running.close(grace or 0.0)
                finally:
                    over.set()

            threading.Thread(target=close, name="server-stop").start()
        return over

    def wait(self) -> None:
        """Block until the server was stopped."""
        self._over.wait()

    def __enter__(self) -> ModelServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait until all is over."""
        self.stop().wait()


class _RunningServer:
    """What lives from `start` to `stop`."""

    def __init__(self, settings: ModelServer) -> None:
        metrics = settings.metrics
        self._settings = settings
        self._registry = ModelRegistry(settings.intra_op_threads, metrics.set_version_state if metrics else None)
        self._batcher = RequestBatcher(settings.batching, metrics.observe_batch if metrics else None)
        self._watcher = VersionWatcher(self._registry.refresh, settings.poll_seconds)
        self.api = ServingApi(self._registry, self._batcher, settings.limits, metrics)
        self._grpc = GrpcServer(self.api, limits=settings.limits, tls=settings.tls, metrics=metrics)

    def listen(self) -> int:
        return self._grpc.listen(self._settings.host, self._settings.port)

    def load(self) -> None:
        try:
            self._registry.apply(self._settings.config)
        except ServingError as error:
            raise InputError(error.message) from error
        self._watcher.start()
        self._grpc.say_serving()

    def close(self, grace: float) -> None:
        self._grpc.stop(grace)
        self._watcher.stop()
        self._batcher.close()
        self._registry.close(grace)
        self._grpc.close()


def _config_of(model_name: str, base_path: Path) -> ModelServerConfig:
    config = ModelServerConfig()
    config.model_config_list.config.add(name=model_name, base_path=str(base_path), model_platform="tensorflow")
    return config
