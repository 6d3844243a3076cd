"""The peers' pools, opened full and closed with the stack, each in the fastest form that is still honest.

Honest means: a form their own documentation offers, with the same number of connections, autocommit on
where the driver has it (so that no side pays for transactions), and no work left out but where a side's
name says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import asyncpg
import psycopg
import psycopg_pool
import sqlalchemy
from dbutils.pooled_db import PooledDB

AUTOCOMMIT = {"autocommit": True}


def psycopg_connection(stack: ExitStack, dsn: str) -> psycopg.Connection:
    """Open one connection, held by hand."""
    return stack.enter_context(psycopg.connect(dsn, autocommit=True))


def psycopg_threads(
    stack: ExitStack, dsn: str, size: int, *, check: bool = False
) -> psycopg_pool.ConnectionPool[psycopg.Connection]:
    """psycopg_pool for threads; `check` is its documented way of never handing out a dead connection."""
    checker = psycopg_pool.ConnectionPool.check_connection if check else None
    pool = psycopg_pool.ConnectionPool(
        dsn, min_size=size, max_size=size, kwargs=AUTOCOMMIT, check=checker, timeout=60, open=False
    )
    stack.callback(pool.close)
    pool.open(wait=True)
    return pool


def psycopg_tasks(
    stack: ExitStack, runner: asyncio.Runner, dsn: str, size: int
) -> psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection]:
    """psycopg_pool for asyncio."""
    pool = psycopg_pool.AsyncConnectionPool(
        dsn, min_size=size, max_size=size, kwargs=AUTOCOMMIT, timeout=60, open=False
    )
    stack.callback(lambda: runner.run(pool.close()))
    runner.run(pool.open(wait=True))
    return pool


def sqlalchemy_fake(stack: ExitStack, creator: Callable[[], Any], size: int) -> sqlalchemy.Pool:
    """SQLAlchemy's QueuePool bare, with nothing done on return."""
    pool = sqlalchemy.QueuePool(creator, pool_size=size, max_overflow=0, timeout=60, reset_on_return=None)
    stack.callback(pool.dispose)
    fill_sqlalchemy(pool, size)
    return pool


def sqlalchemy_engine(stack: ExitStack, dsn: str, size: int, *, pre_ping: bool = False) -> sqlalchemy.Engine:
    """Make an engine in autocommit; its ``pool`` is a QueuePool that can ping, also without the engine."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn, autocommit=True),
        isolation_level="AUTOCOMMIT",
        pool_size=size,
        max_overflow=0,
        pool_timeout=60,
        pool_pre_ping=pre_ping,
        pool_reset_on_return=None,
    )
    stack.callback(engine.dispose)
    fill_sqlalchemy(engine.pool, size)
    return engine


def fill_sqlalchemy(pool: sqlalchemy.Pool, size: int) -> None:
    """Open all connections before anything is measured."""
    held = [pool.connect() for _ in range(size)]
    for connection in held:
        connection.close()


def dbutils_fake(stack: ExitStack, creator: Callable[[], Any], size: int) -> PooledDB:
    """DBUtils' PooledDB with nothing done on acquire or return."""
    pool = PooledDB(
        creator,
        mincached=size,
        maxcached=size,
        maxconnections=size,
        blocking=True,
        failures=(OSError,),
        reset=False,
        ping=0,
    )
    stack.callback(pool.close)
    return pool


def asyncpg_connection(stack: ExitStack, runner: asyncio.Runner, dsn: str) -> asyncpg.Connection:
    """Open one connection, held by hand."""

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(dsn)

    connection = runner.run(connect())
    stack.callback(lambda: runner.run(connection.close()))
    return connection


async def leave_as_it_is(_connection: asyncpg.Connection) -> None:
    """Take the place of asyncpg's reset query, by its own `reset` option; it still ends a transaction."""


def asyncpg_pool(
    stack: ExitStack, runner: asyncio.Runner, dsn: str, size: int, *, reset: bool
) -> asyncpg.Pool:
    """Make asyncpg's own pool; without `reset` no query is sent on release."""

    async def make() -> asyncpg.Pool:
        return await asyncpg.create_pool(
            dsn, min_size=size, max_size=size, reset=None if reset else leave_as_it_is
        )

    pool = runner.run(make())
    stack.callback(lambda: runner.run(pool.close()))
    return pool
