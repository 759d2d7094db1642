"""Ask a server, or a SavedModel on disk, for recommendations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from laclrec_tf.errors import InputError
from laclrec_tf.serving.client import RetrievalClient
from laclrec_tf.serving.local_model import LocalModel
from laclrec_tf.serving.recommendation import Recommendation
from pipelines.progress import spinner


def recommend(
    history: Sequence[str],
    *,
    server: str | None = None,
    model_name: str | None = None,
    model: str | Path | None = None,
    k: int = 10,
    exclude: Sequence[str] = (),
    show_progress: bool = True,
) -> Recommendation:
    """Recommend the next items for one history.

    Args:
        history: item ids, oldest first.
        server: `HOST:PORT` of a running server; needs `model_name`.
        model_name: the model's name on the server.
        model: or a SavedModel folder, `saved_models/NAME` or one version in it.
        k: how many items. Default: 10.
        exclude: item ids never to recommend. Default: none; the history's own items never come.
        show_progress: Default: True.

    Returns:
        `Recommendation` with `item_ids` and `scores`, best first.

    Raises:
        InputError: not exactly one of `server` and `model` is given, `model_name` comes with `model` or is missing
            with `server`, or the answer is an error.
    """
    if (server is None) == (model is None):
        raise InputError("Give either --server HOST:PORT with --model-name NAME, or --model DIR.")
    if server is not None and model_name is None:
        raise InputError("--server needs --model-name NAME, the name of the model's folder on the server.")
    if model is not None:
        if model_name is not None:
            raise InputError(
                f"--model-name is a name on a server, and a folder holds one model. Received: {model_name!r}. "
                "Leave it out with --model DIR."
            )
        with spinner(f"loading {model}", disable=not show_progress):
            local = LocalModel(model)
        return local.recommend(history, k=k, exclude=exclude)[0]
    assert server is not None and model_name is not None
    with RetrievalClient(server, model_name) as client:
        return client.recommend(history, k=k, exclude=exclude)[0]
