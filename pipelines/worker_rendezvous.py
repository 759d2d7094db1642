"""Workers wait for each other before TensorFlow does, which would wait for an hour and could not be interrupted."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

from laclrec_tf.errors import InputError

_GO = b"go"


def meet(addresses: Sequence[str], index: int, patience: float) -> None:
    """Return when all workers have called this.

    The chief listens at its own address until every other one has told its number there.

    Args:
        addresses: `HOST:PORT` of each, the chief first.
        index: this one's number.
        patience: how many seconds to wait.

    Raises:
        InputError: some did not come in time, the chief cannot be reached, or an address is none; the message names it.

    Example:
        >>> meet(["127.0.0.1:2222"], 0, 1.0)  # alone
    """
    deadline = time.monotonic() + patience
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(f"A worker's address must be HOST:PORT. Received: {address!r}.")
    host, _, port = addresses[0].rpartition(":")
    try:
        if index == 0:
            _wait_for_others(int(port), len(addresses), deadline)
        else:
            _tell_chief(host, int(port), index, deadline)
    except _Missing as missing:
        raise InputError(
            f"Worker {index} of {len(addresses)} waited {patience:g} s for {missing} in vain: "
            f"{', '.join(addresses[each] for each in missing.workers)}. See the log there, and that each machine can "
            "reach the others' ports."
        ) from None
    except OSError as error:
        raise InputError(f"Worker {index} cannot listen at {addresses[0]}: {error.strerror}.") from error


class _Missing(Exception):
    def __init__(self, workers: Sequence[int]) -> None:
        super().__init__("worker " + ", ".join(map(str, workers)))
        self.workers = workers


def _wait_for_others(port: int, count: int, deadline: float) -> None:
    here: dict[int, socket.socket] = {}
    with ExitStack() as open_sockets, socket.create_server(("", port)) as listener:
        while len(here) < count - 1:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                raise _Missing([each for each in range(1, count) if each not in here])
            try:
                connection = open_sockets.enter_context(listener.accept()[0])
                connection.settimeout(1.0)
                told = connection.recv(16)
            except OSError:  # nobody came, or one who said nothing and left
                continue
            if told.isdigit() and 0 < int(told) < count:  # anybody may knock
                here[int(told)] = connection
        for worker, connection in here.items():
            try:
                connection.sendall(_GO)
            except OSError:
                raise _Missing([worker]) from None


def _tell_chief(host: str, port: int, index: int, deadline: float) -> None:
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, port), timeout=max(0.01, deadline - time.monotonic())) as chief:
                chief.sendall(str(index).encode())
                if chief.recv(16) == _GO:
                    return
        except OSError:  # not up yet, or gone and coming back
            pass
        time.sleep(0.2)
    raise _Missing([0])
