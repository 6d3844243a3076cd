"""The handle behind PgBouncer in transaction mode: all of it works, but only with ``prepare=False``."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

import psycopg
import pytest

import cenote
from tests.patience import CHANCES, SAFETY, growing
from tests.servers.fixtures_pgbouncer import MakePgBouncer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.sql.subjects import PGBOUNCER, Subject, at_rest, done, each, entered, on, take

NEVER_BY_ITSELF = {"asyncpg": "?statement_cache_size=0"}
DEADLINE, LATE, SERVER_IS_RID_OF_IT = 0.3, 0.1, 1.0


def open_behind(bouncer: PgBouncer, subject: Subject, **options: Any) -> Any:
    """Open a handle as the guide says to."""
    url = f"{bouncer.url(subject.scheme)}{NEVER_BY_ITSELF.get(subject.name, '')}"
    return subject.open(url, prepare=False, connect_timeout="60s", **options)


@on(PGBOUNCER)
async def test_every_kind_of_statement_answers_right(
    subject: Subject, breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode="transaction", default_pool_size=1)
    mark = subject.mark
    async with entered(open_behind(bouncer, subject, max_open=3)) as db:
        table = f"behind_{subject.name.replace('-', '_')}"
        await done(db.exec(f"create table {table} (value integer)"))
        stmt = db.prepare(f"select {mark}::int + 1 as value")
        for number in range(12):  # more often than any driver waits before it prepares by itself
            result = await done(db.exec(f"insert into {table} values ({mark})", number))
            assert result.rows_affected == 1
            assert tuple(await done(db.query_row(f"select {mark}::int", number))) == (number,)
            assert tuple(await done(stmt.query_row(number))) == (number + 1,)
            async with entered(db.begin()) as tx:
                inner = tx.stmt(stmt)
                assert tuple(await done(inner.query_row(number))) == (number + 1,)
        rows = await done(db.query(f"select value from {table} order by value"))
        assert [row.value async for row in each(rows)] == list(range(12))
        async with entered(await done(db.query(subject.numbers(2000)))) as rows:
            assert [row.i for row in await take(rows, 300)] == list(range(1, 301))
        await done(db.exec_many(f"insert into {table} values ({mark})", [(number,) for number in range(10)]))
        assert tuple(await done(db.query_row(f"select count(*) from {table}"))) == (22,)
        await done(db.exec(f"drop table {table}"))
        assert db.stats().in_use == 0
        assert breakable.count_backends() == 1


@on(PGBOUNCER)
async def test_twenty_users_of_more_connections_than_the_server_gives_get_their_own_answers(
    subject: Subject, breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode="transaction", default_pool_size=3)
    mark = subject.mark
    async with entered(open_behind(bouncer, subject, max_open=12)) as db:
        stmt = db.prepare(f"select {mark}::int * 2 as value")

        async def user(name: int) -> None:
            for number in range(name, name + 10):
                assert tuple(await done(stmt.query_row(number))) == (2 * number,)
                # Of another type each time: somebody else's statement would not even take it.
                kind, value = [("int", number), ("text", f"{number}"), ("bool", True)][number % 3]
                assert tuple(await done(db.query_row(f"select {mark}::{kind}", value))) == (value,)
            async with entered(db.begin()) as tx:
                await done(tx.exec(f"select set_config('cenote.name', '{name}', true)"))
                for _ in range(3):
                    row = await done(tx.query_row("select current_setting('cenote.name')"))
                    assert tuple(row) == (str(name),)

        await subject.crowd(*(user(name) for name in range(20)))
        assert breakable.count_backends() <= 3
        assert db.stats().in_use == 0


@on(PGBOUNCER)
async def test_a_deadline_reaches_the_server_through_pgbouncer(
    subject: Subject, breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode="transaction", default_pool_size=2)
    times: list[float] = []
    async with entered(open_behind(bouncer, subject, max_open=2)) as db:
        for _ in range(CHANCES):
            await done(db.query_row("select 1"))
            begun = monotonic()
            with pytest.raises(cenote.PoolTimeout) as caught:
                await done(db.query_row(subject.sleep(10), timeout=DEADLINE))
            times.append(monotonic() - begun)
            assert caught.value.phase == "statement"
            gone = await subject.aside(partial(wait_until_idle, breakable))
            for value in range(10):  # whoever has the server connection next is not cancelled
                assert tuple(await done(db.query_row(subject.sleep(0.001, value)))) == (value,)
            assert db.stats().in_use == 0
            if times[-1] <= DEADLINE + LATE and gone <= SERVER_IS_RID_OF_IT:
                return
    raise AssertionError(f"the caller waited too long each time, or the server went on: {times}")


@on(PGBOUNCER)
async def test_a_transaction_past_its_deadline_gives_the_server_connection_back(
    subject: Subject, breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode="transaction", default_pool_size=1)
    async with entered(open_behind(bouncer, subject, max_open=2)) as db:
        await done(db.query_row("select 1"))
        for deadline in growing(0.1):
            with suppress(cenote.PoolTimeout, cenote.TxDone):
                tx = await done(db.begin(timeout=deadline))
                await done(tx.exec("select 1"))
                break
        # It needs the only server connection there is.
        assert tuple(await done(db.query_row("select 7"))) == (7,)
        with pytest.raises(cenote.TxDone, match="its deadline passed"):
            await done(tx.commit())
        assert await at_rest(db)


def wait_until_idle(server: PostgresServer) -> float:
    """Return when the server executes nothing for its clients, and after how many seconds."""
    begun = monotonic()
    active = "select from pg_stat_activity where usename = 'app' and state = 'active'"
    with server.admin() as admin:
        while monotonic() - begun < SAFETY:
            if not admin.execute(active).fetchall():
                return monotonic() - begun
            admin.execute("select pg_sleep(0.005)")
    raise AssertionError("the server goes on with a statement past its deadline")


def test_without_prepare_false_prepared_statements_fail_as_the_guide_says(
    breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    # PgBouncer since 1.21 would keep them apart; Debian's is older.
    bouncer = make_pgbouncer(breakable, pool_mode="transaction", default_pool_size=1)
    with (
        cenote.open(bouncer.url(), max_open=2, connect_timeout="60s") as db,
        db.conn() as one,
        db.conn() as two,
    ):
        assert one.prepare("select 1").query_row()[0] == 1
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            two.prepare("select 2").query_row()


def test_with_prepare_off_in_the_url_the_same_statements_are_served(
    breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode="transaction", default_pool_size=1)
    url = f"{bouncer.url()}?prepare=off&connect_timeout=60s"
    with cenote.open(url, max_open=2) as db, db.conn() as one, db.conn() as two:
        for _ in range(8):
            assert one.prepare("select 1").query_row()[0] == 1
            assert two.prepare("select 2").query_row()[0] == 2
