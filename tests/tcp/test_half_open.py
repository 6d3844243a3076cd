"""A peer that went without a goodbye: every packet is lost, in both directions, and no end arrives.

The wire is pulled for real, see `wire`. PostgreSQL and Redis stand behind a proxy, and it is the wire to the
proxy that is pulled. Time passes by a fake clock where it is the pool's, and really where it is the kernel's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
import redis
import uvloop

import cenote
from cenote import _upkeep
from cenote.drivers.tcp import AsyncTCPConnector, TCPConnector
from cenote.testing import EventLog, FakeClock
from tests.postgres import worlds as postgres_worlds
from tests.postgres.worlds import World, done, entered, in_worlds
from tests.redis import worlds as redis_worlds
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import CountingProxy
from tests.servers.redis import RedisServer
from tests.tcp.server import LineServer, ask, ask_async, see
from tests.tcp.wire import pulled

WORLDS = [
    World("threads", "tcp", cenote.Pool, blocking=True),
    World("tasks", "tcp", cenote.AsyncPool, blocking=False),
    World("tasks-uvloop", "tcp", cenote.AsyncPool, blocking=False, make_loop=uvloop.new_event_loop),
]

PATIENT, HURRIED = "5s", "300ms"
"""What a dial may take on a busy machine, and a ping that nobody will answer."""

KERNEL = "tcp_keepalive=1s&user_timeout=1s"
"""The kernel asks after a second of silence, and a second later it has waited long enough."""

Use = Callable[[Any], Any]


async def say(world: World, connection: Any, line: str = "hello") -> str:
    """Send a line and read the answer."""
    return ask(connection, line) if world.blocking else await ask_async(connection, line)


async def use(world: World, pool: Any) -> None:
    """Make one request."""
    async with entered(pool.connection()) as connection:
        assert await say(world, connection) == "hello"


def connector(world: World, server: LineServer, **options: Any) -> Any:
    """Make a connector with a question of its own."""

    async def healthy(connection: Any) -> bool:
        return await say(world, connection, "well?") == "well?"

    if not world.blocking:
        return AsyncTCPConnector(server.host, server.port, healthy=healthy, **options)
    return TCPConnector(
        server.host, server.port, healthy=lambda sock: ask(sock, "well?") == "well?", **options
    )


# ── idle: found by keepalive within its interval ────────────────────────────────────────────────


async def check_keepalive(world: World, make: Callable[..., Any], port: int, use: Use) -> None:
    """Pull the wire of an idle connection: it is gone after the interval and the ping's own time."""
    clock, log = FakeClock(), EventLog()
    options = {"keepalive": "10s", "max_open": 1, "connect_timeout": PATIENT}
    async with entered(make(clock=clock, listener=log, **options)) as pool:
        wake = _upkeep.wake if world.blocking else type(pool)._wake_upkeep
        await use(pool)
        with pulled(port) as ends:
            assert ends == 2
            clock.advance(9)
            _upkeep.turn(pool)
            assert pool.stats().idle == 1  # not its time yet, and there is nothing to see
            pool.resize(connect_timeout=HURRIED)
            clock.advance(1)
            wake(pool)
            await world.aside(log.wait, "closed")  # nor does the goodbye arrive
            assert log.reasons("closing") == ["keepalive"]
            pool.resize(connect_timeout=PATIENT)
            await use(pool)
        stats = pool.stats()
        assert (stats.connect_count, stats.dead_on_keepalive, stats.dead_on_acquire) == (2, 1, 0)


@in_worlds(WORLDS)
async def test_a_vanished_peer_is_found_by_keepalive(world: World, server: LineServer) -> None:
    await check_keepalive(
        world,
        lambda **options: world.pool(connector(world, server), **options),
        server.port,
        lambda pool: use(world, pool),
    )


@in_worlds(WORLDS)
async def test_a_vanished_peer_behind_tls_is_found_by_keepalive(
    world: World, tls_server: LineServer, tls_files: tuple[object, object]
) -> None:
    await check_keepalive(
        world,
        lambda **options: world.pool(
            connector(world, tls_server, tls=True, ssl_ca=str(tls_files[1])), **options
        ),
        tls_server.port,
        lambda pool: use(world, pool),
    )


@in_worlds(redis_worlds.WORLDS)
async def test_a_vanished_redis_is_found_by_keepalive(world: World, redis_server: RedisServer) -> None:
    with CountingProxy(redis_server.host, redis_server.port) as proxy:
        url = proxy.url(redis_server.url())
        await check_keepalive(
            world, lambda **options: world.pool(url, **options), proxy.port, redis_worlds.ask
        )


@in_worlds(postgres_worlds.WORLDS)
async def test_a_vanished_postgresql_is_found_by_keepalive(world: World, postgres: PostgresServer) -> None:
    with CountingProxy(postgres.host, postgres.port) as proxy:
        url = proxy.url(postgres.url(world.scheme))
        await check_keepalive(
            world, lambda **options: world.pool(url, **options), proxy.port, postgres_worlds.query
        )


# ── idle: found without keepalive ───────────────────────────────────────────────────────────────


