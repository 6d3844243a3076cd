"""Errors: the driver's own as they are, the handle's own by their names, and no secret in any of them."""

from __future__ import annotations

import pickle
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import aiomysql
import aiosqlite
import asyncmy.errors
import asyncpg
import mysql.connector
import MySQLdb
import psycopg
import psycopg2.errors
import pymysql
import pytest

import cenote
from tests.sql.worlds import INSERT, MANY, World, done, using

OWN = [cenote.NoRows, cenote.TxDone, cenote.RowsClosed, cenote.StmtClosed]


@pytest.mark.parametrize("kind", OWN)
def test_the_handle_s_errors_are_of_the_family(kind: type[cenote.Error]) -> None:
    assert issubclass(kind, cenote.Error)
    assert not issubclass(kind, (ValueError, OSError))
    assert str(pickle.loads(pickle.dumps(kind("because")))) == "because"  # noqa: S301 - our own bytes


def broken_rule(world: World) -> type[Exception]:
    """The driver's class for a rule of the table that was broken."""
    rules: dict[str, type[Exception]] = {
        "sqlite3": sqlite3.IntegrityError,
        "aiosqlite": aiosqlite.IntegrityError,
        "psycopg": psycopg.errors.UniqueViolation,
        "async psycopg": psycopg.errors.UniqueViolation,
        "psycopg2": psycopg2.errors.UniqueViolation,
        "asyncpg": asyncpg.UniqueViolationError,
        "PyMySQL": pymysql.IntegrityError,
        "mysqlclient": MySQLdb.IntegrityError,
        "Connector/Python": mysql.connector.IntegrityError,
        "asyncmy": asyncmy.errors.IntegrityError,
        "aiomysql": aiomysql.IntegrityError,
    }
    return rules[world.kind.name]


async def test_the_driver_s_errors_are_the_driver_s(world: World) -> None:
    db = await world.open_people(max_open=1)
    statement = "insert into people values (1, 'Alice', 31, null)"
    rule = broken_rule(world)
    asks: list[Any] = [db.exec, db.query, db.query_row, lambda sql: db.prepare(sql).exec()]
    async with using(db.begin()) as tx:
        with pytest.raises(rule) as caught:
            await done(tx.exec(statement))
        assert type(caught.value) is rule
        await done(tx.rollback())
    for ask in asks:
        with pytest.raises(rule) as caught:
            await done(ask(statement))
        assert type(caught.value) is rule
        assert caught.value.__cause__ is None
    with pytest.raises(rule):
        await done(db.exec_many(world.sql(INSERT), [(1, "nut", 1), (1, "nut", 1)]))
    assert db.stats().connect_count == 1
    assert db.stats().in_use == 0


async def test_an_error_in_the_text_is_found_when_it_is_sent(world: World) -> None:
    db = world.open(max_open=1)
    for ask in (db.query, db.query_row, db.exec):
        with pytest.raises(Exception, match=r"(?i)syntax"):
            await done(ask("selekt 1"))
    assert (await done(db.query_row("select 7")))[0] == 7
    assert db.stats().connect_count == 1


async def test_a_full_pool_says_who_holds_it_in_the_user_s_code(world: World) -> None:
    db = world.open(max_open=1)
    async with using(db.begin()):

        async def ask() -> None:
            with pytest.raises(cenote.PoolTimeout) as caught:
                await done(db.query_row("select 1", timeout=0.01))
            assert caught.value.phase == "wait"
            assert "test_errors.py" in str(caught.value)
            assert "test_a_full_pool_says" in str(caught.value)

        await world.together(ask)
        (holder,) = db.holders()
        assert "test_errors.py" in str(holder)


def test_a_thread_that_holds_everything_and_asks_for_more_is_told_at_once(tmp_path: Path) -> None:
    with cenote.open(f"sqlite:///{tmp_path}/app.db", max_open=1) as db:
        with db.begin(), pytest.raises(cenote.SelfDeadlock, match=r"test_errors\.py"):
            db.query_row("select 1")
        with db.conn(), pytest.raises(cenote.SelfDeadlock):
            db.exec("select 1")
        with db.query(World.numbers(MANY)), pytest.raises(cenote.SelfDeadlock):
            db.begin()
        for _ in db.query(World.numbers(MANY)):
            with pytest.raises(cenote.SelfDeadlock):
                db.query("select 1")
            break
        assert db.query_row("select 1") == (1,)


async def test_a_task_that_holds_everything_and_asks_for_more_is_told_at_once(tmp_path: Path) -> None:
    async with cenote.open_async(f"sqlite:///{tmp_path}/app.db", max_open=1) as db:
        async with db.begin():
            with pytest.raises(cenote.SelfDeadlock, match=r"test_errors\.py"):
                await db.query_row("select 1")
        async with db.conn():
            with pytest.raises(cenote.SelfDeadlock):
                await db.exec("select 1")
        async with db.query(World.numbers(MANY)):
            with pytest.raises(cenote.SelfDeadlock):
                await db.begin()
        assert await db.query_row("select 1") == (1,)


async def test_a_server_that_is_not_there_is_a_connect_error_without_the_password(world: World) -> None:
    target = f"sqlite:///{world.place.folder}/no/such/folder/app.db"
    if world.database != "sqlite":
        target = f"{world.kind.scheme}://app:app-secret@127.0.0.1:1/app"
    db = world.open(target)

    async def ask(use: Any) -> None:
        with pytest.raises(cenote.ConnectError) as caught:
            await done(use())
        assert caught.value.__cause__ is not None
        assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"

    statements = [partial(use, "select 1") for use in (db.query, db.query_row, db.exec)]
    await world.together(*(partial(ask, use) for use in (*statements, db.begin, db.conn, db.ping)))
    assert db.stats().in_use == 0


async def test_a_statement_is_not_in_the_error_that_its_deadline_raises(world: World) -> None:
    db = world.open(max_open=1)
    await done(db.ping())
    statement = f"{world.slow} -- my-secret"
    with pytest.raises(cenote.PoolTimeout) as caught:
        await done(db.query_row(statement, timeout=0.02))
    assert caught.value.phase == "statement"
    assert "secret" not in str(caught.value)
