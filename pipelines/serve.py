"""Serve SavedModels with the embedded server."""

from __future__ import annotations

import gc
import signal
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.serving.request_batcher import Batching, BatchingParameters
from laclrec_tf.serving.request_limits import RequestLimits
from laclrec_tf.serving.server import ModelServer
from laclrec_tf.serving.serving_api import Metrics
from laclrec_tf.serving.tls import TlsFiles
from pipelines.progress import spinner
from pipelines.terminal import terminal


@dataclass(frozen=True)
class ServeSettings:
    """How a server listens, watches and stops; `ModelServer` says more of each.

    Args:
        host: address to listen on. Default: this machine only.
        port: gRPC port, 0 for any free one. Default: 8500, TensorFlow Serving's.
        poll_seconds: seconds between two looks for new versions, 0 for never. Default: 1.
        grace_seconds: seconds that running requests may take after SIGTERM. Default: 5.
        batching: how requests are run together. Default: `Batching()`.
        limits: what a request may ask for. Default: `RequestLimits()`.
        tls: certificates. Default: no TLS.
        metrics: where requests are counted. Default: nowhere.
        intra_op_threads: processors that one operation may use, 0 for all. Default: 1.
    """

    host: str = "127.0.0.1"
    port: int = 8500
    poll_seconds: float = 1.0
    grace_seconds: float = 5.0
    batching: BatchingParameters | None = None
    limits: RequestLimits | None = None
    tls: TlsFiles | None = None
    metrics: Metrics | None = None
    intra_op_threads: int = 1

    def __post_init__(self) -> None:
        """Check what the server does not."""
        if not self.grace_seconds >= 0:
            raise InputError(
                f"Argument `grace_seconds` must be at least 0. Received: grace_seconds={self.grace_seconds}."
            )


def serve(
    model: str | Path | None = None,
    *,
    config: ModelServerConfig | None = None,
    settings: ServeSettings | None = None,
) -> None:
    """Serve the newest version in `model`, or the models of a configuration, until SIGINT or SIGTERM.

    Args:
        model: the model's folder, usually `saved_models/NAME`; its name is the model's name.
        config: or several models, with version policies and labels.
        settings: Default: `ServeSettings()`.

    Raises:
        InputError: not exactly one of `model` and `config` is given, there is no version to serve, or the port is
            in use.
    """
    if (model is None) == (config is None):
        raise InputError("Give either a model's folder or --model-config FILE.")
    server = _server(model, config, settings or ServeSettings())
    names = [entry.name for entry in server.config.model_config_list.config]
    with spinner(f"loading {model if config is None else ', '.join(names)}"):
        bound = server.start()
    # What is there now stays: looking through it again and again would stop requests for a tenth of a second.
    gc.collect()
    gc.freeze()

    def stop(number: int, frame: FrameType | None) -> None:
        server.stop(grace=(settings or ServeSettings()).grace_seconds)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    terminal(stderr=True).print(
        f"serving {', '.join(names)} on {server.host}:{bound} (gRPC, TensorFlow Serving's protocol); Ctrl-C stops"
    )
    server.wait()


def served_config(path: str | Path) -> ModelServerConfig:
    """Read TensorFlow Serving's `models.config`.

    Args:
        path: the file, in protobuf's text format.

    Raises:
        InputError: the file cannot be read, or is not in the format.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return text_format.Parse(text, ModelServerConfig())
    except OSError as error:
        raise InputError(f"Cannot read {path}: {reason_of(error)}.") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no models.config: {error}.") from error


def tls_of(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """Make TLS of the flags --tls-cert, --tls-key and --client-ca; see `TlsFiles.given`."""
    return TlsFiles.given(certificate, key, client_ca)


def batching_of(**parameters: int | None) -> Batching:
    """Make batching parameters of flags; None is the default.

    Args:
        parameters: those of `Batching`.

    Raises:
        InputError: one is out of its range.

    Example:
        >>> batching_of(max_batch_size=8, batch_timeout_micros=None).max_batch_size
        8
    """
    return Batching(**{name: value for name, value in parameters.items() if value is not None})


def limits_of(**limits: int | None) -> RequestLimits:
    """Make limits of flags; None is the default.

    Args:
        limits: those of `RequestLimits`.

    Raises:
        InputError: one is out of its range.

    Example:
        >>> limits_of(max_k=100).max_k
        100
    """
    return RequestLimits(**{name: value for name, value in limits.items() if value is not None})


def _server(model: str | Path | None, config: ModelServerConfig | None, settings: ServeSettings) -> ModelServer:
    folder = None if model is None else Path(model)
    return ModelServer(
        None if folder is None else folder.resolve().name,
        folder,
        settings.host,
        settings.port,
        config=config,
        poll_seconds=settings.poll_seconds,
        batching=settings.batching,
        limits=settings.limits,
        tls=settings.tls,
        metrics=settings.metrics,
        intra_op_threads=settings.intra_op_threads,
    )
