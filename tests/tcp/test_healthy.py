"""What only the user can say of a plain connection: whether the peer is well, and how to connect to it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import cenote
from cenote import AsyncPool, Pool, _upkeep
from cenote.drivers.tcp import AsyncTCPConnector, Stream, TCPConnector
from cenote.testing import EventLog, FakeClock
from tests.tcp.conftest import Run
from tests.tcp.server import LineServer, ask, ask_async


def test_a_peer_that_has_fallen_silent_is_found_by_keepalive(server: LineServer) -> None:
    clock, log = FakeClock(), EventLog()
    connector = TCPConnector(server.host, server.port, healthy=lambda sock: ask(sock, "hello") == "hello")
    with Pool(connector, keepalive="10s", connect_timeout=0.5, clock=clock, listener=log) as pool:
        with pool.connection() as connection:
            ask(connection, "hello")
        server.silent = True
        clock.advance(10)
        _upkeep.wake(pool)
        log.wait("closing")
        assert log.reasons("closing") == ["keepalive"]


async def test_a_peer_that_has_fallen_silent_is_found_by_keepalive_in_asyncio(server: LineServer) -> None:
    async def healthy(connection: Stream) -> bool:
        return await ask_async(connection, "hello") == "hello"

    clock, log = FakeClock(), EventLog()
    connector = AsyncTCPConnector(server.host, server.port, healthy=healthy)
    async with AsyncPool(connector, keepalive="10s", connect_timeout=0.5, clock=clock, listener=log) as pool:
        async with pool.connection() as connection:
            await ask_async(connection, "hello")
        server.silent = True
        clock.advance(10)
        pool._wake_upkeep()
        await log.arrival("closing")
        assert log.reasons("closing") == ["keepalive"]


def test_a_question_that_is_not_answered_is_cut_off(server: LineServer) -> None:
    connector = TCPConnector(server.host, server.port, healthy=lambda sock: ask(sock, "mute"))
    with Pool(connector, ping_after=0, connect_timeout=0.5) as pool:
        with pool.connection() as first:
            pass
        with pool.connection() as second:
            assert second is not first
        assert pool.stats().dead_on_acquire == 1


async def test_a_question_that_is_not_answered_is_cut_off_in_asyncio(server: LineServer) -> None:
    async def healthy(connection: Stream) -> bool:
        return await ask_async(connection, "mute") == "mute"

    connector = AsyncTCPConnector(server.host, server.port, healthy=healthy)
    async with AsyncPool(connector, ping_after=0, connect_timeout=0.5) as pool:
        async with pool.connection() as first:
            pass
        async with pool.connection() as second:
            assert second is not first
        assert pool.stats().dead_on_acquire == 1


def test_who_says_that_he_is_not_well_is_replaced(server: LineServer) -> None:
    connector = TCPConnector(server.host, server.port, healthy=lambda _: False)
    with Pool(connector, ping_after=0) as pool:
        with pool.connection() as first:
            pass
        with pool.connection() as second:
            assert second is not first
        with pytest.raises(cenote.ConnectError, match="healthy"):
            pool.ping()


async def test_who_says_that_he_is_not_well_is_replaced_in_asyncio(server: LineServer) -> None:
    async with AsyncPool(
        AsyncTCPConnector(server.host, server.port, healthy=lambda _: False), ping_after=0
    ) as pool:
        async with pool.connection() as first:
            pass
        async with pool.connection() as second:
            assert second is not first
        with pytest.raises(cenote.ConnectError, match="healthy"):
            await pool.ping()


async def test_healthy_may_be_plain_or_a_coroutine_function(server: LineServer) -> None:
    asked: list[object] = []

    async def healthy(connection: Stream) -> bool:
        asked.append(connection)
        return await ask_async(connection, "hello") == "hello"

    def plain(connection: Stream) -> bool:
        asked.append(connection)
        return True

    for question in (healthy, plain):
        connector = AsyncTCPConnector(server.host, server.port, healthy=question)
        async with AsyncPool(connector, ping_after=0) as pool:
            async with pool.connection() as first:
                pass
            async with pool.connection() as second:
                assert second is first
    assert len(asked) == 2


# ── a function of one's own ─────────────────────────────────────────────────────────────────────


def test_a_function_that_returns_a_socket_is_looked_after_alike(server: LineServer) -> None:
    def dial() -> socket.socket:
        return socket.create_connection((server.host, server.port), timeout=3)

    targets: list[Any] = [dial, TCPConnector(connect=dial)]
    for target in targets:
        with Pool(target, max_open=1) as pool:
            with pool.connection() as connection:
                connection.sendall(b"twice\n")
                assert connection.recv(6)
            with pool.connection() as connection:
                assert ask(connection, "next") == "next"
                assert connection.gettimeout() == 3  # as the function made it
            with pytest.raises(OSError, match="lost"), pool.connection():
                raise OSError("lost")
            assert pool.stats().discarded == 2


def test_a_function_that_returns_a_reader_and_a_writer_is_looked_after_alike(
    server: LineServer, run: Run
) -> None:
    async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(server.host, server.port)

    async def main() -> None:
        targets: list[Any] = [dial, AsyncTCPConnector(connect=dial)]
        for target in targets:
            async with AsyncPool(target, max_open=1) as pool:
                async with pool.connection() as connection:
                    await ask_async(connection, "twice")
                async with pool.connection() as connection:
                    assert await ask_async(connection, "next") == "next"
                with pytest.raises(OSError, match="lost"):
                    async with pool.connection():
                        raise OSError("lost")
                assert pool.stats().discarded == 2

    run(main())
    server.wait_for(0)


def test_the_handle_needs_a_database(server: LineServer) -> None:
    with pytest.raises(cenote.ConfigError):
        cenote.open(server.url)
