"""redis-py in threads and in asyncio as one; how a test is run in both worlds is PostgreSQL's way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import redis
import redis.asyncio
import uvloop

import cenote
import cenote.redis
from tests.postgres.worlds import World, done, entered, in_worlds
from tests.servers.redis import RedisServer

__all__ = [
    "TASK_WORLDS",
    "THREAD_WORLDS",
    "WORLDS",
    "World",
    "ask",
    "client_of",
    "done",
    "drop_in",
    "entered",
    "fill",
    "id_of",
    "in_worlds",
    "lent",
    "name",
    "talk",
    "using",
]

THREAD_WORLDS = [World("threads", "redis", cenote.Pool, blocking=True)]
TASK_WORLDS = [
    World("tasks", "redis", cenote.AsyncPool, blocking=False),
    World("tasks-uvloop", "redis", cenote.AsyncPool, blocking=False, make_loop=uvloop.new_event_loop),
]
WORLDS = [*THREAD_WORLDS, *TASK_WORLDS]

_numbers = count(1)


def name(kind: str = "key") -> str:
    """Give a name that no other test has."""
    return f"{kind}-{next(_numbers)}"


def drop_in(world: World, server: RedisServer | str, **options: Any) -> Any:
    """Make a drop-in pool of the world's kind."""
    kind = cenote.redis.ConnectionPool if world.blocking else cenote.redis.AsyncConnectionPool
    url = server if isinstance(server, str) else server.url()
    return kind.from_url(url, **options)


def client_of(world: World, pool: Any, **options: Any) -> Any:
    """Make redis-py's client of the world's kind on a pool."""
    kind: Any = redis.Redis if world.blocking else redis.asyncio.Redis
    return kind(connection_pool=pool, **options)


@asynccontextmanager
async def using(world: World, server: RedisServer | str, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Use redis-py's client on a drop-in pool, and leave nothing open."""
    pool = drop_in(world, server, **options)
    try:
        yield client_of(world, pool), pool
    finally:
        await done(pool.close() if world.blocking else pool.aclose())


@asynccontextmanager
async def lent(pool: Any) -> AsyncIterator[Any]:
    """Use one connection as redis-py does."""
    connection = await done(pool.get_connection())
    try:
        yield connection
    finally:
        await done(pool.release(connection))


async def talk(connection: Any, *command: Any) -> Any:
    """Send a command and read its reply."""
    await done(connection.send_command(*command))
    return await done(connection.read_response())


async def ask(pool: Any, times: int = 1) -> None:
    """Have the server repeat words that nobody else says, through any pool of ours."""
    for _ in range(times):
        word = name("word").encode()
        async with entered(pool.connection()) if hasattr(pool, "connection") else lent(pool) as connection:
            assert await talk(connection, "ECHO", word) == word


async def id_of(connection: Any) -> int:
    """Return the number under which the server knows a connection."""
    number: int = await talk(connection, "CLIENT", "ID")
    return number


async def fill(pool: Any, size: int) -> list[int]:
    """Leave so many idle connections, all of which have been used; return their numbers."""
    if hasattr(pool, "get_connection"):
        held = [await done(pool.get_connection()) for _ in range(size)]
        numbers = [await id_of(one) for one in held]
        for one in held:
            await done(pool.release(one))
    else:
        leases = [await done(pool.acquire()) for _ in range(size)]
        numbers = [await id_of(lease.connection) for lease in leases]
        for lease in leases:
            await done(lease.release())
    assert pool.stats().idle == size
    return numbers
