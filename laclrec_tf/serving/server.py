"""The embedded server: TensorFlow Serving's protocol from one Python process, for a laptop and for tests."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from laclrec_tf.errors import InputError
from laclrec_tf.serving.model_store import ModelStore
from laclrec_tf.serving.services import ModelService, PredictionService

MAX_REQUEST_BYTES = 64 * 2**20


class ModelServer:
    """Serves the newest version of one model over gRPC, as TensorFlow Serving does.

    `PredictionService` answers `Predict` and `GetModelMetadata`, `ModelService` answers `GetModelStatus`; a
    client written for TensorFlow Serving works unchanged. One status differs: an unknown signature name is
    INVALID_ARGUMENT, as other mistakes in a request are; TensorFlow Serving says FAILED_PRECONDITION.

    Args:
        model_name: the name that requests must give.
        base_path: the model's folder, with one sub-folder for each version. What is exported later is served
            after a restart.
        host: address to listen on. Default: "127.0.0.1", this machine only.
        port: 0 for any free one. Default: 8500, TensorFlow Serving's.
        max_workers: requests answered at the same time. Default: 8.

    Raises:
        InputError: `port` or `max_workers` is out of its range.

    Example:
        >>> with ModelServer("shop", "saved_models/shop", port=0) as server:  # doctest: +SKIP
        ...     print(f"serving on 127.0.0.1:{server.port}")
    """

    def __init__(
        self,
        model_name: str,
        base_path: str | Path,
        host: str = "127.0.0.1",
        port: int = 8500,
        max_workers: int = 8,
    ) -> None:
        """Check the settings; `start` does the work."""
        if not 0 <= port <= 65535:
            raise InputError(f"Argument `port` must be between 0 and 65535. Received: port={port}.")
        if max_workers < 1:
            raise InputError(f"Argument `max_workers` must be at least 1. Received: max_workers={max_workers}.")
        self.model_name = model_name
        self.base_path = Path(base_path)
        self.host = host
        self.port = port
        self.max_workers = max_workers
        self._server: grpc.Server | None = None

    def start(self) -> int:
        """Load the newest version, warm it up and listen. A server that runs already is left as it is.

        Returns:
            The port.

        Raises:
            InputError: there is no version to serve, it is damaged, or the address cannot be listened on.
        """
        if self._server is None:
            store = ModelStore(self.model_name, self.base_path)
            server = grpc.server(
                ThreadPoolExecutor(self.max_workers, thread_name_prefix="predict"),
                options=[
                    # Without this, Linux lets a second server listen on the same port.
                    ("grpc.so_reuseport", 0),
                    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                    ("grpc.max_send_message_length", -1),
                ],
            )
            prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(store), server)
            model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(store), server)
            self.port = self._listen(server)
            server.start()
            self._server = server
        return self.port

    def stop(self, grace: float | None = None) -> threading.Event:
        """Take no new requests, end the running ones, and return at once.

        Args:
            grace: seconds the running requests may still take. Default: none, they are cancelled.

        Returns:
            An event that is set when all is over.
        """
        if self._server is None:
            over = threading.Event()
            over.set()
            return over
        server, self._server = self._server, None
        return server.stop(grace)

    def wait(self) -> None:
        """Block until the server was stopped."""
        if self._server is not None:
            self._server.wait_for_termination()

    def __enter__(self) -> ModelServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait until all is over."""
        self.stop().wait()

    def _listen(self, server: grpc.Server) -> int:
        address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        try:
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise InputError(
                f"Cannot listen on {address}: the port is in use, or the address is not this machine's. "
                "Stop the other server or give another port (`--port 0` takes a free one)."
            ) from error
