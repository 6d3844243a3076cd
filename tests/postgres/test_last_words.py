"""An asyncpg connection that the server has ended, or that somebody still uses, is not handed out."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from cenote.drivers.asyncpg import AsyncpgConnector
from tests.postgres.conftest import Place
from tests.postgres.worlds import TASK_WORLDS, World, entered, in_worlds, pid_of

ASYNCPG = [world for world in TASK_WORLDS if "asyncpg" in world.scheme]

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


@in_worlds(ASYNCPG)
async def test_a_statement_that_outlives_its_lease_is_seen_though_its_connection_was_at_rest_before(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            first = await pid_of(connection)
        async with entered(pool.connection()) as connection:
            outliving = asyncio.create_task(connection.execute("select pg_sleep(600)"))
            await asyncio.sleep(0)  # its first step sends the statement
        assert pool.stats().discarded == 1
        async with entered(pool.connection()) as connection:
            assert await pid_of(connection) != first
        with pytest.raises(asyncpg.PostgresError):
            await outliving
