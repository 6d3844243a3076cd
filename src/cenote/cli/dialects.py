"""How the statements of our own commands are written and run with each driver: one row of a table for each.

A driver is known by the module of its connector in `cenote.drivers`. What differs is the mark of a parameter
and the way to run a statement; the SQL itself is such that every database takes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

Rows = Sequence[Any]
Run = TypeVar("Run")
RunPlain = Callable[[Any, str, tuple[object, ...]], Rows]
RunAwaited = Callable[[Any, str, tuple[object, ...]], Awaitable[Rows]]


@dataclass(frozen=True, slots=True)
class Dialect(Generic[Run]):
    """One driver.

    Attributes:
        driver: what people call it.
        mark: the mark of the n-th parameter, from 1.
        run: run a statement with its parameters and return all its rows.
    """

    driver: str
    mark: Callable[[int], str]
    run: Run


class Statements(NamedTuple):
    """All the SQL there is in the demo, for one table and one way to mark parameters."""

    create: str
    drop: str
    remove: str
    insert: str
    look_up: str
    sum_up: str


def statements(table: str, mark: Callable[[int], str]) -> Statements:
    """Write the statements on `table`, whose name is ours and needs no quotes."""
    first, second, third = mark(1), mark(2), mark(3)
    columns = "worker integer not null, number integer not null, note varchar(100) not null"
    return Statements(
        create=f"create table if not exists {table} ({columns}, primary key (worker, number))",
        drop=f"drop table if exists {table}",
        remove=f"delete from {table} where worker = {first} and number = {second}",  # noqa: S608 - our own name
        insert=f"insert into {table} (worker, number, note) values ({first}, {second}, {third})",  # noqa: S608 - too
        look_up=f"select note from {table} where worker = {first} and number = {second}",  # noqa: S608 - as above
        sum_up=f"select worker, count(*), max(number) from {table} group by worker",  # noqa: S608 - as above
    )


def _run(connection: Any, statement: str, parameters: tuple[object, ...]) -> Rows:
    """As PEP 249 has it."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement, parameters)
        rows: Rows = cursor.fetchall() if cursor.description else ()
    finally:
        cursor.close()
    return rows


async def _await(connection: Any, statement: str, parameters: tuple[object, ...]) -> Rows:
    """As aiosqlite and psycopg have made it asynchronous."""
    cursor = await connection.execute(statement, parameters)
    try:
        rows: Rows = await cursor.fetchall() if cursor.description else ()
    finally:
        await cursor.close()
    return rows


async def _await_cursor(connection: Any, statement: str, parameters: tuple[object, ...]) -> Rows:
    """As asyncmy and aiomysql have made PEP 249 asynchronous."""
    async with connection.cursor() as cursor:
        await cursor.execute(statement, parameters)
        rows: Rows = await cursor.fetchall() if cursor.description else ()
    return rows


async def _fetch(connection: Any, statement: str, parameters: tuple[object, ...]) -> Rows:
    """As asyncpg has it."""
    rows: Rows = await connection.fetch(statement, *parameters)
    return rows


def _question(_: int) -> str:
    return "?"


def _percent(_: int) -> str:
    return "%s"


def _dollar(number: int) -> str:
    return f"${number}"


THREADS: dict[str, Dialect[RunPlain]] = {
    "sqlite": Dialect("sqlite3", _question, _run),
    "psycopg": Dialect("psycopg", _percent, _run),
    "psycopg2": Dialect("psycopg2", _percent, _run),
    "pymysql": Dialect("PyMySQL", _percent, _run),
    "mysqldb": Dialect("mysqlclient", _percent, _run),
    "mysqlconnector": Dialect("mysql-connector", _percent, _run),
}
TASKS: dict[str, Dialect[RunAwaited]] = {
    "aiosqlite": Dialect("aiosqlite", _question, _await),
    "psycopg": Dialect("psycopg", _percent, _await),
    "asyncpg": Dialect("asyncpg", _dollar, _fetch),
    "asyncmy": Dialect("asyncmy", _percent, _await_cursor),
    "aiomysql": Dialect("aiomysql", _percent, _await_cursor),
}