@in_worlds(WORLDS)
async def test_a_vanished_peer_is_found_on_acquire_by_who_comes_after_a_while(
    world: World, server: LineServer
) -> None:
    ahead = 0

    def clock() -> float:
        return monotonic() + ahead

    options: dict[str, Any] = {"clock": clock, "connect_timeout": HURRIED, "ping_after": "30s"}
    async with entered(world.pool(connector(world, server), **options)) as pool:
        await use(world, pool)
        with pulled(server.port):
            ahead = 30
            await use(world, pool)
        assert pool.stats().dead_on_acquire == 1


@in_worlds(WORLDS)
async def test_a_vanished_peer_is_found_by_the_kernel_alone(world: World, server: LineServer) -> None:
    log = EventLog()
    async with entered(world.pool(f"{server.url}?{KERNEL}", listener=log)) as pool:
        async with entered(pool.connection()) as connection:
            assert await say(world, connection) == "hello"
        with pulled(server.port):
            if world.blocking:
                see(connection)  # nobody in the pool looks before the next acquire
            else:
                await world.aside(log.wait, "closing")
                assert log.reasons("closing") == ["lost"]
            await use(world, pool)
        assert pool.stats().dead_on_acquire == (1 if world.blocking else 0)


# ── a request under way ─────────────────────────────────────────────────────────────────────────


@in_worlds(WORLDS)
async def test_a_request_that_nobody_acknowledges_fails_after_user_timeout(
    world: World, server: LineServer
) -> None:
    async with entered(world.pool(f"{server.url}?user_timeout=300ms")) as pool:
        await use(world, pool)
        with pulled(server.port):
            with pytest.raises(TimeoutError, match="Connection timed out"):
                await use(world, pool)
            await use(world, pool)
        assert (pool.stats().connect_count, pool.stats().discarded) == (2, 1)


@in_worlds(WORLDS)
async def test_who_waits_for_the_rest_of_an_answer_is_told_by_the_kernel_s_keepalive(
    world: World, server: LineServer
) -> None:
    async def half_an_answer() -> None:
        async with entered(pool.connection()) as connection:
            if world.blocking:
                connection.sendall(b"half a line\n")
                assert connection.recv(5)
            else:
                connection.writer.write(b"half a line\n")
                assert await connection.reader.readexactly(5)
            with pulled(server.port):
                await done(connection.recv(100) if world.blocking else connection.reader.read(100))

    async with entered(world.pool(f"{server.url}?{KERNEL}")) as pool:
        with pytest.raises(TimeoutError, match="Connection timed out"):
            await half_an_answer()
        await use(world, pool)
        assert pool.stats().discarded == 1


@in_worlds(WORLDS)
async def test_a_request_ends_at_its_own_time_out_whatever_the_kernel_thinks(
    world: World, server: LineServer
) -> None:
    async def hurried() -> None:
        async with entered(pool.connection()) as connection:
            if world.blocking:
                connection.settimeout(0.05)
                ask(connection, "hello")
            else:
                async with asyncio.timeout(0.05):
                    await ask_async(connection, "hello")

    async with entered(world.pool(server.url)) as pool:
        await use(world, pool)
        with pulled(server.port):
            with pytest.raises(TimeoutError):
                await hurried()
            await use(world, pool)
        assert (pool.stats().connect_count, pool.stats().discarded) == (2, 1)


@in_worlds(redis_worlds.WORLDS)
async def test_a_command_to_a_vanished_redis_ends_at_its_socket_timeout(
    world: World, redis_server: RedisServer
) -> None:
    with CountingProxy(redis_server.host, redis_server.port) as proxy:
        url = f"{proxy.url(redis_server.url())}?socket_timeout=0.5"
        async with entered(world.pool(url)) as pool:
            await redis_worlds.ask(pool)
            with pulled(proxy.port):
                with pytest.raises(redis.TimeoutError):
                    await redis_worlds.ask(pool)
                await redis_worlds.ask(pool)
            assert (pool.stats().connect_count, pool.stats().discarded) == (2, 1)


@in_worlds(postgres_worlds.WORLDS)
async def test_a_statement_to_a_vanished_postgresql_ends_at_its_deadline(
    world: World, postgres: PostgresServer
) -> None:
    opened = cenote.open if world.blocking else cenote.open_async
    with CountingProxy(postgres.host, postgres.port) as proxy:
        async with entered(opened(proxy.url(postgres.url(world.scheme)), max_open=1)) as db:
            await done(db.query_row("select 1"))
            with (
                pulled(proxy.port, and_new_ones=True),  # nor can the server be asked to stop
                pytest.raises(cenote.PoolTimeout) as caught,
                cenote.timeout("200ms"),
            ):
                await done(db.query_row("select 2"))
            assert caught.value.phase == "statement"
            assert tuple(await done(db.query_row("select 3"))) == (3,)
            assert db.stats().connect_count == 2


# ── nobody gets through any more ────────────────────────────────────────────────────────────────


@in_worlds(WORLDS)
async def test_while_nobody_gets_through_callers_are_told_and_after_it_they_are_served(
    world: World, server: LineServer
) -> None:
    options = {"ping_after": 0, "connect_timeout": "100ms", "max_open": 2}
    async with entered(world.pool(connector(world, server), **options)) as pool:
        await use(world, pool)
        with pulled(server.port, and_new_ones=True), pytest.raises(cenote.ConnectError):
            await use(world, pool)
        await use(world, pool)
        assert pool.stats().in_use == 0
