"""What a connection was left in: repaired where a round trip does it, else closed; never handed on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import cenote
from tests.redis.worlds import WORLDS, World, done, drop_in, entered, in_worlds, lent, name, talk, using
from tests.servers.redis import RedisServer

Leave = Callable[[Any], Coroutine[Any, Any, None]]
Mark = Callable[[Any], Any]


async def in_multi(connection: Any) -> None:
    await talk(connection, "MULTI")
    await talk(connection, "SET", name(), 1)


async def watching(connection: Any) -> None:
    await talk(connection, "WATCH", name())


async def in_multi_in_small_letters(connection: Any) -> None:
    await talk(connection, b"watch", name())
    await talk(connection, "mUlTi")


REPAIRED: list[Leave] = [in_multi, watching, in_multi_in_small_letters]


async def subscribed(connection: Any) -> None:
    await done(connection.send_command("SUBSCRIBE", name()))
    await done(connection.read_response(push_request=True))


async def monitoring(connection: Any) -> None:
    await talk(connection, "MONITOR")


async def with_a_reply_unread(connection: Any) -> None:
    await done(connection.send_command("ECHO", "for nobody"))


async def with_a_pipeline_half_read(connection: Any) -> None:
    await done(connection.send_packed_command(connection.pack_commands([("PING",), ("PING",)])))
    await done(connection.read_response())


async def with_commands_packed_elsewhere(connection: Any) -> None:
    await done(connection.send_packed_command([b"*1\r\n$4\r\nPING\r\n"]))
    await done(connection.read_response())


async def in_another_database(connection: Any) -> None:
    await talk(connection, "SELECT", 7)


async def with_replies_off(connection: Any) -> None:
    await done(connection.send_command("CLIENT REPLY", "OFF"))


async def closed(connection: Any) -> None:
    await done(connection.disconnect())


async def opened_again(connection: Any) -> None:
    await done(connection.disconnect())
    await talk(connection, "PING")


async def marked_for_reconnect(connection: Any) -> None:
    connection.mark_for_reconnect()


CLOSED: list[Leave] = [
    subscribed,
    monitoring,
    with_a_reply_unread,
    with_a_pipeline_half_read,
    with_commands_packed_elsewhere,
    in_another_database,
    with_replies_off,
    closed,
    opened_again,
    marked_for_reconnect,
]


async def a_transaction_done(connection: Any) -> None:
    await talk(connection, "WATCH", "some-key")
    await done(connection.send_packed_command(connection.pack_commands([("MULTI",), ("EXEC",)])))
    for _ in range(2):
        await done(connection.read_response())


async def a_transaction_discarded(connection: Any) -> None:
    for command in ("MULTI", "DISCARD"):
        await talk(connection, command)


async def a_failed_transaction(connection: Any) -> None:
    await talk(connection, "MULTI")
    for command in ("NO-SUCH-COMMAND", "EXEC"):
        with pytest.raises(Exception, match=r"unknown command|discarded"):
            await talk(connection, command)


async def a_failed_command(connection: Any) -> None:
    with pytest.raises(Exception, match="wrong number of arguments"):
        await talk(connection, "GET")


async def its_own_database_selected(connection: Any) -> None:
    await talk(connection, "SELECT", 0)


async def keys_no_longer_watched(connection: Any) -> None:
    await talk(connection, "WATCH", "some-key")
    await talk(connection, "UNWATCH")


KEPT: list[Leave] = [
    a_transaction_done,
    a_transaction_discarded,
    a_failed_transaction,
    a_failed_command,
    its_own_database_selected,
    keys_no_longer_watched,
]


def each(cases: list[Leave]) -> Mark:
    mark: Mark = pytest.mark.parametrize("leave", cases, ids=[case.__name__ for case in cases])
    return mark


async def held_by(pool: Any, leave: Leave) -> None:
    """Leave a connection of either kind of pool in some state."""
    async with entered(pool.connection()) if hasattr(pool, "connection") else lent(pool) as connection:
        await leave(connection)


@asynccontextmanager
async def both(world: World, server: RedisServer) -> AsyncIterator[list[Any]]:
    """Make a pool of each kind, for one connection."""
    pools = [world.pool(server.url(), max_open=1), drop_in(world, server, max_open=1)]
    try:
        yield pools
    finally:
        await end(pools)


async def end(pools: list[Any]) -> None:
    for pool in pools:
        await done(pool.aclose() if hasattr(pool, "aclose") else pool.close())


async def state_of(pool: Any) -> tuple[int, object]:
    """Return the number of the connection, after proof that replies are in step, and what is in its way."""
    async with entered(pool.connection()) if hasattr(pool, "connection") else lent(pool) as connection:
        word = name("word").encode()
        assert await talk(connection, "ECHO", word) == word
        about = (await talk(connection, "CLIENT", "INFO")).decode()
    found = dict(item.split("=", 1) for item in about.split())
    return int(found["id"]), {key: found[key] for key in ("multi", "sub", "psub", "db", "flags")}


PLAIN = {"multi": "-1", "sub": "0", "psub": "0", "db": "0", "flags": "N"}


@each(REPAIRED)
@in_worlds(WORLDS)
async def test_an_open_transaction_and_watched_keys_are_ended_and_the_site_is_named(
    world: World, redis_server: RedisServer, leave: Leave
) -> None:
    async with both(world, redis_server) as pools:
        for pool in pools:
            before, _ = await state_of(pool)
            with pytest.warns(RuntimeWarning, match="rolled back the transaction left open by .*/tests/"):
                await held_by(pool, leave)
            assert await state_of(pool) == (before, PLAIN)
            assert pool.stats().discarded == 0


@each(CLOSED)
@in_worlds(WORLDS)
async def test_what_cannot_be_repaired_in_a_round_trip_is_closed(
    world: World, redis_server: RedisServer, leave: Leave
) -> None:
    async with both(world, redis_server) as pools:
        for pool in pools:
            before, _ = await state_of(pool)
            await held_by(pool, leave)
            after, plain = await state_of(pool)
            assert plain == PLAIN
            assert after != before
            assert pool.stats().discarded == 1


@each(KEPT)
@in_worlds(WORLDS)
async def test_what_is_over_leaves_the_connection_as_good_as_before(
    world: World, redis_server: RedisServer, leave: Leave
) -> None:
    async with both(world, redis_server) as pools:
        for pool in pools:
            before, _ = await state_of(pool)
            await held_by(pool, leave)
            assert await state_of(pool) == (before, PLAIN)
            assert pool.stats().connect_count == 1


@in_worlds(WORLDS)
async def test_a_connection_closed_by_its_user_says_nothing_about_the_others(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=2) as (_, pool):
        first, second = await done(pool.get_connection()), await done(pool.get_connection())
        await done(pool.release(second))
        await done(first.disconnect())
        await done(pool.release(first))
        assert pool.stats().generation == 0


@in_worlds(WORLDS)
async def test_an_answer_to_somebody_else_is_seen_before_anybody_reads_it(
    world: World, redis_server: RedisServer
) -> None:
    """Bytes that were asked for behind redis-py's back arrive while the connection is idle."""
    async with using(world, redis_server, max_open=1) as (client, pool):
        async with lent(pool) as connection:
            number = await talk(connection, "CLIENT", "ID")
            if world.blocking:
                connection._sock.sendall(b"*1\r\n$4\r\nPING\r\n")
            else:
                connection._writer.write(b"*1\r\n$4\r\nPING\r\n")
        with redis_server.admin() as admin:  # one thread serves all: when it answers, the other answer is out
            admin.ping()
        assert await done(client.echo("mine")) == b"mine"
        async with lent(pool) as connection:
            assert await talk(connection, "CLIENT", "ID") != number


@in_worlds(WORLDS)
async def test_a_ping_is_not_answered_by_what_was_left_of_another(
    world: World, redis_server: RedisServer
) -> None:
    pool = drop_in(world, redis_server)
    connector: Any = pool._opened()._connector
    connection = await done(connector.connect(5.0))
    await done(connector.ping(connection))
    await done(connection.send_command("PING"))  # and its answer is not read
    with pytest.raises(Exception, match="answered by something else"):
        await done(connector.ping(connection))
    await done(connector.close(connection))


def test_a_release_that_nobody_has_here_is_ignored_in_threads(redis_server: RedisServer) -> None:
    with cenote.redis.ConnectionPool.from_url(redis_server.url()) as pool:
        connection = pool.get_connection()
        pool.release(connection)
        pool.release(connection)
        pool.release(object())
        assert pool.stats().idle == 1
        assert pool.stats().acquire_count == 1


async def test_a_release_that_nobody_has_here_is_refused_in_asyncio(redis_server: RedisServer) -> None:
    async with cenote.redis.AsyncConnectionPool.from_url(redis_server.url()) as pool:
        connection = await pool.get_connection()
        await pool.release(connection)
        for foreign in (connection, object()):
            with pytest.raises(KeyError):
                await pool.release(foreign)
