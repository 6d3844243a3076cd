"""Every driver that has a dialect, as a subject of the contract. To prove another, add a line to `SUBJECTS`.

The subjects are there when tests are collected, long before the servers. So each asks for its address only
when a check makes a connector; before that the address leads nowhere, which is enough to see its hooks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg2

import cenote
from cenote.drivers import async_connector_for, connector_for
from cenote.testing import Subject
from tests.servers.mariadb import MariaDBServer
from tests.servers.postgres import PostgresServer

NAME = "contract"
"""The application name, or the user, of all connections here."""


class Places:
    """Where the servers are, once they are."""

    postgres: PostgresServer | None = None
    mariadb: MariaDBServer | None = None
    folder = "/nowhere"

    def postgresql(self, scheme: str = "postgresql") -> str:
        """Return PostgreSQL's address."""
        if self.postgres is None:
            return f"{scheme}://nobody@localhost/nowhere"
        return f"{self.postgres.url(scheme)}?application_name={NAME}"

    def mysql(self, scheme: str) -> str:
        """Return MariaDB's address."""
        if self.mariadb is None:
            return f"{scheme}://nobody@localhost/nowhere"
        return self.mariadb.url(scheme, user=NAME)

    def end_postgresql(self) -> None:
        """End all connections of the contract on PostgreSQL."""
        assert self.postgres is not None
        assert self.postgres.terminate_backends(NAME) > 0

    def end_mysql(self) -> None:
        """End all connections of the contract on MariaDB."""
        assert self.mariadb is not None
        assert self.mariadb.kill_connections(NAME) > 0


AT = Places()

_COUNTING = (
    "with recursive n(i) as (select 1 union all select i + 1 from n limit {limit}) select count(*) from n"
)


def _postgresql(name: str, connector: Callable[[], Any], **more: Any) -> Subject:
    words: dict[str, Any] = {
        "placeholder": "%s",
        # In the list of columns, so that the server makes them one by one.
        "numbers": "select generate_series(1, {count}) as i",
        "sleep": "select pg_sleep(10)",
        "end": AT.end_postgresql,
        "streams": True,
    }
    return Subject(name=name, connector=connector, **(words | more))


def _mysql(name: str, connector: Callable[[], Any], **more: Any) -> Subject:
    words: dict[str, Any] = {
        "placeholder": "%s",
        "create": "create table {table} (id integer, word varchar(100)) character set utf8mb4",
        "numbers": "select seq as i from seq_1_to_{count}",
        "sleep": "select sleep(10)",
        "end": AT.end_mysql,
        "streams": True,
    }
    return Subject(name=name, connector=connector, **(words | more))


def _sqlite(name: str, connector: Callable[[], Any]) -> Subject:
    return Subject(name=name, connector=connector, sleep=_COUNTING.format(limit=100_000_000), streams=True)


SUBJECTS = [
    _sqlite("sqlite3", lambda: connector_for(f"sqlite:///{AT.folder}/app.db")),
    _sqlite("sqlite3-memory", lambda: connector_for("sqlite://")),
    _sqlite("aiosqlite", lambda: async_connector_for(f"sqlite:///{AT.folder}/app.db")),
    _sqlite(
        "dbapi-sqlite3",
        lambda: cenote.dbapi(sqlite3, f"{AT.folder}/app.db", check_same_thread=False),
    ),
    _postgresql("psycopg", lambda: connector_for(AT.postgresql())),
    _postgresql("psycopg-async", lambda: async_connector_for(AT.postgresql())),
    _postgresql(
        "asyncpg", lambda: async_connector_for(AT.postgresql("postgresql+asyncpg")), placeholder="${n}"
    ),
    _postgresql("psycopg2", lambda: connector_for(AT.postgresql("postgresql+psycopg2"))),
    _postgresql(
        "dbapi-psycopg2",
        lambda: cenote.dbapi(psycopg2, AT.postgresql()),
        streams=False,
        tells_rollback=False,  # psycopg2's own commit() keeps quiet
        sleep="select pg_sleep(1)",  # nobody can stop it on the server, and its locks last as long
    ),
    _mysql("pymysql", lambda: connector_for(AT.mysql("mysql"))),
    _mysql("mysqldb", lambda: connector_for(AT.mysql("mysql+mysqldb"))),
    _mysql("mysqlconnector", lambda: connector_for(AT.mysql("mysql+mysqlconnector"))),
    _mysql("asyncmy", lambda: async_connector_for(AT.mysql("mysql"))),
    _mysql("aiomysql", lambda: async_connector_for(AT.mysql("mysql+aiomysql"))),
]
