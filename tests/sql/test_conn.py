"""One connection for several statements: the same one until the end, and back in the pool after it."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

import psycopg.rows
import psycopg2.extras
import pytest

import cenote
from tests.sql.scripted import Scripted
from tests.sql.worlds import INSERT, MANY, World, done, first, using

FACTORIES: dict[str, tuple[str, Any]] = {
    "sqlite3": ("row_factory", sqlite3.Row),
    "aiosqlite": ("row_factory", sqlite3.Row),
    "psycopg": ("row_factory", psycopg.rows.dict_row),
    "async psycopg": ("row_factory", psycopg.rows.dict_row),
    "psycopg2": ("cursor_factory", psycopg2.extras.RealDictCursor),
}


async def test_statements_follow_each_other_on_one_connection(world: World) -> None:
    db = await world.open_people()
    async with using(db.conn()) as conn:
        await done(conn.exec("create temporary table mine (id integer)"))
        for i in (1, 2):
            await done(conn.exec(world.sql("insert into mine values (?)"), i))
        assert await world.count(conn, "mine") == 2
        assert await done(conn.query_row(world.sql("select name from people where age = ?"), 33)) == (
            "Chris",
        )
        await done(conn.exec("drop table mine"))
        assert db.stats().in_use == 1
    assert db.stats().in_use == 0
    assert db.stats().connect_count == 1


async def test_a_connection_takes_all_kinds_of_statements(world: World) -> None:
    db = await world.open_people()
    async with using(db.conn()) as conn:
        assert (await done(conn.exec(world.sql(INSERT), 1, "nut", 3))).rows_affected == 1
        await done(conn.exec_many(world.sql(INSERT), [(2, "bolt", 4), (3, "screw", 5)]))
        rows = await done(conn.query("select name from things order by id"))
        assert await done(rows.all()) == [("nut",), ("bolt",), ("screw",)]
        assert await done(conn.prepare(world.sql("select size from things where id = ?")).query_row(2)) == (
            4,
        )
        with pytest.raises(cenote.NoRows):
            await done(conn.query_row("select 1 from things where id = 9"))


async def test_the_driver_s_own_connection_can_be_had(world: World) -> None:
    db = world.open()
    async with using(db.conn()) as conn, using(db.driver_connection()) as other:
        own = conn.driver_connection
        assert type(own) is type(other)
        assert own is not other
    with pytest.raises(cenote.Error, match="was closed"):
        conn.driver_connection  # noqa: B018 - asking is the point
    async with using(db.driver_connection()) as again:
        assert again in (own, other)


async def test_a_transaction_on_a_connection_leaves_it_with_its_owner(world: World) -> None:
    db = await world.open_people(max_open=1)
    async with using(db.conn()) as conn:
        async with using(conn.begin()) as tx:
            await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
        assert await world.count(conn) == 1
        undone = await done(conn.begin())
        await done(undone.exec(world.sql(INSERT), 2, "bolt", 3))
        await done(undone.rollback())
        assert await world.count(conn) == 1
        assert db.stats().in_use == 1
    assert db.stats().in_use == 0
    assert await world.count(db) == 1


async def test_a_closed_connection_refuses_everything(world: World) -> None:
    db = world.open()
    conn = await done(db.conn())
    await done(conn.close())
    await done(conn.close())
    for use in (
        partial(conn.query, "select 1"),
        partial(conn.query_row, "select 1"),
        partial(conn.exec, "select 1"),
        conn.prepare("select 1").query_row,
        conn.begin,
    ):
        with pytest.raises(cenote.Error, match="was closed"):
            await done(use())
    assert db.stats().in_use == 0


async def test_rows_left_unread_do_not_lie_on_the_connection(world: World) -> None:
    db = world.open(max_open=1)
    async with using(db.conn()) as conn:
        rows = await done(conn.query(world.numbers(MANY)))
        await first(rows)
    assert (await done(db.query_row("select 7")))[0] == 7
    assert db.stats().discarded == 0


async def test_an_error_in_the_block_gives_the_connection_back(world: World) -> None:
    db = world.open(max_open=1)

    async def work() -> None:
        async with using(db.conn()) as conn:
            await done(conn.query(world.numbers(MANY)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert db.stats().in_use == 0
    assert (await done(db.query_row("select 7")))[0] == 7


async def test_a_transaction_left_open_is_rolled_back_with_a_warning(world: World) -> None:
    db = await world.open_people(max_open=1)
    conn = await done(db.conn())
    tx = await done(conn.begin())
    await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
    with pytest.warns(RuntimeWarning, match="test_conn.py"):
        await done(conn.close())
    with pytest.raises(cenote.Error):
        await done(tx.exec(world.sql(INSERT), 2, "bolt", 3))
    assert await world.count(db) == 0
    assert db.stats().in_use == 0


async def test_a_statement_that_fails_leaves_the_connection_usable(world: World) -> None:
    db = await world.open_people()
    async with using(db.conn()) as conn:
        for _ in range(3):
            with pytest.raises(Exception, match="nowhere"):
                await done(conn.exec("delete from nowhere"))
        assert await world.count(conn, "people") == 3
    assert db.stats().discarded == 0


async def test_a_connection_in_two_hands_is_refused(scripted: Scripted) -> None:
    db = scripted.open()
    conn = await done(db.conn())
    asking = await scripted.held("query", partial(conn.query_row, "select"))
    for use in (partial(conn.query_row, "select"), partial(conn.exec, "update"), conn.begin):
        with pytest.raises(cenote.Error, match="two threads or tasks at once"):
            await done(use())
    scripted.release("query")
    assert await asking.result() == (1, "Alice")
    await done(conn.close())


async def test_a_connection_the_driver_calls_broken_is_not_kept(scripted: Scripted) -> None:
    db = scripted.open(max_open=1)
    async with using(db.conn()) as conn:
        conn.driver_connection.broken = True
    assert db.stats().idle == 0
    async with using(db.conn()) as conn:
        assert conn.driver_connection.number == 2


async def test_dead_connections_are_replaced(scripted: Scripted) -> None:
    db = scripted.open()
    await done(db.ping())
    scripted.break_all()
    async with using(db.conn()) as conn:
        assert conn.driver_connection.number == 2


async def test_what_was_set_by_hand_is_the_user_s_own_matter(world: World) -> None:
    db = world.open(max_open=1)
    async with using(db.driver_connection()) as own:
        attribute, factory = FACTORIES.get(world.kind.name, ("", None))
        if attribute:
            setattr(own, attribute, factory)
    assert type(await done(db.query_row("select 7 as seven"))).__mro__[1] is cenote.Row
    assert (await done((await done(db.query("select 7 as seven"))).all()))[0].seven == 7
