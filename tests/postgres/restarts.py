"""What a pool stands, whichever the server: PostgreSQL's tests and MariaDB's are the same text.

Each takes `fill`, which leaves idle connections by the server's own way to number them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.postgres.worlds import World, ask, entered, query

IDLE = 8
QUERIES = 100

Fill = Callable[[Any, int], Awaitable[list[int]]]


async def under_idle_connections(world: World, place: Any, fill: Fill, again: Callable[[], Any]) -> Any:
    """Stop and start the server under idle connections: no query fails. Return what the pool counted."""
    async with entered(place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(again)
        await query(pool, QUERIES)
        return pool.stats()


async def before_a_crowd(world: World, place: Any, fill: Fill) -> None:
    """Restart the server before a crowd comes: nobody meets an error."""
    async with entered(place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(place.server.restart)
        await world.crowd(*(query(pool, 5) for _ in range(20)))
        assert pool.stats().open_connections <= IDLE


async def all_idle_ones_killed(world: World, place: Any, fill: Fill) -> None:
    """Have the server end all idle connections: no query fails, and none of them comes back."""
    async with entered(place.pool(world, max_open=IDLE)) as pool:
        numbers = await fill(pool, IDLE)
        assert await world.aside(place.kill) == IDLE
        await query(pool, QUERIES)
        assert pool.stats().dead_on_acquire >= 1
        assert not set(numbers) & set(await fill(pool, IDLE))


async def under_a_use(world: World, place: Any, fill: Fill, gone: str) -> None:
    """Restart the server under one use: it alone fails, with the driver's own words for `gone`."""
    async with entered(place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)

        async def cut_short() -> None:
            async with entered(pool.connection()) as connection:
                await world.aside(place.server.restart)
                await ask(connection, "select 1")

        with pytest.raises(Exception, match=gone):
            await cut_short()
        await query(pool, QUERIES)
        assert pool.stats().discarded == 1
