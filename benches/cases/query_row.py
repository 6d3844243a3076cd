"""The handle's `query_row` beside the driver's own execute and fetchone on the same connection, held by hand.

The same, and not another one: which core a server's process runs on is worth more than what is measured.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import pymysql
import sqlalchemy

import cenote
from benches.measure import Compare, Figures, Metric, PerTurn
from benches.settings import Case, Settings, Sides

WHAT = "query_row"
OVER = "more than by hand"
SLICE = 0.1
TABLE = "create table bench_row (id integer primary key, title varchar(100))"
ROW = "insert into bench_row values (1, 'a title')"

Loop = Callable[[int], None]


def by_hand(db: cenote.DB, ask: Callable[[Any], object]) -> Loop:
    """Ask the connection that the handle has, for a whole slice."""

    def loop(turns: int) -> None:
        with db.driver_connection() as connection:
            for _ in range(turns):
                ask(connection)

    return loop


def by_handle(db: cenote.DB, sql: str) -> Loop:
    """Ask the handle."""

    def loop(turns: int) -> None:
        query_row = db.query_row
        for _ in range(turns):
            query_row(sql, 1)

    return loop


def by_sqlalchemy(stack: ExitStack, url: str, **options: Any) -> Loop:
    """Ask SQLAlchemy Core, whose pool has one connection, too."""
    engine = sqlalchemy.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
        poolclass=sqlalchemy.QueuePool,
        pool_size=1,
        max_overflow=0,
        **options,
    )
    stack.callback(engine.dispose)
    statement = sqlalchemy.text("select id, title from bench_row where id = :id")

    def loop(turns: int) -> None:
        for _ in range(turns):
            with engine.connect() as connection:
                connection.execute(statement, {"id": 1}).first()

    return loop


def prepared(stack: ExitStack, url: str) -> cenote.DB:
    """Open a handle with one connection, and the table on it."""
    db = cenote.open(url, max_open=1)
    stack.callback(db.close)
    db.exec("drop table if exists bench_row")
    db.exec(TABLE)
    db.exec(ROW)
    return db


def sides(settings: Settings, loops: dict[str, Loop]) -> Sides:
    """Time each loop."""
    return {name: PerTurn(WHAT, loop, settings.slice(SLICE)) for name, loop in loops.items()}


def prepare_psycopg(settings: Settings, stack: ExitStack) -> Sides:
    """psycopg."""
    sql = "select id, title from bench_row where id = %s"
    db = prepared(stack, settings.database.url("psycopg"))
    return sides(
        settings,
        {
            "cenote on psycopg": by_handle(db, sql),
            "psycopg by hand": by_hand(db, lambda connection: connection.execute(sql, (1,)).fetchone()),
            "SQLAlchemy Core": by_sqlalchemy(stack, settings.database.url("psycopg")),
        },
    )


def prepare_pymysql(settings: Settings, stack: ExitStack) -> Sides:
    """PyMySQL."""
    sql = "select id, title from bench_row where id = %s"
    url = settings.database.mariadb
    db = prepared(stack, url)

    def ask(connection: pymysql.Connection[Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql, (1,))
            cursor.fetchone()

    return sides(
        settings,
        {
            "cenote on PyMySQL": by_handle(db, sql),
            "PyMySQL by hand": by_hand(db, ask),
            "SQLAlchemy Core": by_sqlalchemy(stack, url.replace("mysql://", "mysql+pymysql://")),
        },
    )


def prepare_sqlite(settings: Settings, stack: ExitStack) -> Sides:
    """sqlite3, by how much longer it takes."""
    sql = "select id, title from bench_row where id = ?"
    db = prepared(stack, "sqlite://")

    def ask(connection: sqlite3.Connection) -> object:
        return connection.execute(sql, (1,)).fetchone()

    hand, handle = by_hand(db, ask), by_handle(db, sql)
    turns = 20_000 if not settings.quick else 4_000

    def over() -> Figures:
        return {OVER: (timed(handle, turns) - timed(hand, turns)) / turns * 1e6}

    return {"cenote on sqlite3": over}


def timed(loop: Loop, turns: int) -> float:
    """Seconds for some turns."""
    began = perf_counter()
    loop(turns)
    return perf_counter() - began


def case(key: str, title: str, prepare: Any, metrics: Sequence[Metric]) -> Case:
    """Word a case."""
    return Case(key=key, title=f"query_row {title}", metrics=metrics, rounds=15, prepare=prepare)


CASES = (
    case(
        "row-psycopg",
        "by psycopg on PostgreSQL",
        prepare_psycopg,
        [
            Metric(
                WHAT,
                "µs",
                [
                    Compare("cenote on psycopg", "psycopg by hand", at_most=1.15),
                    Compare("cenote on psycopg", "SQLAlchemy Core"),
                ],
            )
        ],
    ),
    case(
        "row-pymysql",
        "by PyMySQL on MariaDB",
        prepare_pymysql,
        [
            Metric(
                WHAT,
                "µs",
                [
                    Compare("cenote on PyMySQL", "PyMySQL by hand", at_most=1.1),
                    Compare("cenote on PyMySQL", "SQLAlchemy Core"),
                ],
            )
        ],
    ),
    case(
        "row-sqlite",
        "by sqlite3",
        prepare_sqlite,
        [Metric(OVER, "µs", [Compare("cenote on sqlite3", None, at_most=5)])],
    ),
)
