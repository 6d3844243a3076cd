"""Any PEP 249 driver under the handle: what is committed when, and what the standard cannot do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import RealDictCursor

import cenote
from cenote.sql import DB
from tests.servers.postgres import PostgresServer


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "app.db")


@pytest.fixture
def db(file: str) -> Iterator[DB]:
    with cenote.open(cenote.dbapi(sqlite3, file, check_same_thread=False, timeout=0), max_open=1) as handle:
        handle.exec("create table notes (word text)")
        yield handle
        assert handle.stats().in_use == 0


def seen(file: str) -> int:
    """Count the rows that another connection sees."""
    other = sqlite3.connect(file)
    (count,) = other.execute("select count(*) from notes").fetchone()
    other.close()
    return int(count)


@pytest.mark.parametrize(
    "ask",
    [
        lambda db: db.exec("insert into notes values ('x')"),
        lambda db: db.query("insert into notes values ('x')").all(),
        lambda db: db.query("insert into notes values ('x') returning word").all(),
        lambda db: db.query_row("insert into notes values ('x') returning word"),
        lambda db: db.exec_many("insert into notes values (?)", [("x",)]),
        lambda db: db.prepare("insert into notes values (?)").exec("x"),
    ],
    ids=["exec", "query", "returning", "query_row", "exec_many", "stmt"],
)
def test_outside_a_transaction_each_statement_is_committed(
    db: DB, file: str, ask: Callable[[DB], Any]
) -> None:
    ask(db)
    assert seen(file) == 1


def test_rows_closed_early_are_committed(db: DB, file: str) -> None:
    many = "with recursive n(i) as (select 1 union all select i + 1 from n limit 1000)"
    with db.query(f"insert into notes {many} select i from n returning word") as rows:
        next(rows)
    assert seen(file) == 1000


def test_in_a_transaction_nothing_is_seen_before_its_commit(db: DB, file: str) -> None:
    with db.begin() as tx:
        tx.exec("insert into notes values ('x')")
        assert tx.query("select word from notes").all() == [("x",)]
        assert seen(file) == 0
    assert seen(file) == 1


def test_a_failed_statement_leaves_no_transaction_open(db: DB) -> None:
    db.exec("create table full (word text not null)")
    with pytest.raises(sqlite3.IntegrityError):
        db.exec("insert into full values (null)")
    with db.driver_connection() as connection:
        assert not connection.in_transaction


def test_a_connection_that_is_dropped_in_a_transaction_lets_go_of_its_locks(db: DB, file: str) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"

    def overrun() -> None:
        with db.begin(timeout=0.1) as tx:
            tx.exec("insert into notes values ('x')")
            tx.query_row(endless)

    with pytest.raises(cenote.PoolTimeout) as kept:  # and with it, in its traceback, a cursor
        overrun()
    db.exec("insert into notes values ('y')")
    assert seen(file) == 1
    assert kept.value.phase == "statement"


@pytest.mark.parametrize("asked", [{"isolation": "serializable"}, {"read_only": True}])
def test_what_the_standard_has_no_words_for_is_refused(db: DB, asked: dict[str, Any]) -> None:
    with pytest.raises(cenote.ConfigError, match=f"{next(iter(asked))}: PEP 249 has no words for it"):
        db.begin(**asked)


def test_a_transaction_where_none_would_begin_is_refused(file: str) -> None:
    connector = cenote.dbapi(sqlite3, file, isolation_level=None, check_same_thread=False)
    with cenote.open(connector) as db, pytest.raises(cenote.ConfigError, match="in autocommit"):
        db.begin()


def test_rows_are_plain_whatever_cursor_was_asked_for(postgres: PostgresServer) -> None:
    connector = cenote.dbapi(psycopg2, postgres.dsn, cursor_factory=RealDictCursor)
    with cenote.open(connector) as db:
        assert db.query("select 1 as a, 'x' as b").all() == [(1, "x")]
        assert db.query_row("select 1 as a, 'x' as b") == (1, "x")
        with pytest.raises(cenote.NoRows):
            db.query_row("select 1 where false")


def test_a_mapping_goes_where_the_module_knows_names(postgres: PostgresServer, db: DB) -> None:
    with cenote.open(cenote.dbapi(psycopg2, postgres.dsn)) as other:
        assert other.query_row("select %(a)s + 1", {"a": 1}) == (2,)
    with pytest.raises(sqlite3.Error):
        db.query_row("select ?", {"a": 1})  # sqlite3 says qmark, so this is one value, of no type it knows


def test_a_function_is_refused_with_the_remedy() -> None:
    def connect() -> sqlite3.Connection:
        raise AssertionError

    async def connect_async() -> sqlite3.Connection:
        raise AssertionError

    with pytest.raises(cenote.ConfigError, match=r"connect\(\) returns.*cenote\.dbapi\(module, \.\.\.\)"):
        cenote.open(connect)
    with pytest.raises(cenote.ConfigError, match=r"connect_async\(\) returns.*a URL, or a connector"):
        cenote.open_async(connect_async)
