"""Dead connections are seen on real sockets, before anybody is handed one."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cenote import AsyncPool, Pool, PoolTimeout, _sockets, _upkeep
from cenote._sockets import Sight
from cenote.testing import FakeClock
from tests.faces.peers import Answering, AsyncSocketConnector, Peer, SocketConnector
from tests.patience import SAFETY


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def used_once(pool: Pool[socket.socket]) -> socket.socket:
    with pool.connection() as connection:
        return connection


def test_the_end_of_the_stream_is_seen_without_a_round_trip(peer: Peer) -> None:
    connector = SocketConnector(peer)
    with Pool(connector) as pool:
        first = used_once(pool)
        peer.ends[0].close()
        with pool.connection() as connection:
            assert connection is not first
        assert pool.stats().dead_on_acquire == 1
        assert connector.pings == 0


async def test_the_end_of_the_stream_is_seen_in_asyncio_too(peer: Peer) -> None:
    connector = AsyncSocketConnector(peer)
    async with AsyncPool(connector) as pool:
        async with pool.connection() as first:
            pass
        peer.ends[0].close()
        async with pool.connection() as connection:
            assert connection is not first
        assert pool.stats().dead_on_acquire == 1
        assert connector.pings == 0


def test_unread_bytes_are_a_reason_to_ask_not_to_give_up(peer: Peer) -> None:
    connector = SocketConnector(peer)
    with Pool(connector) as pool:
        first = used_once(pool)
        peer.ends[0].sendall(b"n")  # a notice nobody asked for
        Answering(peer.ends[0])
        with pool.connection() as connection:
            assert connection is first
        assert connector.pings == 1
        assert pool.stats().dead_on_acquire == 0


async def test_unread_bytes_are_a_reason_to_ask_in_asyncio_too(peer: Peer) -> None:
    connector = AsyncSocketConnector(peer)
    async with AsyncPool(connector) as pool:
        async with pool.connection() as first:
            pass
        peer.ends[0].sendall(b"n")
        Answering(peer.ends[0])
        async with pool.connection() as connection:
            assert connection is first
        assert connector.pings == 1


def test_unread_bytes_with_no_way_to_ask_count_as_dead(peer: Peer) -> None:
    connector = SocketConnector(peer)
    with Pool(connector, connect_timeout="200ms") as pool:
        pool._hooks = type(pool._hooks)(fileno=connector.fileno)
        first = used_once(pool)
        peer.ends[0].sendall(b"n")
        with pool.connection() as connection:
            assert connection is not first


def test_a_silent_peer_is_cut_off_by_the_caller_s_deadline(peer: Peer) -> None:
    clock = FakeClock()
    with Pool(SocketConnector(peer), clock=clock) as pool:
        used_once(pool)
        clock.advance(61)
        caught: list[BaseException] = []

        def late() -> None:
            try:
                pool.connection(1)
            except PoolTimeout as error:
                caught.append(error)

        caller = threading.Thread(target=late, daemon=True)
        caller.start()
        assert peer.ends[0].recv(1) == b"?"  # now it waits for an answer that never comes
        clock.advance(1)
        ring_all_alarms()
        caller.join(SAFETY)
        (error,) = caught
        assert isinstance(error, PoolTimeout)
        assert error.phase == "check"
        assert pool.stats().in_use == 0


def ring_all_alarms() -> None:
    for _, _, alarm in list(_upkeep._thread._alarms):
        alarm.ring()


def test_one_cut_off_as_its_answer_came_is_not_handed_out(peer: Peer) -> None:
    class LastMoment(SocketConnector):
        def ping(self, connection: socket.socket) -> None:
            connection.settimeout(SAFETY)
            connection.recv(1)  # ends when it is cut off; the answer was there before

    with Pool(LastMoment(peer), ping_after=0) as pool:
        used_once(pool)
        with pytest.raises(PoolTimeout) as raised:
            pool.acquire(timeout=0.01)
        assert raised.value.phase == "check"
        assert pool.stats().idle == 0


async def test_one_cut_off_as_its_answer_came_is_not_handed_out_in_asyncio_either(peer: Peer) -> None:
    class LastMoment(AsyncSocketConnector):
        async def ping(self, connection: socket.socket) -> None:
            await asyncio.get_running_loop().sock_recv(connection, 1)  # as above

    async with AsyncPool(LastMoment(peer), ping_after=0) as pool:
        async with pool.connection():
            pass
        with pytest.raises(PoolTimeout) as raised:
            await pool.acquire(timeout=0.01)
        assert raised.value.phase == "check"
        assert pool.stats().idle == 0


def test_the_alarm_goes_off_by_itself(peer: Peer) -> None:
    connector = SocketConnector(peer)
    with Pool(connector, ping_after=0, connect_timeout="200ms") as pool:
        first = used_once(pool)
        with pool.connection() as connection:  # its ping is never answered
            assert connection is not first
        assert connector.pings == 1


async def test_a_silent_peer_costs_an_async_caller_its_connect_timeout(peer: Peer) -> None:
    async with AsyncPool(AsyncSocketConnector(peer), ping_after=0, connect_timeout="200ms") as pool:
        async with pool.connection() as first:
            pass
        async with pool.connection() as connection:
            assert connection is not first


def test_an_alarm_set_while_the_thread_plans_is_not_forgotten(peer: Peer) -> None:
    thread = _upkeep.Thread()
    thread._started = True  # it runs as this test says
    ours = peer.pair()
    rings = 0
    planned = threading.Event()

    class Alarm(_upkeep.Alarm):
        def ring(self) -> None:
            super().ring()
            planned.set()

    alarm = Alarm(_sockets.borrow(ours.fileno()), 0.05)

    def pools() -> list[Pool[socket.socket]]:
        nonlocal rings
        rings += 1
        if rings == 1:
            thread.set(alarm)  # after its look at the alarms, before its plan
        return []

    thread.pools = pools  # type: ignore[method-assign,assignment] # a moment that is hard to meet
    threading.Thread(target=thread._run, daemon=True).start()
    assert planned.wait(SAFETY)
    ours.close()


def test_an_alarm_that_fails_does_not_keep_the_others_from_ringing(caplog: pytest.LogCaptureFixture) -> None:
    thread = _upkeep.Thread()
    thread._started = True  # it never runs
    rung: list[str] = []

    class Due:
        at, live = 0.0, True

        def __init__(self, name: str) -> None:
            self.name = name

        def ring(self) -> None:
            rung.append(self.name)
            if self.name == "bad":
                raise OSError

    thread.set(Due("bad"))
    thread.set(Due("good"))
    thread._ring()
    assert rung == ["bad", "good"]
    assert "an alarm failed" in caplog.text


def test_alarms_that_are_over_do_not_pile_up_until_their_time() -> None:
    thread = _upkeep.Thread()
    thread._started = True  # it never runs

    class Over:
        at, live = float("inf"), False

        def ring(self) -> None:
            raise AssertionError

    class Pending(Over):
        live = True

    for _ in range(20_000):
        thread.set(Over())
    for _ in range(1000):
        thread.set(Pending())
    assert 1000 <= len(thread._alarms) < 4 * _upkeep.MANY_ALARMS + 1000
    assert sum(alarm.live for _, _, alarm in thread._alarms) == 1000


def test_an_alarm_cannot_hit_a_socket_that_got_the_number_later(peer: Peer) -> None:
    first, second = peer.pair(), peer.pair()
    number = first.fileno()
    entry: Any = _upkeep.alarm(number, 60)
    entry.__enter__()
    first.close()
    os.dup2(second.fileno(), number)  # whoever opens something next may get it
    entry.ring()
    with pytest.raises(TimeoutError, match="as the connection was cut off"):
        entry.__exit__(None, None, None)
    third = socket.socket(fileno=number)
    third.sendall(b"alive")
    assert peer.ends[1].recv(5) == b"alive"
    third.close()
    second.close()


def test_an_alarm_that_was_in_time_stays_silent(peer: Peer) -> None:
    ours = peer.pair()
    entry: Any = _upkeep.alarm(ours.fileno(), 60)
    with entry:
        pass
    entry.ring()
    ours.sendall(b"alive")
    assert peer.ends[0].recv(5) == b"alive"
    ours.close()


# ── what a look sees ───────────────────────────────────────────────────────────────────────────────


def test_a_look_tells_quiet_from_unread_from_dead(peer: Peer) -> None:
    ours = peer.pair()
    look = _sockets.watch(ours.fileno())
    assert look(0) == []
    assert _sockets.examine(ours.fileno()) is Sight.QUIET
    peer.ends[0].sendall(b"x")
    assert look(0)
    assert _sockets.examine(ours.fileno()) is Sight.UNREAD
    assert ours.recv(1) == b"x"  # it was not taken
    peer.ends[0].close()
    assert look(0)
    assert _sockets.examine(ours.fileno()) is Sight.DEAD
    ours.close()


def test_a_last_word_before_the_end_is_still_the_end(peer: Peer) -> None:
    ours = peer.pair()
    peer.ends[0].sendall(b"terminating connection due to administrator command")
    peer.ends[0].close()
    assert _sockets.examine(ours.fileno()) is Sight.DEAD
    ours.close()


def test_a_closed_number_is_dead(peer: Peer) -> None:
    ours = peer.pair()
    number = ours.fileno()
    look = _sockets.watch(number)
    ours.close()
    assert look(0)
    assert _sockets.examine(number) is Sight.DEAD


def test_a_look_leaves_the_driver_s_socket_as_it_is(peer: Peer) -> None:
    ours = peer.pair()
    _sockets.examine(ours.fileno())
    assert ours.getblocking()
    assert os.get_blocking(ours.fileno())
    ours.close()


def test_a_peek_serves_where_there_is_no_poll(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    monkeypatch.setattr(_sockets, "_RDHUP", 0)
    ours = peer.pair()
    look = _sockets.watch(ours.fileno())
    assert look(0) == []
    peer.ends[0].sendall(b"x")
    assert look(0)
    assert _sockets.examine(ours.fileno()) is Sight.UNREAD
    ours.recv(1)
    peer.ends[0].close()
    assert _sockets.examine(ours.fileno()) is Sight.DEAD
    ours.close()


def numbers() -> set[str]:
    return {file.name for file in Path("/proc/self/fd").iterdir() if file.exists()}


def keeps_numbers(number: int) -> bool:
    before = numbers()
    assert _sockets.peek(number) is Sight.DEAD
    _sockets.Farewell(number).end()
    with _upkeep.alarm(number, 1):
        pass
    return numbers() == before


def test_what_is_no_socket_is_looked_at_without_losing_numbers() -> None:
    reading, writing = os.pipe()
    # Now and then a thread that another test has left behind opens or closes something meanwhile.
    assert any(keeps_numbers(reading) for _ in range(20))
    os.close(reading)
    os.close(writing)


def test_a_watch_of_a_number_that_was_given_away_asks_the_driver_afresh(peer: Peer) -> None:
    connector = SocketConnector(peer)
    with Pool(connector) as pool:
        first = used_once(pool)
        number, other = first.fileno(), peer.pair()
        first.close()  # behind the pool's back
        os.dup2(other.fileno(), number)
        peer.ends[1].sendall(b"x")  # what the old watch sees is not ours
        with pool.connection() as connection:
            assert connection is not first
        assert pool.stats().dead_on_acquire == 1
        assert other.recv(1) == b"x"
        os.close(number)
        other.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    file = tmp_path / "peer.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*command, "-keyout", file, "-out", tmp_path / "crt"], check=True, capture_output=True)
    file.write_text(file.read_text() + (tmp_path / "crt").read_text())
    return file


class TLSConnector(SocketConnector):
    """Speaks TLS 1.3, whose session tickets come unasked."""

    def __init__(self, peer: Peer, certificate: Path) -> None:
        super().__init__(peer)
        self.certificate = certificate

    def connect(self, timeout: float) -> socket.socket:
        ours = self.peer.pair()
        theirs = self.peer.ends[-1]
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self.certificate)

        def serve() -> None:
            wrapped = server.wrap_socket(theirs, server_side=True)
            self.peer.ends[-1] = wrapped
            Answering(wrapped)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        wrapped = client.wrap_socket(ours)
        thread.join()
        return wrapped


def test_tls_records_that_nobody_asked_for_do_not_look_like_death(peer: Peer, certificate: Path) -> None:
    connector = TLSConnector(peer, certificate)
    with Pool(connector) as pool:
        first = used_once(pool)
        assert _sockets.examine(first.fileno()) is Sight.UNREAD  # its session tickets
        with pool.connection() as connection:
            assert connection is first
        assert connector.pings == 1
        with pool.connection() as connection:  # they are read now
            assert connection is first
        assert connector.pings == 1
        assert pool.stats().dead_on_acquire == 0
