"""Every MySQL driver, in the world of threads or of tasks; how a test is run in them is PostgreSQL's way."""

from __future__ import annotations

from typing import Any

import uvloop

import cenote
from tests.postgres import worlds
from tests.postgres.worlds import World, ask, done, entered, in_worlds, query

__all__ = [
    "TASK_WORLDS",
    "THREAD_WORLDS",
    "WORLDS",
    "World",
    "ask",
    "done",
    "entered",
    "fill",
    "id_of",
    "in_worlds",
    "query",
]

THREAD_WORLDS = [
    World("pymysql", "mysql", cenote.Pool, blocking=True),
    World("mysqldb", "mysql+mysqldb", cenote.Pool, blocking=True),
    World("mysqlconnector", "mysql+mysqlconnector", cenote.Pool, blocking=True),
]
TASK_WORLDS = [
    World("asyncmy", "mysql", cenote.AsyncPool, blocking=False),
    World("asyncmy-uvloop", "mysql", cenote.AsyncPool, blocking=False, make_loop=uvloop.new_event_loop),
    World("aiomysql", "mysql+aiomysql", cenote.AsyncPool, blocking=False),
    World(
        "aiomysql-uvloop",
        "mysql+aiomysql",
        cenote.AsyncPool,
        blocking=False,
        make_loop=uvloop.new_event_loop,
    ),
]
WORLDS = [*THREAD_WORLDS, *TASK_WORLDS]


async def id_of(connection: Any) -> int:
    """Return the number under which the server knows a connection."""
    number: int = (await ask(connection, "select connection_id()"))[0][0]
    return number


async def fill(pool: Any, count: int) -> list[int]:
    """Leave so many idle connections, all of which have been used; return the server's numbers of them."""
    return await worlds.fill(pool, count, id_of)
