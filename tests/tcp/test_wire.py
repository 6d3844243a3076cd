"""A pulled wire loses everything, and tells nobody."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from cenote.testing import SAFETY
from tests.tcp.wire import pulled, unacknowledged

Ends = tuple[socket.socket, socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """One that listens, and the two ends of a connection to it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), SAFETY) as client,
    ):
        server, _ = listener.accept()
        with server:
            server.settimeout(SAFETY)
            yield listener, client, server


def seen(end: socket.socket) -> int:
    """Say what there is to see."""
    poller = select.poll()
    poller.register(end.fileno(), select.POLLIN | select.POLLRDHUP)
    return sum(flags for _, flags in poller.poll(0))


def test_what_is_sent_into_a_pulled_wire_is_neither_read_nor_acknowledged(ends: Ends) -> None:
    listener, client, server = ends
    with pulled(listener.getsockname()[1]) as count:
        assert count == 2
        client.sendall(b"hello")
        server.sendall(b"anybody there?")
        assert (unacknowledged(client.fileno()), unacknowledged(server.fileno())) == (5, 14)
        assert seen(client) == seen(server) == 0
    assert server.recv(100) == b"hello"
    assert client.recv(100) == b"anybody there?"


def test_the_goodbye_is_lost_too(ends: Ends) -> None:
    listener, client, server = ends
    with pulled(listener.getsockname()[1]):
        client.close()
        assert seen(server) == 0
    assert server.recv(100) == b""


def test_a_connection_opened_meanwhile_is_spared_and_can_be_refused(ends: Ends) -> None:
    address = ends[0].getsockname()
    with pulled(address[1]), socket.create_connection(address, SAFETY) as another:
        twin, _ = ends[0].accept()
        with twin:
            another.sendall(b"hello")
            assert twin.recv(100) == b"hello"
    with pulled(address[1], and_new_ones=True), pytest.raises(TimeoutError):
        socket.create_connection(address, 0.05)
    with socket.create_connection(address, SAFETY):
        pass
