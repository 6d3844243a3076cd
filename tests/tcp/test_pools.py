"""Plain sockets in a pool: what is handed out, what comes back, and what is closed instead."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest

from cenote import AsyncPool, Pool
from cenote.drivers._plain import Streams
from cenote.drivers.tcp import AsyncTCPConnector, Stream
from cenote.testing import SAFETY, EventLog
from tests.tcp.conftest import Run
from tests.tcp.server import LineServer, ask, ask_async, see, until


def patient(connection: socket.socket, seconds: float) -> socket.socket:
    """Set a time-out."""
    connection.settimeout(seconds)
    return connection


def test_a_connection_is_a_connected_socket_and_is_used_again(url: str, line_server: LineServer) -> None:
    with Pool(url, max_open=2) as pool:
        for number in range(5):
            with pool.connection() as connection:
                assert isinstance(connection, ssl.SSLSocket if url.startswith("tls") else socket.socket)
                assert ask(connection, f"line {number}") == f"line {number}"
        assert line_server.accepted == 1
        pool.ping()
        assert pool.stats().discarded == 0


def test_a_connection_is_a_reader_and_a_writer_and_is_used_again(
    url: str, line_server: LineServer, run: Run
) -> None:
    async def main() -> None:
        async with AsyncPool(url, max_open=2) as pool:
            for number in range(5):
                async with pool.connection() as (reader, writer):
                    assert await ask_async((reader, writer), f"line {number}") == f"line {number}"
            assert line_server.accepted == 1
            await pool.ping()
            async with pool.connection() as connection:
                assert isinstance(connection, Stream)
            assert pool.stats().discarded == 0

    run(main())


def test_the_server_counts_no_connection_when_the_pool_is_closed(url: str, line_server: LineServer) -> None:
    pool = Pool(url)
    with pool.connection() as first, pool.connection() as second:
        ask(first, "1")
        ask(second, "2")
    pool.close()
    line_server.wait_for(0)
    assert line_server.accepted == 2


def test_the_server_counts_none_when_the_pool_of_a_loop_is_closed(
    url: str, line_server: LineServer, run: Run
) -> None:
    async def main() -> None:
        async with AsyncPool(url) as pool, pool.connection() as connection:
            await ask_async(connection, "1")

    run(main())
    line_server.wait_for(0)


def test_what_a_tls_server_says_after_the_handshake_is_no_reason_to_close(
    tls_server: LineServer, tls_files: tuple[object, object]
) -> None:
    with Pool(f"{tls_server.url}?ssl_ca={tls_files[1]}", max_idle=1) as pool:
        with pool.connection() as first:
            see(first)  # session tickets
        with pool.connection() as connection:
            assert connection is first
            assert ask(connection, "hello") == "hello"
        assert pool.stats().discarded == pool.stats().dead_on_acquire == 0


@pytest.mark.parametrize(("line", "read"), [("twice", 6), ("half a line", 3), ("bye", 4)])
def test_what_is_left_unread_or_closed_is_not_handed_on(
    url: str, line_server: LineServer, line: str, read: int
) -> None:
    with Pool(url, max_open=1) as pool:
        with pool.connection() as connection:
            connection.sendall(f"{line}\n".encode())
            assert connection.recv(read)
            if line == "bye":
                see(connection)
        with pool.connection() as connection:
            assert ask(connection, "next") == "next"
        assert line_server.accepted == 2
        assert pool.stats().discarded == 1


@pytest.mark.parametrize("line", ["twice", "bye"])
def test_what_is_left_unread_or_closed_is_not_handed_on_in_asyncio(
    url: str, line_server: LineServer, line: str, run: Run
) -> None:
    async def main() -> None:
        async with AsyncPool(url, max_open=1) as pool:
            async with pool.connection() as (reader, writer):
                await ask_async((reader, writer), line)
                if line == "bye":
                    await until(reader.at_eof)
            async with pool.connection() as connection:
                assert await ask_async(connection, "next") == "next"
            assert line_server.accepted == 2
            assert pool.stats().discarded == 1

    run(main())


def test_a_use_that_timed_out_closes_the_connection(url: str, line_server: LineServer) -> None:
    with Pool(url, max_open=1) as pool:
        with pytest.raises(TimeoutError), pool.connection() as connection:
            ask(patient(connection, 0.01), "mute")
        with pool.connection() as connection:
            assert connection.gettimeout() is None
            assert ask(connection, "next") == "next"
        assert line_server.accepted == 2


async def test_a_cancelled_use_closes_the_connection(url: str, line_server: LineServer) -> None:
    async with AsyncPool(url, max_open=1) as pool:

        async def use() -> None:
            async with pool.connection() as connection:
                await ask_async(connection, "mute")

        task = asyncio.create_task(use())
        await asyncio.to_thread(line_server.wait_for_requests, 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        async with pool.connection() as connection:
            assert await ask_async(connection, "next") == "next"
        assert pool.stats().discarded == 1


async def test_half_an_answer_and_the_end_close_the_connection(server: LineServer) -> None:
    async with AsyncPool(server.url, max_open=1) as pool:

        async def use() -> None:
            async with pool.connection() as (reader, writer):
                writer.write(b"half a line\n")
                await reader.readexactly(5)
                server.hang_up()
                await reader.readexactly(100)

        with pytest.raises(asyncio.IncompleteReadError):
            await use()
        assert pool.stats().discarded == 1


def test_an_error_of_the_users_own_keeps_the_connection(server: LineServer) -> None:
    with Pool(server.url, max_open=1) as pool:
        with pytest.raises(ValueError, match="invalid literal"), pool.connection() as connection:
            int(ask(connection, "hello"))
        assert pool.stats().idle == 1


def test_a_time_out_left_behind_does_not_meet_the_next_user(server: LineServer) -> None:
    with Pool(server.url, max_open=1) as pool:
        with pool.connection() as connection:
            connection.settimeout(3)
            ask(connection, "hello")
        with pool.connection() as again:
            assert again is connection
            assert again.gettimeout() is None


def test_a_peer_that_hung_up_is_seen_on_acquire(url: str, line_server: LineServer) -> None:
    with Pool(url, max_open=1) as pool:
        with pool.connection() as connection:
            ask(connection, "hello")
        line_server.hang_up()
        see(connection)
        with pool.connection() as connection:
            assert ask(connection, "next") == "next"
        assert pool.stats().dead_on_acquire == 1


def test_words_that_nobody_asked_for_are_not_trusted_on_acquire(url: str, line_server: LineServer) -> None:
    with Pool(url, max_open=1) as pool:
        with pool.connection() as connection:
            ask(connection, "hello")
        line_server.say(b"surprise\n")
        see(connection)
        with pool.connection() as connection:
            assert ask(connection, "next") == "next"
        assert pool.stats().dead_on_acquire == 1


def test_words_that_nobody_asked_for_are_not_trusted_in_asyncio(
    url: str, line_server: LineServer, run: Run
) -> None:
    async def main() -> None:
        async with AsyncPool(url, max_open=1) as pool:
            async with pool.connection() as (reader, writer):
                await ask_async((reader, writer), "hello")
            line_server.say(b"surprise\n")
            await until(lambda: reader._buffer)
            async with pool.connection() as connection:
                assert await ask_async(connection, "next") == "next"
            assert pool.stats().dead_on_acquire == 1

    run(main())


def test_an_idle_connection_whose_peer_hangs_up_leaves_the_pool_at_once_in_asyncio(
    url: str, line_server: LineServer, run: Run
) -> None:
    async def main() -> None:
        log = EventLog()
        async with AsyncPool(url, max_open=3, listener=log) as pool:
            async with pool.connection() as one, pool.connection() as two:
                await ask_async(one, "1")
                await ask_async(two, "2")
            line_server.hang_up()
            await until(lambda: not pool.stats().open_connections)
            assert [event.reason for event in log.events if event.kind == "closing"] == ["lost", "lost"]
            assert pool.stats().dead_on_keepalive == 2

    run(main())


# uvloop itself closes the socket with the loop, and says so; it hangs when that is made an error.
@pytest.mark.filterwarnings("ignore:unclosed resource:ResourceWarning")
def test_a_stream_of_a_closed_loop_is_dropped_without_complaint(url: str, run: Run) -> None:
    pool: AsyncPool[Any] = AsyncPool(url, max_open=1)

    async def use() -> None:
        async with pool.connection() as connection:
            await ask_async(connection, "hello")

    run(use())
    run(use())
    assert pool.stats().connect_count == 2
    run(pool.close())
    gc.collect()


def test_what_is_out_when_the_pool_is_closed_is_cut_off(url: str, line_server: LineServer) -> None:
    pool = Pool(url)
    with pool.connection() as connection:
        ask(connection, "hello")
        pool.close(timeout=0)
        see(connection)
    line_server.wait_for(0)


def test_a_stream_that_is_out_when_the_pool_is_closed_is_cut_off(
    url: str, line_server: LineServer, run: Run
) -> None:
    async def main() -> None:
        pool: AsyncPool[Any] = AsyncPool(url)
        async with pool.connection() as (reader, writer):
            await ask_async((reader, writer), "hello")
            await pool.close(timeout=0)
            await until(reader.at_eof)

    run(main())
    line_server.wait_for(0)


def test_a_stream_is_cut_off_from_another_thread(url: str, line_server: LineServer, run: Run) -> None:
    async def main() -> None:
        async with AsyncPool(url) as pool:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                async with pool.connection() as connection:
                    await asyncio.to_thread(Streams.terminate, connection)
                    await connection[0].readuntil(b"\n")
            assert pool.stats().discarded == 1

    run(main())
    line_server.wait_for(0)


async def test_one_that_is_lost_before_anybody_watches_it_is_reported_too(server: LineServer) -> None:
    connector = AsyncTCPConnector(server.host, server.port)
    connection = await connector.connect(SAFETY)
    await asyncio.to_thread(server.wait_for, 1)
    server.hang_up()
    await until(connection.reader.at_eof)
    lost = asyncio.Event()
    connector.on_lost(connection, lost.set)
    assert not lost.is_set()  # the pool is not ready to hear of it yet
    async with asyncio.timeout(SAFETY):
        await lost.wait()
    await connector.close(connection)
