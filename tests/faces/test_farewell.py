"""A place is free when the peer has closed, not when we have: servers count until then."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from cenote import AsyncPool, Pool, _sockets
from cenote.testing import EventLog
from tests.faces.peers import AsyncSocketConnector, Peer, SocketConnector
from tests.patience import SAFETY


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def test_the_place_is_not_free_before_the_peer_has_closed(peer: Peer) -> None:
    log = EventLog()
    with Pool(SocketConnector(peer), max_open=1, listener=log) as pool:
        pool.acquire().discard()
        assert peer.ends[0].recv(10) == b""  # we have closed
        assert pool.stats().closing == 1
        served = threading.Thread(target=lambda: pool.acquire().release(), daemon=True)
        served.start()
        log.wait("queued", 2)
        assert len(peer.ends) == 1
        peer.ends[0].close()
        served.join(SAFETY)
        log.wait("closed")
        assert len(peer.ends) == 2


async def test_the_place_is_not_free_before_the_peer_has_closed_in_asyncio_too(peer: Peer) -> None:
    async with AsyncPool(AsyncSocketConnector(peer), max_open=1) as pool:
        lease = await pool.acquire()
        lease.discard()
        waiting = asyncio.create_task(pool.acquire())
        loop = asyncio.get_running_loop()
        peer.ends[0].setblocking(False)
        assert await loop.sock_recv(peer.ends[0], 10) == b""
        assert pool.stats().closing == 1
        assert len(peer.ends) == 1
        peer.ends[0].close()
        await (await waiting).release()
        assert len(peer.ends) == 2


def test_a_peer_that_never_closes_holds_the_place_for_a_dial_s_time_only(peer: Peer) -> None:
    with Pool(SocketConnector(peer), max_open=1, connect_timeout="200ms") as pool:
        pool.acquire().discard()
        with pool.connection():
            assert len(peer.ends) == 2


def test_a_peer_that_never_stops_talking_cannot_hold_the_place_either() -> None:
    ours, theirs = socket.socketpair()
    farewell = _sockets.Farewell(ours.fileno())
    ours.close()
    stop = threading.Event()

    def talk() -> None:
        theirs.settimeout(SAFETY)
        while not stop.is_set():
            try:
                theirs.sendall(b"and another thing")
            except OSError:
                return

    talker = threading.Thread(target=talk, daemon=True)
    talker.start()
    farewell.part()
    farewell.wait(0.05)
    farewell.end()
    stop.set()
    talker.join(SAFETY)
    theirs.close()


def test_closing_the_pool_does_not_wait_for_goodbyes(peer: Peer) -> None:
    pool = Pool(SocketConnector(peer))
    with pool.connection():
        pass
    pool.close()  # the peer never closes
    assert pool.stats().open_connections == 0
    assert peer.ends[0].recv(10) == b""


def test_a_goodbye_that_hangs_is_cut_off(peer: Peer) -> None:
    def silent(connection: socket.socket) -> None:
        connection.recv(1)  # for an answer to our goodbye

    with Pool(SocketConnector(peer, silent), max_open=1, connect_timeout="200ms") as pool:
        pool.acquire().discard()
        with pool.connection():
            assert len(peer.ends) == 2


def test_a_datagram_socket_has_no_peer_to_wait_for() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        farewell = _sockets.Farewell(sock.fileno())
        assert farewell.sock is None
        farewell.part()
        farewell.wait(60)
        farewell.end()
