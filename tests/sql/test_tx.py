"""Transactions: they end once, all or nothing, and give their connection back in every way they can end."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

import cenote
from cenote.testing import FakeClock
from tests.patience import growing
from tests.sql.worlds import INSERT, MANY, NO_TABLE, World, done, each, first, using


class Trouble(Exception):
    """What a user's code raises inside a block."""


async def in_trouble(db: Any, work: Callable[[Any], Any]) -> None:
    """Do some work in a transaction, and then fail."""
    async with using(db.begin()) as tx:
        await work(tx)
        raise Trouble


async def test_a_block_commits(world: World) -> None:
    db = await world.open_people()
    async with using(db.begin()) as tx:
        await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
        assert not tx.done
    assert tx.done
    assert await world.count(db) == 1
    assert db.stats().in_use == 0


async def test_a_block_that_fails_rolls_back_and_its_error_goes_on(world: World) -> None:
    db = await world.open_people()

    async def work(tx: Any) -> None:
        await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
        assert await world.count(tx) == 1

    with pytest.raises(Trouble):
        await in_trouble(db, work)
    assert await world.count(db) == 0
    assert db.stats().in_use == 0
    assert db.stats().discarded == 0


async def test_nobody_sees_what_is_not_committed(world: World) -> None:
    db = await world.open_people()
    tx = await done(db.begin())
    await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
    assert await world.count(db) == 0
    await done(tx.commit())
    assert await world.count(db) == 1


async def test_after_a_rollback_everything_says_that_it_is_over(world: World) -> None:
    db = await world.open_people()
    tx = await done(db.begin())
    await done(tx.rollback())
    await everything_refuses(tx, "it was rolled back")


async def test_after_a_commit_everything_says_that_it_is_over(world: World) -> None:
    db = await world.open_people()
    tx = await done(db.begin())
    await done(tx.commit())
    await everything_refuses(tx, "it was committed")


async def everything_refuses(tx: Any, why: str) -> None:
    for use in (
        tx.commit,
        tx.rollback,
        partial(tx.query, "select 1"),
        partial(tx.query_row, "select 1"),
        partial(tx.exec, "select 1"),
        partial(tx.exec_many, "select 1", []),
        tx.prepare("select 1").query_row,
        lambda: tx.driver_connection,
    ):
        with pytest.raises(cenote.TxDone, match=why):
            await done(use())
    assert tx.done


async def test_a_block_may_end_its_transaction_itself(world: World) -> None:
    db = await world.open_people()
    async with using(db.begin()) as tx:
        await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
        await done(tx.rollback())
    async with using(db.begin()) as tx:
        await done(tx.exec(world.sql(INSERT), 2, "bolt", 3))
        await done(tx.commit())
    assert await world.count(db) == 1


async def test_a_transaction_that_has_not_begun_says_so() -> None:
    async with cenote.open_async("sqlite://") as db:
        tx = db.begin()
        with pytest.raises(cenote.TxDone, match="has not begun"):
            await tx.exec("select 1")
        assert db.stats().connect_count == 0


async def test_a_query_in_a_transaction_returns_rows(world: World) -> None:
    db = await world.open_people()
    async with using(db.begin()) as tx:
        rows = await done(tx.query("select name from people order by id"))
        assert [row.name async for row in each(rows)] == ["Alice", "Bob", "Chris"]


async def test_a_wrong_query_in_a_transaction_raises_the_driver_s_error(world: World) -> None:
    db = await world.open_people()
    tx = await done(db.begin())
    with pytest.raises(Exception, match=NO_TABLE):
        await done(tx.query("select name from nowhere"))
    await done(tx.rollback())
    assert db.stats().in_use == 0
    assert db.stats().discarded == 0


