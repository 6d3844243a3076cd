"""Deadlines wherever they may fall: among rows, at both ends of a transaction, before anything is sent."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from itertools import count as numbered
from typing import Any

import pytest

import cenote
from tests.patience import growing
from tests.sql.stages import SQLiteStage, Stage, proxied
from tests.sql.subjects import SERVED, SUBJECTS, Subject, Tally, at_rest, done, entered, on, take

SQLITES = [subject for subject in SUBJECTS if subject.family == "sqlite"]
STREAMING = [subject for subject in SUBJECTS if subject.streams]
_tables = numbered(1)


@asynccontextmanager
async def scratch(db: Any) -> AsyncIterator[str]:
    """Make a table for one test, and remove it."""
    name = f"deadlines_{next(_tables)}"
    await done(db.exec(f"create table {name} (value integer)"))
    try:
        yield name
    finally:
        await done(db.exec(f"drop table {name}"))


async def begun(db: Any, table: str) -> Any:
    """Begin a transaction with a short deadline, and insert a row before it, however busy the machine is."""
    for deadline in growing(0.1):
        with suppress(cenote.PoolTimeout, cenote.TxDone):
            tx = await done(db.begin(timeout=deadline))
            await done(tx.exec(f"insert into {table} values (1)"))
            break
    return tx


@on(STREAMING)
async def test_a_deadline_ends_the_reading_of_rows_that_are_still_coming(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        await done(db.query_row("select 1"))
        for deadline in growing(0.2):
            tally = Tally()
            with pytest.raises(cenote.PoolTimeout) as caught:
                await tally.read(await done(db.query(subject.numbers(), timeout=deadline)))
            assert caught.value.phase == "statement"
            assert db.stats().in_use == 0
            if tally.rows >= 256:
                break
        assert tuple(await done(db.query_row("select 7"))) == (7,)
        if subject.family != "sqlite":
            await subject.aside(partial(stage.wait_for, statements=0))


@on(STREAMING)
async def test_the_block_around_the_reading_bounds_it_although_the_query_had_no_deadline(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        rows = await done(db.query(subject.numbers()))
        with pytest.raises(cenote.PoolTimeout), cenote.timeout(0.1):
            await Tally().read(rows)
        assert db.stats().in_use == 0
        assert tuple(await done(db.query_row("select 7"))) == (7,)


@on(STREAMING)
@pytest.mark.parametrize("held", [False, True], ids=["borrowed", "held"])
async def test_rows_whose_deadline_passed_while_nobody_read_leave_no_trace_on_the_connection(
    subject: Subject, stage: Stage, held: bool
) -> None:
    # MySQL's protocol has no way to skip rows but to read them, so there are only so many.
    count = 20_000 if subject.family == "mysql" else None
    async with entered(subject.open(stage.url(subject), max_open=1)) as db, entered(db.conn()) as conn:
        place = conn if held else db
        if not held:
            await done(conn.close())
        rows = await done(place.query(subject.numbers(count)))
        await take(rows, 10)
        with cenote.timeout(1e-9), pytest.raises(cenote.PoolTimeout):
            await Tally().read(rows)
        if held:
            assert tuple(await done(conn.query_row("select 7"))) == (7,)
            await done(conn.close())
        assert db.stats().in_use == 0
        assert tuple(await done(db.query_row("select 8"))) == (8,)


@on(SERVED)
async def test_a_deadline_that_passed_before_sends_nothing(subject: Subject, stage: Stage) -> None:
    with proxied(stage, subject) as (proxy, url):
        async with entered(subject.open(url, max_open=1)) as db:
            await done(db.query_row("select 1"))
            stmt = db.prepare("select 1")
            proxy.mark()
            for ask in (db.query_row, db.exec):
                with pytest.raises(cenote.PoolTimeout, match="before it was sent"):
                    await done(ask("select 1", timeout=1e-9))
            with pytest.raises(cenote.PoolTimeout, match="before it was sent"):
                await done(db.query("select 1", timeout=1e-9))
            with pytest.raises(cenote.PoolTimeout, match="before it was sent"):
                await done(stmt.query_row(timeout=1e-9))
            with pytest.raises(cenote.PoolTimeout, match="before it was sent"), cenote.timeout(1e-9):
                await done(db.begin())
            assert proxy.bytes_to_server() == 0
            assert db.stats().connect_count == 1
            assert db.stats().in_use == 0


@on(SERVED)
async def test_a_beginning_that_hangs_ends_at_its_deadline(subject: Subject, stage: Stage) -> None:
    with proxied(stage, subject) as (proxy, url):
        async with entered(subject.open(url, max_open=1)) as db:
            await done(db.query_row("select 1"))
            proxy.freeze()
            with pytest.raises(cenote.PoolTimeout) as caught:
                await done(db.begin(timeout=0.1))
            assert caught.value.phase == "statement"
            assert db.stats().in_use == 0
            proxy.thaw()
            async with entered(db.begin()) as tx:
                assert tuple(await done(tx.query_row("select 7"))) == (7,)


@on(SQLITES)
async def test_a_beginning_that_waits_for_a_writer_of_sqlite_ends_at_its_deadline(
    subject: Subject, stage: SQLiteStage
) -> None:
    async with entered(subject.open(stage.url(subject, busy_timeout="30s"), max_open=1)) as db:
        await done(db.query_row("select 1"))
        with closing(sqlite3.connect(stage.file, isolation_level=None)) as writer:
            writer.execute("begin immediate")
            with pytest.raises(cenote.PoolTimeout) as caught:
                await done(db.begin(timeout=0.1))
            assert caught.value.phase == "statement"
            with pytest.raises(cenote.PoolTimeout):
                await done(db.exec("create table nobody (value integer)", timeout=0.1))
            writer.execute("rollback")
        assert tuple(await done(db.query_row("pragma busy_timeout"))) == (30_000,)
        async with entered(db.begin()) as tx:
            assert tuple(await done(tx.query_row("select 7"))) == (7,)


@on(SERVED)
async def test_of_a_commit_past_its_deadline_nobody_knows_so_its_connection_is_closed(
    subject: Subject, stage: Stage
) -> None:
    with proxied(stage, subject) as (proxy, url):
        async with entered(subject.open(url, max_open=1)) as db, scratch(db) as table:
            tx = await done(db.begin())
            await done(tx.exec(f"insert into {table} values (1)"))
            proxy.freeze()
            with cenote.timeout(0.1), pytest.raises(cenote.PoolTimeout) as caught:
                await done(tx.commit())
            assert caught.value.phase == "statement"
            for end in (tx.commit, tx.rollback):
                with pytest.raises(cenote.TxDone, match="its commit failed"):
                    await done(end())
            assert db.stats().in_use == 0
            assert db.stats().discarded == 1
            proxy.thaw()
            await subject.aside(partial(stage.wait_for, transactions=0))
            assert (await done(db.query_row(f"select count(*) from {table}")))[0] in {0, 1}


@on([subject for subject in SERVED if subject.family == "postgresql"])
async def test_a_commit_that_the_server_stopped_in_time_has_not_happened(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db, scratch(db) as table:
        await done(
            db.exec(
                f"create or replace function {table}_slowly() returns trigger language plpgsql"
                " as $$ begin perform pg_sleep(10); return null; end $$"
            )
        )
        await done(
            db.exec(
                f"create constraint trigger slowly after insert on {table}"
                f" deferrable initially deferred for each row execute function {table}_slowly()"
            )
        )
        with pytest.raises(cenote.PoolTimeout):
            async with entered(db.begin(timeout=0.2)) as tx:
                await done(tx.exec(f"insert into {table} values (1)"))
        await subject.aside(partial(stage.wait_for, statements=0, transactions=0))
        assert tuple(await done(db.query_row(f"select count(*) from {table}"))) == (0,)


@on(SERVED)
async def test_exec_many_ends_at_its_deadline(subject: Subject, stage: Stage) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db, scratch(db) as table:
        slow = {
            "postgresql": f"select {subject.mark}::int from pg_sleep(0.01)",
            "mysql": f"select {subject.mark} + sleep(0.01)",
        }[subject.family]
        with pytest.raises(cenote.PoolTimeout) as caught:
            await done(
                db.exec_many(
                    f"insert into {table} {slow}", [(number,) for number in range(1000)], timeout=0.2
                )
            )
        assert caught.value.phase == "statement"
        await subject.aside(partial(stage.wait_for, statements=0, transactions=0))
        assert db.stats().in_use == 0
        assert (await done(db.query_row(f"select count(*) from {table}")))[0] < 1000


@on(SUBJECTS)
async def test_a_prepared_statement_ends_at_its_deadline_and_can_be_used_again(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        slow, quick = db.prepare(subject.sleep(1000, 5)), db.prepare("select 7")
        for _ in range(2):
            assert tuple(await done(quick.query_row())) == (7,)
            with pytest.raises(cenote.PoolTimeout) as caught:
                await done(slow.query_row(timeout=0.05))
            assert caught.value.phase == "statement"
        assert tuple(await done(quick.query_row())) == (7,)
        assert db.stats().in_use == 0


@on(SUBJECTS)
async def test_a_transaction_is_rolled_back_at_its_deadline_though_its_user_does_something_else(
    subject: Subject, stage: Any
) -> None:
    wait = stage.wait_for_no_writer if subject.family == "sqlite" else partial(stage.wait_for, transactions=0)
    async with entered(subject.open(stage.url(subject), max_open=2)) as db, scratch(db) as table:
        tx = await begun(db, table)
        await subject.aside(wait)
        for use in (partial(tx.exec, "select 1"), tx.commit, tx.rollback):
            with pytest.raises(cenote.TxDone, match="its deadline passed"):
                await done(use())
        assert tx.done

        async def wait_inside() -> None:
            tx = await begun(db, table)
            async with entered(tx):
                await subject.aside(wait)

        with pytest.raises(cenote.PoolTimeout, match="its deadline passed"):
            await wait_inside()
        assert tuple(await done(db.query_row(f"select count(*) from {table}"))) == (0,)
        assert await at_rest(db)


@on(SUBJECTS)
async def test_a_transaction_whose_statement_was_cut_short_is_rolled_back_though_its_user_carries_on(
    subject: Subject, stage: Any
) -> None:
    wait = stage.wait_for_no_writer if subject.family == "sqlite" else partial(stage.wait_for, transactions=0)
    async with entered(subject.open(stage.url(subject), max_open=2)) as db, scratch(db) as table:
        tx = await begun(db, table)
        with pytest.raises((cenote.PoolTimeout, cenote.TxDone)):  # the latter if the machine pauses here
            await done(tx.query_row(subject.sleep(1000)))
        await subject.aside(wait)
        with pytest.raises(cenote.TxDone):
            await done(tx.exec("select 1"))
        assert tuple(await done(db.query_row(f"select count(*) from {table}"))) == (0,)


@on(SUBJECTS)
async def test_a_transaction_goes_on_after_the_shorter_deadline_of_a_statement_in_it(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db, scratch(db) as table:
        tx = await done(db.begin(timeout=30))
        with pytest.raises(cenote.PoolTimeout):
            await done(tx.query_row(subject.sleep(1000), timeout=0.05))
        await done(tx.rollback())
        assert db.stats().in_use == 0
        async with entered(db.begin(timeout=30)) as tx:
            await done(tx.exec(f"insert into {table} values (1)"))
        assert tuple(await done(db.query_row(f"select count(*) from {table}"))) == (1,)


def test_a_deadline_of_one_thread_is_not_that_of_another(tmp_path: Any) -> None:
    with cenote.open(f"sqlite:///{tmp_path}/app.db") as db:
        found: list[int] = []
        with cenote.timeout(1e-9):
            thread = threading.Thread(target=lambda: found.append(db.query_row("select 7")[0]))
            thread.start()
            thread.join()
        assert found == [7]
