"""What asyncpg's dialect does that the contract does not ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

import cenote
from cenote.sql import AsyncDB
from tests.servers.fixtures_pgbouncer import MakePgBouncer, make_pgbouncer
from tests.servers.postgres import PostgresServer

__all__ = ["make_pgbouncer"]  # a fixture

SERIES = "select i from generate_series(1, $1::int) as i"
NAME = "contract-asyncpg"


@pytest.fixture
async def db(postgres: PostgresServer) -> AsyncIterator[AsyncDB]:
    url = f"{postgres.url('postgresql+asyncpg')}?application_name={NAME}"
    async with cenote.open_async(url, max_open=1) as handle:
        await handle.exec("drop table if exists notes")
        await handle.exec("create table notes (id serial, word text)")
        yield handle
        assert handle.stats().in_use == 0


async def take(rows: Any, count: int) -> list[int]:
    taken: list[int] = []
    async for row in rows:
        taken.append(row.i)
        if len(taken) == count:
            break
    return taken


def transactions(postgres: PostgresServer) -> int:
    """Count the connections of this file that have a transaction open, as the server sees it."""
    with postgres.admin() as admin:
        seen = "from pg_stat_activity where application_name = %s and state like 'idle in transaction%%'"
        found = admin.execute(f"select count(*) {seen}", (NAME,)).fetchone()
    assert found is not None
    count: int = found[0]
    return count


async def test_a_result_is_here_whole_and_knows_its_columns_after_its_connection_was_closed(
    db: AsyncDB,
) -> None:
    rows = await db.query(SERIES, 10_000)
    assert db.stats().in_use == 0
    await db.close()
    assert [(column.name, column.type) for column in rows.columns] == [("i", "int4")]
    assert len(await rows.all()) == 10_000


async def test_columns_of_the_same_name_all_come(db: AsyncDB) -> None:
    row = await db.query_row("select 1 as a, 2 as a, 3 as b")
    assert (tuple(row), row.a, row.keys()) == ((1, 2, 3), 1, ("a", "a", "b"))


async def test_a_table_that_has_changed_is_asked_again(db: AsyncDB) -> None:
    await db.exec("insert into notes (word) values ('one')")
    assert tuple(await (await db.query("select * from notes")).all()) == ((1, "one"),)
    await db.exec("alter table notes add column more text")
    assert tuple(await (await db.query("select * from notes")).all()) == ((1, "one", None),)


async def test_in_a_transaction_a_table_that_has_changed_is_an_error_once(db: AsyncDB) -> None:
    await (await db.query("select * from notes")).all()
    await db.exec("alter table notes add column more text")
    with pytest.raises(asyncpg.InvalidCachedStatementError):
        async with db.begin() as tx:
            await tx.query("select * from notes")
    async with db.begin() as tx:
        assert len((await tx.query("select * from notes")).columns) == 3


async def test_a_stream_begins_and_ends_a_transaction_of_its_own(
    postgres: PostgresServer, db: AsyncDB
) -> None:
    rows = await db.query(SERIES, 1000, stream=True)
    assert transactions(postgres) == 1
    assert len(await rows.all()) == 1000
    assert transactions(postgres) == 0
    async with db.query(SERIES, 1000, stream=True) as rows:
        assert await take(rows, 3) == [1, 2, 3]
    assert transactions(postgres) == 0
    assert db.stats().connect_count == 1


async def test_what_a_stream_has_inserted_is_kept(db: AsyncDB) -> None:
    insert = "insert into notes (word) select i::text from generate_series(1, 1000) as i returning id as i"
    async with db.query(insert, stream=True) as rows:
        assert await take(rows, 2) == [1, 2]
    assert tuple(await db.query_row("select count(*) from notes")) == (1000,)


@pytest.mark.parametrize(
    "sql", ["select 1 / (500 - i) as i from generate_series(1, 1000) as i", "select nothing"]
)
async def test_a_stream_that_fails_leaves_its_connection_in_order(
    postgres: PostgresServer, db: AsyncDB, sql: str
) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await (await db.query(sql, stream=True)).all()
    assert transactions(postgres) == 0
    assert tuple(await db.query_row("select 1")) == (1,)
    assert db.stats().connect_count == 1


@pytest.mark.parametrize("count", [3, 1000])
async def test_after_a_stream_in_a_transaction_its_table_can_be_altered(db: AsyncDB, count: int) -> None:
    await db.exec("insert into notes (word) select i::text from generate_series(1, 1000) as i")
    async with db.begin() as tx:
        async with tx.query("select id as i from notes", stream=True) as rows:
            await take(rows, count)
        await tx.exec("alter table notes add column more text")


async def test_a_statement_without_parameters_is_prepared_when_asked_for(db: AsyncDB) -> None:
    async with db.prepare("insert into notes (word) values ('one')") as stmt:
        assert (await stmt.exec()).rows_affected == 1
    held = await db.query("select statement from pg_prepared_statements")
    assert ("insert into notes (word) values ('one')",) in await held.all()


@pytest.mark.parametrize("said", ["?prepare=off", "?statement_cache_size=0"])
async def test_without_preparing_the_server_keeps_nothing(postgres: PostgresServer, said: str) -> None:
    async with cenote.open_async(f"{postgres.url('postgresql+asyncpg')}{said}", max_open=1) as db:
        for stream in (None, True):
            assert len(await (await db.query(SERIES, 300, stream=stream)).all()) == 300
        await db.exec("select $1::int", 1)
        await db.query_row("select $1::text", "x")
        await db.exec_many("select $1::int", [(1,), (2,)])
        await db.prepare(SERIES).query_row(3)
        assert tuple(await db.query_row("select count(*) from pg_prepared_statements")) == (0,)


@pytest.mark.parametrize("ask", ["query", "query_row", "exec"])
async def test_a_refused_argument_does_not_keep_a_proxys_server_connection(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer, ask: str
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=1)
    url = f"{bouncer.url('postgresql+asyncpg')}?prepare=off"
    async with cenote.open_async(url, max_open=1) as one, cenote.open_async(url, max_open=1) as two:
        with pytest.raises(asyncpg.DataError):
            await getattr(one, ask)("select $1::int", "no number")
        assert tuple(await two.query_row("select $1::int", 7, timeout=10)) == (7,)
