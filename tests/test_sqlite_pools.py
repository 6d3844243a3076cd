"""SQLite through the pools: a shared database in memory, a file with many writers, transactions."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import cenote
from tests.postgres.worlds import World, ask, done, entered, in_worlds

WRITERS = 8
ROWS = 25

SQLITE = [
    World("sqlite", "sqlite", cenote.Pool, blocking=True),
    World("aiosqlite", "sqlite", cenote.AsyncPool, blocking=False),
]
URLS = pytest.mark.parametrize("database", ["sqlite://", "sqlite:///:memory:", "file"])


def address(database: str, folder: Path) -> str:
    return f"sqlite:///{folder / 'app.db'}" if database == "file" else database


async def use(lease: Any, *statements: str) -> None:
    async with entered(lease) as connection:
        for statement in statements:
            await ask(connection, statement)


@URLS
@in_worlds(SQLITE)
async def test_all_connections_of_a_pool_see_one_database(
    world: World, database: str, tmp_path: Path
) -> None:
    async with entered(world.pool(address(database, tmp_path), max_open=4)) as pool:
        await use(pool.connection(), "create table notes (word text)", "insert into notes values ('shared')")
        # The first is in use, so the other is one of its own.
        async with entered(pool.connection()) as first, entered(pool.connection()) as other:
            assert other is not first
            for connection in (first, other):
                assert await ask(connection, "select word from notes") == [("shared",)]


@pytest.mark.parametrize("database", ["sqlite://", "file"])
@in_worlds(SQLITE)
async def test_eight_writers_at_once_lose_no_row(world: World, database: str, tmp_path: Path) -> None:
    url = address(database, tmp_path)
    async with entered(world.pool(f"{url}?busy_timeout=30s", max_open=WRITERS)) as pool:
        async with entered(pool.connection()) as connection:
            await ask(connection, "create table notes (writer int, number int)")

        async def writer(name: int) -> None:
            for number in range(ROWS):
                async with entered(pool.connection()) as connection:
                    await ask(connection, f"insert into notes values ({name}, {number})")

        await world.crowd(*(writer(name) for name in range(WRITERS)))
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select count(*) from notes") == [(WRITERS * ROWS,)]
        stats = pool.stats()
        assert stats.acquire_count == WRITERS * ROWS + 2
        assert (stats.in_use, stats.discarded, stats.connect_errors) == (0, 0, 0)


@in_worlds(SQLITE)
async def test_a_file_gets_a_write_ahead_log_and_readers_beside_a_writer(
    world: World, tmp_path: Path
) -> None:
    async with entered(world.pool(f"sqlite:///{tmp_path / 'app.db'}", max_open=2)) as pool:
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "pragma journal_mode") == [("wal",)]
            await ask(connection, "create table notes (word text)")
        async with entered(pool.transaction()) as writing:
            await ask(writing, "insert into notes values ('not yet')")
            async with entered(pool.connection()) as reading:
                assert await ask(reading, "select count(*) from notes") == [(0,)]
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select count(*) from notes") == [(1,)]


@in_worlds(SQLITE)
async def test_transactions_that_read_and_then_write_do_not_lose_an_update(
    world: World, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}?busy_timeout=30s"
    async with entered(world.pool(url, max_open=4)) as pool:
        async with entered(pool.connection()) as connection:
            await ask(connection, "create table counter (value int)")
            await ask(connection, "insert into counter values (0)")

        async def count() -> None:
            for _ in range(10):
                async with entered(pool.transaction()) as connection:
                    ((value,),) = await ask(connection, "select value from counter")
                    await ask(connection, f"update counter set value = {value + 1}")

        await world.crowd(*(count() for _ in range(4)))
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select value from counter") == [(40,)]


@in_worlds(SQLITE)
async def test_a_transaction_rolls_back_on_an_error(world: World, tmp_path: Path) -> None:
    async with entered(world.pool(f"sqlite:///{tmp_path / 'app.db'}")) as pool:
        async with entered(pool.connection()) as connection:
            await ask(connection, "create table notes (word text)")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await use(pool.transaction(), "insert into notes values ('lost')", "select * from nowhere")
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select count(*) from notes") == [(0,)]
        assert (pool.stats().connect_count, pool.stats().discarded) == (1, 0)


@in_worlds(SQLITE)
async def test_a_transaction_left_open_is_rolled_back_with_a_warning(world: World, tmp_path: Path) -> None:
    async with entered(world.pool(f"sqlite:///{tmp_path / 'app.db'}")) as pool:
        async with entered(pool.connection()) as connection:
            await ask(connection, "create table notes (word text)")
        with pytest.warns(RuntimeWarning, match=r"rolled back .*test_sqlite_pools\.py:\d+"):
            await use(pool.connection(), "begin", "insert into notes values ('left open')")
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select count(*) from notes") == [(0,)]


@in_worlds(SQLITE)
async def test_a_database_in_memory_outlives_its_connections_while_the_pool_is_there(world: World) -> None:
    async with entered(world.pool("sqlite://", max_open=1)) as pool:
        lease = await done(pool.acquire())
        await ask(lease.connection, "create table notes (word text)")
        lease.discard()
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select count(*) from notes") == [(0,)]
        assert pool.stats().connect_count == 2


@in_worlds(SQLITE)
async def test_a_file_that_cannot_be_opened_is_named(world: World, tmp_path: Path) -> None:
    async with entered(world.pool(f"sqlite:///{tmp_path / 'nowhere' / 'app.db'}")) as pool:
        with pytest.raises(cenote.ConnectError, match="unable to open database file"):
            await done(pool.ping())
