"""Ask a server, or a SavedModel on disk, for recommendations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.answers import Recommendation
from laclrec_tf.serving.client.client import RetrievalClient
from laclrec_tf.serving.client.queries import HistoryQueries


def recommend(
    history: Sequence[str],
    *,
    server: str | None = None,
    model_name: str | None = None,
    model: str | Path | None = None,
    k: int = 10,
    exclude: Sequence[str] = (),
    allow: Sequence[str] = (),
    exclude_history: bool = True,
    version: int | None = None,
    version_label: str | None = None,
    root_certificates: str | Path | None = None,
    client_certificate: str | Path | None = None,
    client_key: str | Path | None = None,
    show_progress: bool = True,
) -> Recommendation:
    """Recommend the next items for one history.

    Args:
        history: item ids, oldest first.
        server: `HOST:PORT` of a running server; needs `model_name`.
        model_name: the model's name on the server.
        model: or a SavedModel folder, `saved_models/NAME` or one version in it.
        k: how many items. Default: 10.
        exclude: item ids never to recommend. Default: none.
        allow: the only item ids to recommend. Default: every item may come.
        exclude_history: never recommend an item of the history. Default: True.
        version: of the model on the server. Default: the one that the server takes.
        version_label: or the version with this label. Default: none.
        root_certificates: PEM file of the authorities of the server's certificate; turns TLS on. Default: no TLS.
        client_certificate: PEM file of the client's certificate, for mutual TLS. Default: none.
        client_key: PEM file of its key. Default: none.
        show_progress: Default: True.

    Returns:
        `Recommendation` with `item_ids` and `scores`, best first, and how many items of the history are unknown.

    Raises:
        InputError: not exactly one of `server` and `model` is given, `model_name` is missing with `server`, what is
            meant for a server comes with `model`, or the answer is an error.
    """
    if (server is None) == (model is None):
        raise InputError("Give either --server HOST:PORT with --model-name NAME, or --model DIR.")
    if server is not None and model_name is None:
        raise InputError("--server needs --model-name NAME, the name of the model's folder on the server.")
    for_a_server = {
        "--version": version,
        "--version-label": version_label,
        "--tls-ca": root_certificates,
        "--tls-certificate": client_certificate,
        "--tls-key": client_key,
    }
    asked: HistoryQueries
    if model is not None:
        if model_name is not None:
            raise InputError(
                f"--model-name is a name on a server, and a folder holds one model. Received: {model_name!r}. "
                "Leave it out with --model DIR."
            )
        given = [f"{name} {value}" for name, value in for_a_server.items() if value is not None]
        if given:
            raise InputError(f"{given[0]} is for a server. Leave it out with --model DIR.")
        asked = _local_model(model, show_progress)
    else:
        assert server is not None and model_name is not None
        asked = RetrievalClient(
            server,
            model_name,
            version=version,
            version_label=version_label,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
        )
    with closing(asked) if isinstance(asked, RetrievalClient) else nullcontext():
        return asked.recommend(history, k=k, exclude=exclude, allow=allow, exclude_history=exclude_history)[0]


def _local_model(model: str | Path, show_progress: bool) -> HistoryQueries:
    # Imported late: a server is asked without TensorFlow, a folder is not.
    from laclrec_tf.runtime.terminal import spinner
    from laclrec_tf.serving.local.models import LocalModel

    with spinner(f"loading {model}", disable=not show_progress):
        return LocalModel(model)