async def test_the_commit_of_a_failed_transaction_does_not_pass_for_one(world: World) -> None:
    db = await world.open_people()
    tx = await done(db.begin())
    await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
    with pytest.raises(Exception, match=NO_TABLE):
        await done(tx.exec("select name from nowhere"))
    if world.database == "postgresql":
        with pytest.raises(cenote.TxDone, match="the server rolled it back"):
            await done(tx.commit())
        assert await world.count(db) == 0
    else:  # a statement that failed undoes nothing but itself
        await done(tx.commit())
        assert await world.count(db) == 1
    assert db.stats().in_use == 0


async def test_two_results_may_be_open_in_one_transaction(world: World) -> None:
    db = world.open()
    async with using(db.begin()) as tx:
        one = await done(tx.query(world.numbers(MANY)))
        assert await first(one, 2) == [(1,), (2,)]
        other = await done(tx.query(world.numbers(MANY)))
        assert await first(other, 300) == [(i,) for i in range(1, 301)]
        assert [row.i async for row in each(one)] == list(range(3, MANY + 1))
        assert [row.i async for row in each(other)] == list(range(301, MANY + 1))


async def test_a_statement_for_each_row_loses_none_of_them(world: World) -> None:
    db = await world.open_people()
    async with using(db.begin()) as tx:
        insert = tx.prepare(world.sql(INSERT))
        async for row in each(await done(tx.query(world.numbers(600)))):
            await done(insert.exec(row.i, "nut", row.i))
    assert await world.count(db) == 600


async def test_rows_nobody_closed_hold_up_no_rollback(world: World) -> None:
    db = world.open()
    tx = await done(db.begin())
    rows = await done(tx.query(world.numbers(MANY)))
    await done(tx.rollback())
    assert db.stats().in_use == 0
    assert db.stats().discarded == 0
    await done(rows.close())


async def test_rows_being_read_are_whole_after_a_commit(world: World) -> None:
    db = world.open()
    tx = await done(db.begin())
    rows = await done(tx.query(world.numbers(MANY)))
    await first(rows)
    await done(tx.commit())
    assert len(await done(rows.all())) == MANY - 1
    assert db.stats().in_use == 0


async def test_rows_dropped_unread_hold_up_nothing(world: World) -> None:
    db = world.open(max_open=1)
    async with using(db.begin()) as tx:
        await done(tx.query(world.numbers(MANY)))
        gc.collect()
        assert (await done(tx.query_row("select 7")))[0] == 7
    assert db.stats().discarded == 0


async def test_rows_dropped_unread_are_not_forgotten_by_a_statement_that_has_no_time_left(
    world: World,
) -> None:
    db = world.open(max_open=1)
    async with using(db.begin()) as tx:
        await done(tx.query(world.numbers(MANY)))
        gc.collect()
        with pytest.raises(cenote.PoolTimeout, match="passed before it was sent"):
            await done(tx.query_row("select 7", timeout=0))
        assert (await done(tx.query_row("select 7")))[0] == 7
    assert db.stats().discarded == 0


async def test_a_transaction_that_only_reads_cannot_write(world: World) -> None:
    db = await world.open_people(max_open=1)
    tx = await done(db.begin(read_only=True))
    assert await world.count(tx, "people") == 3
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
    await done(tx.rollback())
    for end in ("commit", "rollback"):
        reading = await done(db.begin(read_only=True))
        await done(getattr(reading, end)())
        await done(db.exec("delete from things"))  # the next user of the connection may
    assert db.stats().connect_count == 1


async def test_the_isolation_is_what_was_asked_for(world: World) -> None:
    db = await world.open_people(max_open=1)
    async with using(db.begin("serializable")) as tx:
        if world.database == "postgresql":
            assert await done(tx.query_row("show transaction_isolation")) == ("serializable",)
        assert await world.count(tx, "people") == 3
    if world.database == "postgresql":
        assert await done(db.query_row("show transaction_isolation")) == ("read committed",)


