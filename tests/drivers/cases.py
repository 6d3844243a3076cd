"""Every connector as one case, and one way to speak to any driver's connection, blocking or awaited."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import psycopg2

from cenote.drivers import async_connector_for, connector_for
from cenote.drivers.callables import AsyncCallableConnector, CallableConnector
from cenote.drivers.dbapi import DBAPIConnector
from tests.servers.mariadb import MariaDBServer
from tests.servers.postgres import PostgresServer

TIMEOUT = 60.0


@dataclass(frozen=True)
class Place:
    """Where a case may connect to: PostgreSQL, under an application name of its own, or a file."""

    server: PostgresServer
    folder: Path
    name: str

    def url(self, driver: str) -> str:
        """Return the server's address."""
        return f"{self.server.url(driver)}?application_name={self.name}"

    def wait_for_statement(self) -> None:
        """Return when the server executes a statement of this test; the waiting is done in the server."""
        mine = "from pg_stat_activity where application_name = %s and state = 'active'"
        with self.server.admin() as admin:
            while not admin.execute(f"select 1 {mine}", (self.name,)).fetchall():
                admin.execute("select pg_sleep(0.005)")

    def kill(self) -> int:
        """Have the server end all connections of this test; return how many."""
        return self.server.terminate_backends(self.name)

    def wait_for_connections(self, count: int) -> None:
        """Return when the server counts so many connections of this test."""
        self.server.wait_for_backends(count, self.name)

    @property
    def file(self) -> str:
        """Return the database file."""
        return str(self.folder / "app.db")


@dataclass(frozen=True)
class MariaDBPlace:
    """The same on MariaDB, as a user of one's own."""

    server: MariaDBServer
    folder: Path
    name: str

    def url(self, driver: str) -> str:
        """Return the server's address."""
        return self.server.url(driver, user=self.name)

    def wait_for_statement(self) -> None:
        """Return when the server executes a statement of this test."""
        self.server.wait_for_connections(1, self.name, where="command = 'Query'")

    def kill(self) -> int:
        """Have the server end all connections of this test; return how many."""
        return self.server.kill_connections(self.name)

    def wait_for_connections(self, count: int) -> None:
        """Return when the server counts so many connections of this test."""
        self.server.wait_for_connections(count, self.name)


@dataclass(frozen=True)
class Dialect:
    """Words in which databases differ."""

    failing: str = "select 1/0"
    failure: str = "division by zero"
    change: str = "set search_path to nowhere"
    changed: str = "show search_path"
    unchanged: object = '"$user", public'


STANDARD = Dialect()
MARIADB = Dialect(
    failing="select nothing from nowhere",
    failure="doesn't exist",
    change="set @@session.lock_wait_timeout = 42",
    changed="select @@session.lock_wait_timeout",
    unchanged=86400,
)


@dataclass(frozen=True)
class Case:
    """One connector."""

    name: str
    make: Callable[[Any], Any]
    has_server: bool = True
    tells_broken: bool = True
    tells_transaction: bool = True
    dialect: Dialect = STANDARD

    @property
    def speaks_mysql(self) -> bool:
        """Whether its server is MariaDB."""
        return self.dialect is MARIADB


PSYCOPG = Case("psycopg", lambda at: connector_for(at.url("postgresql")))
ASYNC_PSYCOPG = Case("psycopg-async", lambda at: async_connector_for(at.url("postgresql+psycopg")))
PSYCOPG2 = Case("psycopg2", lambda at: connector_for(at.url("postgresql+psycopg2")))
ASYNCPG = Case("asyncpg", lambda at: async_connector_for(at.url("postgresql+asyncpg")))
SQLITE = Case("sqlite", lambda at: connector_for(f"sqlite:///{at.file}"), has_server=False)
SQLITE_MEMORY = Case("sqlite-memory", lambda _: connector_for("sqlite://"), has_server=False)
AIOSQLITE = Case("aiosqlite", lambda at: async_connector_for(f"sqlite:///{at.file}"), has_server=False)
AIOSQLITE_MEMORY = Case("aiosqlite-memory", lambda _: async_connector_for("sqlite://"), has_server=False)
FOUND = [
    Case("dbapi-psycopg2", lambda at: DBAPIConnector(psycopg2, at.url("postgresql")), tells_broken=False),
    Case(
        "dbapi-sqlite3",
        lambda at: DBAPIConnector(sqlite3, at.file, check_same_thread=False),
        has_server=False,
        tells_broken=False,
    ),
    Case(
        "callable-psycopg",
        lambda at: CallableConnector(partial(psycopg.connect, at.url("postgresql"))),
        tells_broken=False,
    ),
    Case(
        "callable-psycopg-async",
        lambda at: AsyncCallableConnector(partial(psycopg.AsyncConnection.connect, at.url("postgresql"))),
        tells_broken=False,
    ),
    Case(
        "callable-asyncpg",
        lambda at: AsyncCallableConnector(lambda: asyncpg.connect(at.url("postgresql"))),
        tells_broken=False,
    ),
    Case(
        "callable-aiosqlite",
        lambda at: AsyncCallableConnector(lambda: aiosqlite.connect(at.file)),
        has_server=False,
        tells_broken=False,
    ),
]
PYMYSQL = Case("pymysql", lambda at: connector_for(at.url("mysql")), dialect=MARIADB)
MYSQLDB = Case("mysqldb", lambda at: connector_for(at.url("mysql+mysqldb")), dialect=MARIADB)
MYSQLCONNECTOR = Case(
    "mysqlconnector", lambda at: connector_for(at.url("mysql+mysqlconnector")), dialect=MARIADB
)
ASYNCMY = Case("asyncmy", lambda at: async_connector_for(at.url("mysql")), dialect=MARIADB)
AIOMYSQL = Case("aiomysql", lambda at: async_connector_for(at.url("mysql+aiomysql")), dialect=MARIADB)
MYSQL = [PYMYSQL, MYSQLDB, MYSQLCONNECTOR, ASYNCMY, AIOMYSQL]
CASES = [
    PSYCOPG,
    ASYNC_PSYCOPG,
    PSYCOPG2,
    ASYNCPG,
    SQLITE,
    SQLITE_MEMORY,
    AIOSQLITE,
    AIOSQLITE_MEMORY,
    *FOUND,
    *MYSQL,
]


async def done(value: Any) -> Any:
    """Await what has to be awaited."""
    return await value if isawaitable(value) else value


async def ask(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    """Execute a statement and return its rows, whatever the driver."""
    if isinstance(connection, asyncpg.Connection):
        return [tuple(row) for row in await connection.fetch(statement)]
    cursor = await done(connection.cursor())
    await done(cursor.execute(statement))
    rows = await done(cursor.fetchall()) if cursor.description else []
    await done(cursor.close())
    return [tuple(row) for row in rows]


@asynccontextmanager
async def block(manager: Any) -> AsyncIterator[None]:
    """Enter a block that may be an async one."""
    if hasattr(manager, "__aenter__"):
        async with manager:
            yield
    else:
        with manager:
            yield
