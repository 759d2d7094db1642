"""Recommend for one history, from a server or from a SavedModel on disk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from laclrec_tf.errors import InputError
from laclrec_tf.runtime.terminal import spinner
from laclrec_tf.serving.client.answers import Recommendation
from laclrec_tf.serving.client.client import RetrievalClient

# Options of the command whose names are not those of the arguments.
OPTIONS = {"root_certificates": "tls-ca", "client_certificate": "tls-certificate", "client_key": "tls-key"}


def recommend(
    history: Sequence[str],
    *,
    server: str | None = None,
    model_name: str | None = None,
    model: str | Path | None = None,
    k: int = 10,
    exclude: Sequence[str] = (),
    allow: Sequence[str] = (),
    exclude_history: bool | None = None,
    wait: float | None = None,
    show_progress: bool = True,
    **connection: Any,
) -> Recommendation:
    """Recommend the next items for one history.

    Args:
        history: item ids, oldest first.
        server: address of a running server, `HOST:PORT`; needs `model_name`.
        model_name: name of the model on the server.
        model: SavedModel folder, `saved_models/NAME` or one version in it, in place of `server`.
        k: max number of items. Default: 10.
        exclude: item ids never to recommend. Default: none.
        allow: the only item ids to recommend. Default: no restriction.
        exclude_history: whether to exclude the items of the history. Default: as the model was trained.
        wait: max seconds to wait for a server that is starting, only with `server`. Default: do not wait.
        show_progress: whether to show that the model is being loaded, or the server waited for. Default: True.
        **connection: further arguments of `RetrievalClient`, such as `version_label` and `root_certificates`, only with
            `server`. None is the same as the default.

    Returns:
        `Recommendation` with `item_ids` and `scores`, best first, and the number of unknown items of the history.

    Raises:
        InputError: not exactly one of `server` and `model` is given, `model_name` is missing with `server`, an
            argument for a server is given with `model`, or the model cannot answer.
    """
    query: dict[str, Any] = {"k": k, "exclude": exclude, "allow": allow, "exclude_history": exclude_history}
    connection = {name: value for name, value in connection.items() if value is not None}
    if server is not None and model is None:
        if model_name is None:
            raise InputError("--server needs --model-name NAME, the name of the model's folder on the server.")
        if wait is not None:
            if not wait > 0:
                raise InputError(f"--wait must be above 0. Received: --wait {wait:g}.")
            connection |= {"timeout": wait, "wait_for_ready": True}
        with (
            closing(RetrievalClient(server, model_name, **connection)) as client,
            spinner(f"waiting for {server}", disable=wait is None or not show_progress),
        ):
            return client.recommend(history, **query)[0]
    if model is None or server is not None:
        raise InputError("Give either --server HOST:PORT with --model-name NAME, or --model DIR.")
    if model_name is not None:
        raise InputError(
            f"--model-name selects a model on a server, and a folder has only one. Received: {model_name!r}. "
            "Remove it, or give --server in place of --model."
        )
    connection |= {} if wait is None else {"wait": f"{wait:g}"}
    if connection:
        name, value = next(iter(connection.items()))
        option = OPTIONS.get(name, name.replace("_", "-"))
        raise InputError(f"--{option} {value} is for a server. Remove it, or give --server in place of --model.")
    # Imported late, so that a query to a server does not load TensorFlow.
    from laclrec_tf.serving.local.models import LocalModel

    with spinner(f"loading {model}", disable=not show_progress):
        local = LocalModel(model)
    return local.recommend(history, **query)[0]
