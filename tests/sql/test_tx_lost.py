"""A transaction that the database ends by itself: nothing that follows in it may run on its own."""

from __future__ import annotations

from typing import Any

import pytest

import cenote
from tests.patience import growing
from tests.sql.stages import Stage
from tests.sql.subjects import SUBJECTS, Subject, done, each, entered, on

MYSQL = [subject for subject in SUBJECTS if subject.family == "mysql"]
SQLITE = [subject for subject in SUBJECTS if subject.family == "sqlite"]
BIND_PREPARED = [subject for subject in MYSQL if subject.name in ("asyncmy", "mysqlconnector")]
DEADLOCK = 1213

ENDLESS = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n) select i, i from n"


async def fill(db: Any, table: str, create: str = "create") -> None:
    await done(db.exec(f"{create} table {table} (id integer primary key, v integer)"))
    for number in (1, 2, 3):
        await done(db.exec(f"insert into {table} values ({number}, 0)"))


@on(MYSQL)
async def test_who_is_rolled_back_in_a_deadlock_can_do_nothing_more(subject: Subject, stage: Stage) -> None:
    async with entered(subject.open(stage.url(subject), max_open=3)) as db:
        table = f"lost_{subject.name}"
        await fill(db, table, "create or replace")
        one, two = await done(db.begin()), await done(db.begin())
        await done(one.exec(f"update {table} set v = 1 where id = 1"))
        await done(two.exec(f"update {table} set v = 2 where id = 2"))
        lost: list[Any] = []

        async def cross(tx: Any, number: int) -> None:
            try:
                await done(tx.exec(f"update {table} set v = 9 where id = {number}"))
            except Exception as error:  # noqa: BLE001 - each driver has one of its own
                lost.append((tx, error.args[0]))

        await subject.crowd(cross(one, 2), cross(two, 1))
        ((victim, code),) = lost
        assert code == DEADLOCK
        with pytest.raises(cenote.TxDone, match="the database has ended it"):
            await done(victim.exec(f"update {table} set v = 77 where id = 3"))
        await done((two if victim is one else one).rollback())
        assert [row async for row in each(db.query(f"select v from {table}"))] == [(0,)] * 3
        assert db.stats().in_use == 0


@on(SQLITE)
async def test_nor_can_who_is_rolled_back_by_sqlite_for_a_write_cut_short(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        await fill(db, "t")
        tx = await done(db.begin())
        await done(tx.exec("update t set v = 1"))
        for deadline in growing(0.05):
            with pytest.raises(cenote.PoolTimeout) as caught:
                await done(tx.exec(ENDLESS.replace("i, i", "i + 10, i"), timeout=deadline))
            if "before it was sent" not in str(caught.value):
                break
        with pytest.raises(cenote.TxDone, match="the database has ended it"):
            await done(tx.exec("update t set v = 77"))
        assert tx.done
        assert [row async for row in each(db.query("select v from t"))] == [(0,)] * 3


@on(SUBJECTS)
async def test_rows_wanted_at_once_give_the_connection_back_however_many(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        rows = await done(db.query(subject.numbers(1000), stream=False))
        assert db.stats().in_use == 0
        assert [row.i async for row in each(rows)] == list(range(1, 1001))


@on(BIND_PREPARED)
async def test_a_server_that_binds_only_what_is_prepared_is_given_that(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        for asked, prepared in ((None, 0), (False, 1)):
            await done(db.query_row("select 1 + %s", 1, interpolate=asked))
            row = await done(db.query_row("show session status like 'Com_stmt_prepare'"))
            assert int(row[1]) == prepared
    with pytest.raises(cenote.ConfigError, match=r"interpolate: .* leave out prepare=False"):
        subject.open(stage.url(subject), interpolate=False, prepare=False)
