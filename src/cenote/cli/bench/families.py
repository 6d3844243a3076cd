"""What differs between databases: how a statement sleeps, and how an account with a limit is made.

A driver is known by the module of its connector, as in `cenote.cli.dialects`, which knows how to run a
statement.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Accounts:
    """How a database makes an account that may have so many connections and no more.

    Attributes:
        create: a statement with ``{name}``, ``{password}`` and ``{limit}``.
        drop: a statement with ``{name}``.
        who: a statement that answers with the name, or with what begins with it.
        right: what the one who makes it needs.
        keeps_database: whether a new account may connect to the database of the URL; else to none.
    """

    create: str
    drop: str
    who: str
    right: str
    keeps_database: bool


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of database.

    Attributes:
        name: what people call it.
        version: a statement that answers with the server's version.
        sleep: a statement with ``{seconds}`` that takes so long.
        scratch: a statement that makes the table ``{name}``, of whose rows none has to reach the disk.
        accounts: how accounts are made; None when there are none.
        prepare: makes `sleep` known on a connection that is about to run it.
    """

    name: str
    version: str
    sleep: str
    scratch: str
    accounts: Accounts | None
    prepare: Callable[[Any], None] | None = None


def _teach_sleep(connection: Any) -> None:
    """SQLite has no such function, and takes one that is written in Python."""
    connection.create_function("cenote_sleep", 1, time.sleep)


_COLUMNS = "{name} (id bigint primary key, isbn varchar(20) not null)"
_POSTGRESQL = Family(
    "PostgreSQL",
    "show server_version",
    "select pg_sleep({seconds})",
    f"create unlogged table {_COLUMNS}",
    Accounts(
        "create role {name} login password '{password}' connection limit {limit}",
        "drop role {name}",
        "select current_user",
        "the right to create a role",
        keeps_database=True,
    ),
)
_MYSQL = Family(
    "MySQL",
    "select version()",
    "select sleep({seconds})",
    f"create table {_COLUMNS} engine = memory",
    Accounts(
        "create user {name} identified by '{password}' with max_user_connections {limit}",
        "drop user {name}",
        "select current_user()",
        "the right to create a user",
        keeps_database=False,
    ),
)
_SQLITE = Family(
    "SQLite",
    "select sqlite_version()",
    "select cenote_sleep({seconds})",
    f"create table {_COLUMNS}",
    None,
    _teach_sleep,
)

FAMILIES = {
    "sqlite": _SQLITE,
    "psycopg": _POSTGRESQL,
    "psycopg2": _POSTGRESQL,
    "pymysql": _MYSQL,
    "mysqldb": _MYSQL,
    "mysqlconnector": _MYSQL,
}
"""By the module of the connector."""
