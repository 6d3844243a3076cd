"""Statements that are kept: prepared where they are used, by whoever uses them, until they are closed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import cenote
from tests.sql.fixtures import worlds
from tests.sql.scripted import Scripted
from tests.sql.worlds import INSERT, KINDS, MANY, NO_TABLE, World, done, each, first, using

AGE = "select age from people where name = ?"
SERVED = [kind for kind in KINDS if kind.name in ("psycopg", "async psycopg", "Connector/Python", "asyncmy")]
WRONG_NUMBER = r"(?i)parameter|placeholder|binding|supplied|syntax|arguments|index out of range"


served = worlds(SERVED)  # their server tells what it keeps


async def kept(world: World, queries: Any, statement: str) -> int:
    """Ask the server how often it keeps a statement on this connection."""
    if world.database == "postgresql":
        asked = "select count(*) from pg_prepared_statements where statement like %s"
        return int((await done(queries.query_row(asked, f"{statement[:20]}%")))[0])
    counts = (  # of all statements that it ever kept here: no test has others
        "select sum(if(variable_name = 'COM_STMT_PREPARE', 1, -1) * variable_value)"
        " from information_schema.session_status"
        " where variable_name in ('COM_STMT_PREPARE', 'COM_STMT_CLOSE')"
    )
    return int((await done(queries.query_row(counts)))[0])


async def test_a_statement_is_used_again_with_other_parameters(world: World) -> None:
    db = await world.open_people()
    async with using(db.prepare(world.sql(AGE))) as stmt:
        for name, age in (("Alice", 31), ("Bob", 32), ("Chris", 33), ("Alice", 31)):
            assert await done(stmt.query_row(name)) == (age,)
        with pytest.raises(cenote.NoRows):
            await done(stmt.query_row("Dora"))
    assert stmt.sql == world.sql(AGE)
    assert db.stats().connect_count == 1


async def test_preparing_opens_no_connection(world: World) -> None:
    db = world.open()
    for _ in range(10):
        await done(db.prepare("select name from nowhere").close())
    assert db.stats().connect_count == 0


async def test_a_statement_can_be_queried_and_executed(world: World) -> None:
    db = await world.open_people()
    insert = db.prepare(world.sql(INSERT))
    for i in (1, 2, 3):
        assert (await done(insert.exec(i, "nut", i))).rows_affected == 1
    sizes = db.prepare(world.sql("select size from things where size > ? order by size"))
    rows = await done(sizes.query(1))
    assert [column.name for column in rows.columns] == ["size"]
    assert [row.size async for row in each(rows)] == [2, 3]


async def test_a_large_result_of_a_statement_is_read_to_its_end(world: World) -> None:
    db = world.open()
    stmt = db.prepare(world.numbers(MANY))
    for stream in (None, False, True):
        rows = await done(stmt.query(stream=stream))
        assert [row.i async for row in each(rows)] == list(range(1, MANY + 1))
        assert db.stats().in_use == 0


async def test_a_closed_statement_refuses_everything(world: World) -> None:
    db = await world.open_people()
    stmt = db.prepare(world.sql(AGE))
    assert await done(stmt.query_row("Bob")) == (32,)
    await done(stmt.close())
    await done(stmt.close())
    for use in (stmt.query, stmt.query_row, stmt.exec):
        with pytest.raises(cenote.StmtClosed, match="prepare it again"):
            await done(use("Bob"))
    assert await done(db.query_row(world.sql(AGE), "Bob")) == (32,)


async def test_rows_outlive_their_statement(world: World) -> None:
    db = world.open()
    stmt = db.prepare(world.numbers(MANY))
    rows = await done(stmt.query(stream=True))
    await first(rows)
    await done(stmt.close())
    assert len(await done(rows.all())) == MANY - 1


async def test_a_wrong_number_of_parameters_is_the_driver_s_error_and_harms_nobody(world: World) -> None:
    db = await world.open_people(max_open=1)
    insert = db.prepare(world.sql(INSERT))
    for params in ((), (1,), (1, "nut"), (1, "nut", 3, 4)):
        with pytest.raises(Exception, match=WRONG_NUMBER):
            await done(insert.exec(*params))
    await done(insert.exec(1, "nut", 3))
    assert await world.count(db) == 1
    assert db.stats().connect_count == 1


async def test_a_value_that_breaks_a_rule_is_the_driver_s_error_and_harms_nobody(world: World) -> None:
    db = await world.open_people(max_open=1)
    insert = db.prepare(world.sql(INSERT))
    await done(insert.exec(1, "nut", 3))
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await done(insert.exec(1, "nut", 3))
    with pytest.raises(Exception, match=r"(?i)null"):
        await done(insert.exec(2, None, 3))
    await done(insert.exec(2, "bolt", None))
    assert await world.count(db) == 2
    assert db.stats().discarded == 0


async def test_a_statement_about_a_table_that_is_not_there_fails_when_it_is_used(world: World) -> None:
    db = world.open(max_idle=0)
    stmt = db.prepare("select name from nowhere")
    for _ in range(2):
        with pytest.raises(Exception, match=NO_TABLE):
            await done(stmt.query())
    assert db.stats().in_use == 0


async def test_many_use_one_statement_at_once(world: World) -> None:
    db = await world.open_people(max_open=4)
    stmt = db.prepare(world.sql(AGE))
    many = 200 if world.asynchronous else 20

    async def ask(name: str) -> tuple[int, ...]:
        return tuple(await done(stmt.query_row(name)))

    names = ["Alice", "Bob", "Chris"] * many
    answers = await world.together(*(partial(ask, name) for name in names[:many]))
    assert answers == ([(31,), (32,), (33,)] * many)[:many]
    assert db.stats().connect_count <= 4


async def test_a_closed_handle_ends_its_statements(world: World) -> None:
    db = await world.open_people()
    stmt = db.prepare(world.sql(AGE))
    await done(stmt.query_row("Bob"))
    await done(db.close())
    with pytest.raises(cenote.PoolClosed):
        await done(stmt.query_row("Bob"))
    await done(stmt.close())


# ── in a transaction, and on one connection ──────────────────────────────────────────────────────


async def test_a_statement_of_a_transaction_ends_with_it(world: World) -> None:
    db = await world.open_people()
    async with using(db.begin()) as tx:
        insert = tx.prepare(world.sql(INSERT))
        await done(insert.exec(1, "nut", 3))
    with pytest.raises(cenote.TxDone):
        await done(insert.exec(2, "bolt", 3))
    assert await world.count(db) == 1


async def test_a_statement_of_the_handle_is_used_in_a_transaction(world: World) -> None:
    db = await world.open_people(max_open=1)
    insert = db.prepare(world.sql(INSERT))
    tx = await done(db.begin())
    await done(tx.stmt(insert).exec(1, "nut", 3))
    assert await world.count(tx) == 1
    await done(tx.rollback())
    assert await world.count(db) == 0


async def test_the_statement_outlives_its_use_in_a_transaction(world: World) -> None:
    db = await world.open_people(max_open=1)
    insert = db.prepare(world.sql(INSERT))
    tx = await done(db.begin())
    here = tx.stmt(insert)
    await done(here.close())
    await done(tx.rollback())
    with pytest.raises(cenote.StmtClosed):
        await done(here.exec(1, "nut", 3))
    await done(insert.exec(1, "nut", 3))
    assert await world.count(db) == 1


async def test_a_statement_of_a_transaction_may_be_named_again_there(world: World) -> None:
    db = await world.open_people()
    async with using(db.begin()) as tx:
        again = tx.stmt(tx.prepare(world.sql(INSERT)))
        await done(again.exec(1, "nut", 3))
    assert await world.count(db) == 1


async def test_a_closed_statement_is_not_taken_into_a_transaction(world: World) -> None:
    db = await world.open_people()
    stmt = db.prepare(world.sql(AGE))
    await done(stmt.close())
    async with using(db.begin()) as tx:
        with pytest.raises(cenote.StmtClosed):
            tx.stmt(stmt)


async def test_a_statement_of_a_connection_stays_on_it(world: World) -> None:
    db = await world.open_people()
    async with using(db.conn()) as conn:
        stmt = conn.prepare(world.numbers(MANY))
        one = await done(stmt.query(stream=True))
        other = await done(stmt.query(stream=True))
        assert db.stats().open_connections == 1
        assert await first(one, 3) == await first(other, 3) == [(1,), (2,), (3,)]
        assert len(await done(one.all())) == len(await done(other.all())) == MANY - 3
    with pytest.raises(cenote.Error, match="was closed"):
        await done(stmt.query())


# ── what the server keeps ────────────────────────────────────────────────────────────────────────


async def test_the_server_keeps_a_statement_once_for_each_connection(served: World) -> None:
    db = await served.open_people(max_open=1)
    stmt = db.prepare(served.sql(AGE))
    for name in ("Alice", "Bob", "Chris"):
        await done(stmt.query_row(name))
        await done((await done(stmt.query(name))).all())
    assert await kept(served, db, AGE) == 1


async def test_the_server_keeps_it_once_in_a_transaction_too(served: World) -> None:
    db = await served.open_people(max_open=1)
    insert = db.prepare(served.sql(INSERT))
    await done(insert.exec(1, "nut", 3))
    async with using(db.begin()) as tx:
        await done(tx.stmt(insert).exec(2, "bolt", 3))
        await done(tx.stmt(insert).exec(3, "screw", 3))
    assert await kept(served, db, INSERT) == 1


async def test_a_statement_moves_to_whichever_connection_there_is(served: World) -> None:
    db = await served.open_people(max_open=2)
    stmt = db.prepare(served.sql(AGE))
    await done(stmt.query_row("Bob"))
    async with using(db.conn()), using(db.conn()) as other:
        assert await kept(served, other, AGE) == 0
    db.resize(max_idle=0)
    db.resize(max_idle=2)
    assert await done(stmt.query_row("Bob")) == (32,)
    assert db.stats().connect_count == 3


async def test_a_statement_that_was_not_prepared_is_not_kept(served: World) -> None:
    db = await served.open_people(max_open=1)
    await done(db.query_row(served.sql(AGE), "Bob"))
    assert await kept(served, db, AGE) == 0


async def test_without_preparing_nothing_is_kept(served: World) -> None:
    db = served.open(f"{served.url}?prepare=off", max_open=1)
    people = await served.open_people(max_open=1)
    stmt = db.prepare(served.sql(AGE))
    for _ in range(7):  # psycopg by itself prepares what it has seen five times
        assert await done(stmt.query_row("Bob")) == (32,)
        assert await done(db.query_row(served.sql(AGE), "Bob")) == (32,)
    assert await kept(served, db, AGE) == 0
    await done(people.close())


# ── what only a scripted driver does at the right moment ─────────────────────────────────────────


async def test_rows_that_cannot_be_closed_cost_a_connection_each_and_no_more(scripted: Scripted) -> None:
    db = scripted.open(max_open=2)
    stmt = db.prepare("select")
    for _ in range(10):
        scripted.fail("finish", ConnectionResetError("gone"))
        await done((await done(stmt.query())).close())
    assert db.stats().discarded == 10
    assert len(scripted.connector.connections) == 10
    assert scripted.connector.peak <= 2


async def test_a_statement_asks_for_preparing_and_a_plain_query_leaves_it_to_the_driver(
    scripted: Scripted,
) -> None:
    db = scripted.open()
    await done(db.prepare("select").query_row(1))
    await done(db.query_row("select", 1))
    assert [call.prepare for call in scripted.dialect.calls] == [True, None]