async def test_a_level_that_the_database_does_not_have_is_refused_before_anything_is_sent(
    world: World,
) -> None:
    db = world.open()
    with pytest.raises(cenote.ConfigError, match=r"isolation: must be one of .*serializable.*, got 'chaos'"):
        await done(db.begin("chaos"))
    assert db.stats().in_use == 0


async def test_a_transaction_that_sqlite_ended_itself_can_be_rolled_back(world: World) -> None:
    if world.database != "sqlite":
        return  # others end a transaction when they are told to
    db = await world.open_people(max_open=1)
    tx = await done(db.begin())
    await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
    with pytest.raises(Exception, match="UNIQUE"):
        await done(tx.exec("insert or rollback into things values (1, 'nut', 3)"))
    await done(tx.rollback())
    assert await world.count(db) == 0
    assert db.stats().discarded == 0


async def test_many_statements_are_executed_at_once(world: World) -> None:
    db = await world.open_people()
    async with using(db.begin()) as tx:
        result = await done(tx.exec_many(world.sql(INSERT), [(i, "nut", i) for i in range(50)]))
        assert result.last_insert_id is None
    assert await world.count(db) == 50


async def test_one_of_many_that_fails_undoes_all_of_them(world: World) -> None:
    db = await world.open_people()
    rows = [(1, "nut", 1), (2, None, 2), (3, "screw", 3)]

    async def work(tx: Any) -> None:
        with pytest.raises(Exception, match=r"(?i)null"):
            await done(tx.exec_many(world.sql(INSERT), rows))

    with pytest.raises(Trouble):
        await in_trouble(db, work)
    assert await world.count(db) == 0


async def test_a_transaction_past_its_deadline_is_rolled_back_and_takes_no_more_statements(
    world: World,
) -> None:
    db = await world.open_people()
    tx = await done(db.begin(timeout=60))
    await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
    db.pool._clock = clock = FakeClock()
    clock.advance(61)
    with pytest.raises(cenote.TxDone, match="its deadline passed, so it was rolled back"):
        await done(tx.query("select 1"))
    assert tx.done
    assert db.stats().in_use == 0
    assert await world.count(db) == 0


async def test_a_statement_cut_short_at_its_deadline_leaves_a_transaction_that_can_be_rolled_back(
    world: World,
) -> None:
    db = await world.open_people(max_open=1)
    tx = await done(db.begin())
    await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
    with pytest.raises(cenote.PoolTimeout) as caught:
        await done(tx.query_row(world.slow, timeout=0.05))
    assert caught.value.phase == "statement"
    await done(tx.rollback())
    assert db.stats().in_use == 0
    assert await world.count(db) == 0


async def test_one_transaction_in_two_hands_is_refused_and_nothing_is_corrupted(world: World) -> None:
    db = await world.open_people()
    tx = await done(db.begin())
    many = 20

    async def insert(i: int) -> int:
        try:
            await done(tx.exec(world.sql(INSERT), i, "nut", i))
        except cenote.Error as error:
            return 0 if "two threads or tasks at once" in str(error) else many
        return 1

    inserted = sum(await world.together(*(partial(insert, i) for i in range(many))))
    assert inserted >= 1
    assert await world.count(tx) == inserted
    await done(tx.commit())
    assert await world.count(db) == inserted
    assert db.stats().discarded == 0


async def test_a_statement_used_over_and_over_ends_with_its_transaction(world: World) -> None:
    db = await world.open_people()
    for deadline in growing(0.03):
        used = 0
        with suppress(cenote.PoolTimeout):
            tx = await done(db.begin(timeout=deadline))
            stmt = tx.prepare(world.sql("select name from people where age = ?"))
            with suppress(cenote.TxDone):
                while True:
                    await done((await done(stmt.query(31))).all())
                    used += 1
        if used >= 2:
            break
    with suppress(cenote.TxDone):
        await done(tx.rollback())
    assert tx.done
    await world.until(lambda: db.stats().in_use == 0)
