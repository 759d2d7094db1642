"""The embedded server in a process of its own, started as a user starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from laclrec_tf.errors import InputError
from laclrec_tf.serving.client.client import RetrievalClient

START_SECONDS = 300.0
STOP_SECONDS = 30.0


class ServerProcess:
    """`laclrec-tf serve MODEL` on a free port of this machine.

    Args:
        model: the model's folder; its name is the model's name.
        arguments: further arguments of `serve`. Default: none.

    Attributes:
        target: `HOST:PORT`, once started.

    Example:
        >>> with ServerProcess(Path("saved_models/shop")) as server:  # doctest: +SKIP
        ...     print(server.target, server.pid)
    """

    def __init__(self, model: Path, arguments: Sequence[str] = ()) -> None:
        self.model = model
        self.arguments = list(arguments)
        self.target = ""

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What the process ended with; None while it runs."""
        return self._process.poll()

    def __enter__(self) -> ServerProcess:
        """Start the server and wait until it has a version to answer with.

        Raises:
            InputError: it ended at once, or is not ready after five minutes.
        """
        port = _free_port()
        self.target = f"127.0.0.1:{port}"
        package = str(Path(__file__).resolve().parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "pipelines.cli", "serve", str(self.model), "--port", str(port)]
        # What it writes goes to a file: nobody reads a pipe while the load runs, and a full one would stop it.
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*command, *self.arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._wait_until_available()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server as Ctrl-C does; kill it when it does not end."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def last_line(self) -> str:
        """Return the last line that the server wrote."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _wait_until_available(self) -> None:
        end = time.monotonic() + START_SECONDS
        with RetrievalClient(self.target, self.model.resolve().name, timeout=5, retries=0) as client:
            while time.monotonic() < end:
                if self.exit_code is not None:
                    raise InputError(f"The server did not start: {self.last_line().removeprefix('laclrec-tf: ')}")
                try:
                    if "AVAILABLE" in client.status().values():
                        return
                except InputError:  # nobody listens yet
                    pass
                time.sleep(0.1)
        raise InputError(f"The server is not ready after {START_SECONDS:.0f} s. Its last words: {self.last_line()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
