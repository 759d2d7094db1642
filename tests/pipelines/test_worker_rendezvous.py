"""Workers that wait for each other, on loopback."""

from __future__ import annotations

import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from laclrec_tf.errors import InputError
from laclrec_tf.training.workers import meet


@pytest.fixture
def addresses() -> list[str]:
    """Return three addresses at which nobody listens yet."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return [f"127.0.0.1:{port}" for port in ports]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_all_go_on_when_the_last_one_is_there(addresses, order):
    with ThreadPoolExecutor(3) as pool:
        first, second = (pool.submit(meet, addresses, index, 20.0) for index in order[:2])
        with pytest.raises(TimeoutError):
            second.result(timeout=0.5)
        assert not first.done()
        meet(addresses, order[2], 20.0)
        first.result(timeout=5)
        second.result(timeout=5)


def test_who_never_comes_up_is_named(addresses):
    other = threading.Thread(target=lambda: pytest.raises(InputError, meet, addresses, 1, 0.6))
    other.start()
    with pytest.raises(InputError, match=f"waited 0.5 s for worker 2 in vain: {addresses[2]}"):
        meet(addresses, 0, 0.5)
    other.join()


def test_a_chief_that_never_comes_up_is_named(addresses):
    with pytest.raises(InputError, match=f"Worker 1 of 3 waited 0.3 s for worker 0 in vain: {addresses[0]}"):
        meet(addresses, 1, 0.3)


def test_a_stranger_at_the_door_counts_for_nobody(addresses):
    def knock() -> None:
        host, _, port = addresses[0].rpartition(":")
        for said in (b"GET / HTTP/1.1", b"7", b"0"):
            while True:
                try:
                    with socket.create_connection((host, int(port))) as chief:
                        chief.sendall(said)
                    break
                except ConnectionRefusedError:
                    continue

    stranger = threading.Thread(target=knock)
    stranger.start()
    with pytest.raises(InputError, match="worker 1, 2 in vain"):
        meet(addresses, 0, 1.0)
    stranger.join()


def test_an_address_is_host_and_port():
    with pytest.raises(InputError, match="must be HOST:PORT"):
        meet(["nowhere", "nobody:1"], 1, 0.1)


@pytest.mark.parametrize("address", ["b", "b:", ":1", "b:0", "b:65536", "b:x"])
def test_every_address_is_looked_at(address):
    with pytest.raises(InputError, match=f"must be HOST:PORT. Received: '{address}'"):
        meet(["127.0.0.1:2222", address], 0, 0.1)


def test_one_who_knocks_and_runs_away_stops_nobody(addresses):
    """A port scan ends its connection by a reset."""

    def run_away() -> None:
        host, _, port = addresses[0].rpartition(":")
        while True:
            try:
                stranger = socket.create_connection((host, int(port)))
            except ConnectionRefusedError:
                continue
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stranger.close()
            return

    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(meet, addresses, 0, 20.0)
        run_away()
        others = [pool.submit(meet, addresses, index, 20.0) for index in (1, 2)]
        # None of them refuses.
        assert [each.exception(timeout=20) for each in (chief, *others)] == [None] * 3
