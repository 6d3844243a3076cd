"""The counting proxy: what it counts with real drivers, and how it hangs and cuts."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest

import cenote
from tests.servers.home import free_port
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import CountingProxy

HANG = 60.0


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[CountingProxy]:
    with CountingProxy(postgres.host, postgres.port) as proxy:
        yield proxy


@pytest.fixture
def plain() -> Iterator[tuple[CountingProxy, socket.socket, socket.socket]]:
    """A proxy between two bare sockets: the client's and the server's."""
    with (
        socket.create_server(("127.0.0.1", free_port())) as listener,
        CountingProxy(*listener.getsockname()) as proxy,
        socket.create_connection((proxy.host, proxy.port), HANG) as client,
    ):
        server, _ = listener.accept()
        with server:
            server.settimeout(HANG)
            yield proxy, client, server


def say(speaker: socket.socket, listener: socket.socket, words: bytes) -> None:
    """Send, and return when it has arrived."""
    speaker.sendall(words)
    assert listener.recv(len(words), socket.MSG_WAITALL) == words


Plain = tuple[CountingProxy, socket.socket, socket.socket]


def test_a_statement_of_psycopg_is_one_round_trip(proxy: CountingProxy, postgres: PostgresServer) -> None:
    with psycopg.connect(proxy.url(postgres.dsn), autocommit=True) as connection:
        for _ in range(3):
            proxy.mark()
            assert connection.execute("select 1").fetchone() == (1,)
            assert proxy.round_trips() == 1
    assert proxy.connections == 1


def test_a_large_answer_is_one_round_trip(proxy: CountingProxy, postgres: PostgresServer) -> None:
    with psycopg.connect(proxy.url(postgres.dsn), autocommit=True) as connection:
        proxy.mark()
        rows = connection.execute("select repeat('x', 1000) from generate_series(1, 5000)").fetchall()
        assert len(rows) == 5000
        assert proxy.round_trips() == 1


def test_a_large_question_is_one_round_trip(proxy: CountingProxy, postgres: PostgresServer) -> None:
    with psycopg.connect(proxy.url(postgres.dsn), autocommit=True) as connection:
        proxy.mark()
        assert connection.execute("select length(%s)", ("x" * 3_000_000,)).fetchone() == (3_000_000,)
        assert proxy.round_trips() == 1
        assert proxy.bytes_to_server() > 3_000_000


def test_a_transaction_of_psycopg_is_three_round_trips(
    proxy: CountingProxy, postgres: PostgresServer
) -> None:
    with psycopg.connect(proxy.url(postgres.dsn), autocommit=True) as connection:
        proxy.mark()
        with connection.transaction():
            connection.execute("select 1")
        assert proxy.round_trips() == 3


async def test_a_parameter_of_asyncpg_takes_two_round_trips_at_first_and_one_from_then_on(
    proxy: CountingProxy, postgres: PostgresServer
) -> None:
    connection = await asyncpg.connect(proxy.url(postgres.dsn))
    counts = []
    for number in range(3):
        proxy.mark()
        assert await connection.fetchval("select $1::int", number) == number
        counts.append(proxy.round_trips())
    await connection.close()
    assert counts == [2, 1, 1]


async def test_without_its_cache_asyncpg_takes_two_round_trips_each_time(
    proxy: CountingProxy, postgres: PostgresServer
) -> None:
    connection = await asyncpg.connect(proxy.url(postgres.dsn), statement_cache_size=0)
    counts = []
    for number in range(3):
        proxy.mark()
        assert await connection.fetchval("select $1::int", number) == number
        counts.append(proxy.round_trips())
    await connection.close()
    assert counts == [2, 2, 2]


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2"])
def test_a_clean_use_of_a_pool_adds_no_round_trip(
    proxy: CountingProxy, postgres: PostgresServer, scheme: str
) -> None:
    with cenote.Pool(proxy.url(postgres.url(scheme)), max_open=1) as pool:
        with pool.connection():
            pass
        proxy.mark()
        for number in range(1, 4):
            with pool.connection() as connection, connection.cursor() as cursor:
                cursor.execute("select 1")
            assert proxy.round_trips() == number
        with pool.connection():
            pass
        assert (proxy.round_trips(), proxy.connections) == (3, 1)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
async def test_a_clean_use_of_an_async_pool_adds_no_round_trip(
    proxy: CountingProxy, postgres: PostgresServer, scheme: str
) -> None:
    async with cenote.AsyncPool(proxy.url(postgres.url(scheme)), max_open=1) as pool:
        async with pool.connection():
            pass
        proxy.mark()
        for number in range(1, 4):
            async with pool.connection() as connection:
                await connection.execute("select 1")
            assert proxy.round_trips() == number
        async with pool.connection():
            pass
        assert (proxy.round_trips(), proxy.connections) == (3, 1)


def test_it_counts_when_the_client_speaks_first_or_after_the_server(plain: Plain) -> None:
    proxy, client, server = plain
    assert proxy.round_trips() == 0
    say(client, server, b"one question")
    say(client, server, b" in two parts")
    assert proxy.round_trips() == 1
    say(server, client, b"an answer")
    say(server, client, b" in two parts")
    assert proxy.round_trips() == 1
    say(client, server, b"the next")
    assert proxy.round_trips() == 2


def test_a_server_that_speaks_first_adds_nothing(plain: Plain) -> None:
    proxy, client, server = plain
    say(server, client, b"hello")
    assert proxy.round_trips() == 0
    say(client, server, b"hello")
    assert proxy.round_trips() == 1


def test_a_mark_starts_afresh(plain: Plain) -> None:
    proxy, client, server = plain
    say(client, server, b"1234567")
    assert (proxy.round_trips(), proxy.bytes_to_server()) == (1, 7)
    proxy.mark()
    assert (proxy.round_trips(), proxy.bytes_to_server()) == (0, 0)
    say(client, server, b"123")
    assert (proxy.round_trips(), proxy.bytes_to_server()) == (1, 3)


def test_frozen_it_passes_nothing_on_and_keeps_the_connection(plain: Plain) -> None:
    proxy, client, server = plain
    say(client, server, b"before")
    proxy.freeze()
    server.sendall(b"held")
    client.sendall(b"back")
    for end in (client, server):
        end.settimeout(0.05)
        with pytest.raises(TimeoutError):
            end.recv(1)
        end.settimeout(HANG)
    proxy.thaw()
    assert client.recv(4, socket.MSG_WAITALL) == b"held"
    assert server.recv(4, socket.MSG_WAITALL) == b"back"


def test_frozen_it_holds_back_the_end_too(plain: Plain) -> None:
    proxy, client, server = plain
    proxy.freeze()
    server.close()
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(HANG)
    proxy.thaw()
    assert client.recv(1) == b""


def test_a_new_connection_to_a_frozen_proxy_hangs(proxy: CountingProxy, postgres: PostgresServer) -> None:
    proxy.freeze()
    with (
        cenote.Pool(proxy.url(postgres.dsn), connect_timeout="200ms") as pool,
        pytest.raises(cenote.Error),
        pool.connection(timeout=0.2),
    ):
        pass
    proxy.thaw()


def test_half_closed_the_other_direction_goes_on(plain: Plain) -> None:
    _, client, server = plain
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    say(server, client, b"last words")
    server.close()
    assert client.recv(1) == b""


def test_cut_both_sides_see_the_end(plain: Plain) -> None:
    proxy, client, server = plain
    say(client, server, b"hello")
    proxy.cut()
    assert client.recv(1) == b""
    assert server.recv(1) == b""


def test_cut_while_frozen_what_was_held_back_is_lost(plain: Plain) -> None:
    proxy, client, server = plain
    say(client, server, b"hello")
    proxy.freeze()
    client.sendall(b"held")
    proxy.cut()
    assert server.recv(1) == b""


def test_after_a_cut_new_connections_are_accepted(proxy: CountingProxy, postgres: PostgresServer) -> None:
    with psycopg.connect(proxy.url(postgres.dsn)) as connection:
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    with psycopg.connect(proxy.url(postgres.dsn)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert proxy.connections == 2


def test_a_client_of_a_server_that_is_down_sees_the_end() -> None:
    with (
        CountingProxy("127.0.0.1", free_port()) as proxy,
        socket.create_connection((proxy.host, proxy.port), HANG) as client,
    ):
        assert client.recv(1) == b""


def test_closed_it_refuses_and_leaves_no_thread(plain: Plain) -> None:
    proxy, client, _ = plain
    proxy.freeze()
    proxy.close()
    proxy.close()
    assert client.recv(1) == b""
    assert not proxy._acceptor.is_alive()
    assert not proxy._links
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port), HANG)


@pytest.mark.parametrize(
    ("url", "rewritten"),
    [
        ("postgresql://app:p%40s@db:5432/app?a=1", "postgresql://app:p%40s@127.0.0.1:{port}/app?a=1"),
        ("mysql://127.0.0.1:3306/app", "mysql://127.0.0.1:{port}/app"),
        ("redis://:secret@[::1]:6379/0", "redis://:secret@127.0.0.1:{port}/0"),
    ],
)
def test_a_url_leads_through_the_proxy(proxy: CountingProxy, url: str, rewritten: str) -> None:
    assert proxy.url(url) == rewritten.format(port=proxy.port)
