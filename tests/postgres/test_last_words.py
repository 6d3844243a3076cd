"""An asyncpg connection that the server has ended, or that somebody still uses, is not handed out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from cenote.drivers.asyncpg import AsyncpgConnector
from tests.postgres.conftest import Place
from tests.postgres.worlds import ASYNCPG, World, entered, in_worlds, pid_of

BODY = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
LAST_WORDS = b"E" + (len(BODY) + 4).to_bytes(4, "big") + BODY


def hear_last_words(connection: Any) -> None:
    """Have asyncpg read the server's last words while the end of the stream is still under way."""
    connection._protocol.data_received(LAST_WORDS)
    assert not connection.is_closed()


@in_worlds(ASYNCPG)
async def test_last_words_that_asyncpg_read_on_the_shelf_count_as_death(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            first = await pid_of(connection)
        hear_last_words(connection)
        async with entered(pool.connection()) as connection:
            assert await pid_of(connection) != first
        assert pool.stats().dead_on_acquire == 1


@in_worlds(ASYNCPG)
async def test_last_words_that_asyncpg_read_in_somebodys_hands_break_the_connection(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            hear_last_words(connection)
            assert AsyncpgConnector.is_broken(connection)
        assert pool.stats().discarded == 1


async def use(connection: Any) -> None:
    """Ask for something, and read the answer."""
    assert await connection.fetchval("select 1") == 1


async def cancel_a_statement(connection: Any) -> None:
    """Leave asyncpg as it is after a cancelled statement: with its words in some of its fields."""
    statement = await connection.prepare("select pg_sleep($1)")
    task = asyncio.create_task(statement.fetch(600))
    await asyncio.sleep(0)  # its first step sends the statement
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await connection._protocol._wait_for_cancellation()


@in_worlds(ASYNCPG)
@pytest.mark.parametrize("before", [use, cancel_a_statement])
async def test_a_statement_that_outlives_its_lease_is_seen_whatever_went_before(
    world: World, place: Place, before: Callable[[Any], Awaitable[None]]
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            first = await pid_of(connection)
            await before(connection)
        async with entered(pool.connection()) as connection:
            assert await pid_of(connection) == first
            outliving = asyncio.create_task(connection.execute("select pg_sleep(600)"))
            await asyncio.sleep(0)  # its first step sends the statement
        assert pool.stats().discarded == 1
        async with entered(pool.connection()) as connection:
            assert await pid_of(connection) != first
        with pytest.raises(asyncpg.PostgresError):
            await outliving
