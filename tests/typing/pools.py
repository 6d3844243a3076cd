"""What a type checker makes of pools. Checked by mypy in `test_typing.py`; never run."""

from __future__ import annotations

import sqlite3
from typing import Any, assert_type

import psycopg

import cenote
from cenote.drivers.psycopg import AsyncPsycopgConnector, PsycopgConnector
from cenote.testing import AsyncScriptedConnector, FakeConnection, ScriptedConnector

Row = tuple[Any, ...]


def from_connectors() -> None:
    pool = cenote.Pool(PsycopgConnector("host=db"))
    assert_type(pool, cenote.Pool[psycopg.Connection[Row]])
    with pool.connection() as connection:
        assert_type(connection, psycopg.Connection[Row])
    with pool.transaction(timeout="2s") as connection:
        assert_type(connection, psycopg.Connection[Row])
    lease = pool.acquire()
    assert_type(lease, cenote.Lease[psycopg.Connection[Row]])
    assert_type(lease.connection, psycopg.Connection[Row])
    assert_type(cenote.Pool(ScriptedConnector("ping")), cenote.Pool[FakeConnection])


def connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:")


async def connect_async() -> FakeConnection:
    return FakeConnection(1)


def from_callables() -> None:
    assert_type(cenote.Pool(connect), cenote.Pool[sqlite3.Connection])
    assert_type(cenote.Pool(lambda: 1), cenote.Pool[int])
    assert_type(cenote.AsyncPool(connect_async), cenote.AsyncPool[FakeConnection])


def from_urls() -> None:
    assert_type(cenote.Pool("sqlite:///:memory:"), cenote.Pool[Any])
    assert_type(cenote.AsyncPool("postgresql://app@db/app", max_open=3), cenote.AsyncPool[Any])
    assert_type(cenote.Pool(cenote.Options.from_url("sqlite:///:memory:")), cenote.Pool[Any])


async def in_asyncio() -> None:
    pool = cenote.AsyncPool(AsyncPsycopgConnector("host=db"))
    assert_type(pool, cenote.AsyncPool[psycopg.AsyncConnection[Row]])
    async with pool.connection() as connection:
        assert_type(connection, psycopg.AsyncConnection[Row])
    async with pool.transaction() as connection:
        assert_type(connection, psycopg.AsyncConnection[Row])
    lease = await pool.acquire(timeout=1)
    assert_type(lease, cenote.AsyncLease[psycopg.AsyncConnection[Row]])
    await lease.release()
    await pool.ping()
    await pool.close()
    assert_type(cenote.AsyncPool(AsyncScriptedConnector()), cenote.AsyncPool[FakeConnection])


async def plain_calls(pool: cenote.Pool[FakeConnection], twin: cenote.AsyncPool[FakeConnection]) -> None:
    assert_type(pool.stats(), cenote.Stats)
    assert_type(twin.stats(), cenote.Stats)
    assert_type(pool.holders(), list[cenote.Holder])
    assert_type(twin.options, cenote.Options)
    with cenote.timeout("2s"), pool as same:
        assert_type(same, cenote.Pool[FakeConnection])
    async with twin as same_twin:
        assert_type(same_twin, cenote.AsyncPool[FakeConnection])


def mistakes() -> None:
    cenote.Pool(connect, max_opne=3)  # type: ignore[call-overload] # no such option
    cenote.Pool(connect, max_open="3")  # type: ignore[call-overload] # no number
    cenote.Pool(3)  # type: ignore[call-overload] # no target
    cenote.AsyncPool(connect)  # type: ignore[arg-type] # not a coroutine function
    cenote.Pool(connect).connection(timeout=[])  # type: ignore[arg-type] # no duration
