"""Serve a page on this machine to explore a model by hand."""

from __future__ import annotations

import importlib
import socket
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from laclrec_tf.data.item_vectors import read_titles
from laclrec_tf.errors import InputError, reason_of
from laclrec_tf.explorer.answers import ItemSearch
from laclrec_tf.runtime.terminal import terminal
from laclrec_tf.serving.client.client import AsyncRetrievalClient
from laclrec_tf.serving.client.connection import ModelEndpoint
from laclrec_tf.serving.version.metadata import ServedItems

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST = "127.0.0.1"
ALLOWED_HOSTS = [HOST, "localhost"]  # requests under another name come from another site
ANSWER_SECONDS = 30.0


def explore(
    model: str | Path,
    *,
    titles: str | Path | None = None,
    title_item_column: str = "item_id",
    title_column: str = "title",
    exclude_history: bool | None = None,
    server: str | None = None,
    port: int = 8080,
    open_browser: bool = True,
) -> None:
    """Serve a page to explore a model until SIGINT or SIGTERM. Call it only once per process.

    Args:
        model: The model's folder, usually `saved_models/NAME`. Its newest version is explored.
        titles: File of items and their titles, see `read_titles`. Default: None, no titles.
        title_item_column: Name of its column of item ids. Default: "item_id".
        title_column: Name of its column of titles. Default: "title".
        exclude_history: Whether to recommend no item of the history. Default: None, as the version says.
        server: `HOST:PORT` of a running server that serves the folder under the folder's name. Default: None; the
            embedded server is started.
        port: Port of the page, 0 for any free port. Default: 8080.
        open_browser: Whether to open the page in a browser. Default: True.

    Raises:
        InputError: NiceGUI is not installed, there is no model, the titles cannot be read, or the port is in use.

    Example:
        >>> explore("saved_models/shop", titles="titles.csv")  # doctest: +SKIP
    """
    model = Path(model)
    check_nicegui()
    if not 0 <= port <= 65535:
        raise InputError(f"Argument `port` must be between 0 and 65535. Received: port={port}.")
    items = ServedItems.read(model)
    if exclude_history is not None:
        items = replace(items, exclude_history=exclude_history)
    named = {} if titles is None else read_titles(titles, item_column=title_item_column, title_column=title_column)
    name = model.resolve().name
    if server is not None:
        ModelEndpoint(server, name)  # checks the address
    with _listening(port) as listener, _answering(model, name, server) as target:
        app = _app(name, target, items, named)
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        console = terminal(stderr=True)
        if named and not any(item in items.vocabulary for item in named):
            console.print(f"no item_id in {titles} is an item of the model: the page shows no titles")
        console.print(f"exploring {name} on {url}; Ctrl-C stops")
        if open_browser:
            webbrowser.open(url)  # the socket listens already, so the browser waits for the page
        with suppress(KeyboardInterrupt):  # Ctrl-C is the normal end
            _serve(app, listener)


def check_nicegui() -> None:
    """Check that NiceGUI, an optional dependency, is installed.

    Raises:
        InputError: It is not installed.

    Example:
        >>> check_nicegui()
    """
    try:
        importlib.import_module("nicegui")
    except ImportError:
        raise InputError(
            "The explorer needs NiceGUI, which is not installed. Install it: pip install 'laclrec-tf[explore]'."
        ) from None


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise InputError(
            f"Cannot listen on {HOST}, port {port}: {reason_of(error)}. "
            "Give another port (`--port 0` takes a free one)."
        ) from error
    with listener:
        yield listener


@contextmanager
def _answering(model: Path, name: str, server: str | None) -> Iterator[str]:
    if server is not None:
        yield server
        return
    # Only the embedded server needs TensorFlow.
    from laclrec_tf.runtime.terminal import spinner
    from laclrec_tf.serving.server.server import ModelServer

    # The page knows the items of one version only, so the server does not load later ones.
    embedded = ModelServer(name, model, HOST, 0, poll_seconds=0)
    with spinner(f"loading {model}"):
        port = embedded.start()
    try:
        yield f"{HOST}:{port}"
    finally:
        embedded.stop().wait()


def _app(name: str, target: str, items: ServedItems, titles: dict[str, str]) -> FastAPI:
    from fastapi import FastAPI
    from nicegui import app as pages
    from nicegui import ui
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from laclrec_tf.explorer.answers import ExplorerAnswers
    from laclrec_tf.explorer.page import ExplorerPage

    search = ItemSearch(items.vocabulary.items, titles)
    opened: list[ExplorerAnswers] = []

    async def connect() -> None:  # in the event loop of the pages
        opened.append(ExplorerAnswers(AsyncRetrievalClient(target, name, timeout=ANSWER_SECONDS), items))

    async def disconnect() -> None:
        await opened.pop().client.close()

    pages.on_startup(connect)
    pages.on_shutdown(disconnect)
    app = FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=ALLOWED_HOSTS)
    ui.run_with(
        app,
        root=lambda: ExplorerPage(name, opened[0], search, titles),
        title=f"{name} · explorer",
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    return app


def _serve(app: FastAPI, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app, loop="asyncio", log_config=None, access_log=False, proxy_headers=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listener])
