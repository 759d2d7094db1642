"""Serve a SavedModel with the embedded server."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

from laclrec_tf.serving.server import ModelServer
from pipelines.progress import spinner
from pipelines.terminal import terminal


def serve(model: str | Path, *, host: str = "127.0.0.1", port: int = 8500) -> None:
    """Serve the newest version in `model` until SIGINT or SIGTERM.

    Args:
        model: the model's folder, usually `saved_models/NAME`; its name is the model's name.
        host: address to listen on. Default: this machine only.
        port: gRPC port, 0 for any free one. Default: 8500, TensorFlow Serving's.

    Raises:
        InputError: there is no version to serve, or the port is in use.
    """
    model = Path(model)
    server = ModelServer(model.resolve().name, model, host=host, port=port)
    with spinner(f"loading {model}"):
        bound = server.start()

    def stop(number: int, frame: FrameType | None) -> None:
        server.stop(grace=5)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    terminal(stderr=True).print(
        f"serving {server.model_name} on {host}:{bound} (gRPC, TensorFlow Serving's protocol); Ctrl-C stops"
    )
    server.wait()
