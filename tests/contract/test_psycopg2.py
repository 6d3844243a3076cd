"""What psycopg2's dialect does that the contract does not ask for."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import psycopg2.errors
import pytest
from psycopg2.extras import RealDictCursor
from psycopg2.sql import SQL

import cenote
from cenote.drivers.psycopg2 import Psycopg2Connector
from cenote.sql import DB
from tests.servers.postgres import PostgresServer

SERIES = "select i from generate_series(1, %s) as i"


@pytest.fixture
def db(postgres: PostgresServer) -> Iterator[DB]:
    connector = Psycopg2Connector(postgres.dsn, cursor_factory=RealDictCursor)
    with cenote.open(connector, max_open=1) as handle:
        handle.exec("drop table if exists notes")
        handle.exec("create table notes (id serial, word text)")
        yield handle
        assert handle.stats().in_use == 0
        assert handle.stats().connect_count == 1


@pytest.mark.parametrize("stream", [None, True])
def test_rows_are_plain_whatever_cursor_the_connection_makes(db: DB, stream: bool | None) -> None:
    assert db.query("select 1 as a, 2 as a, 'x' as b", stream=stream).all() == [(1, 2, "x")]
    assert db.query_row("select 1 as a") == (1,)


def test_a_stream_takes_a_composed_statement(db: DB) -> None:
    statement = SQL("select i from generate_series(1, {}) as i").format(SQL("3"))
    composed: str = statement  # type: ignore[assignment]  # the driver's own kind of text
    assert db.query(composed, stream=True).all() == [(1,), (2,), (3,)]


def test_types_have_the_servers_names(db: DB) -> None:
    rows = db.query("select 1::int8 as a, 'x'::text as b, '{}'::jsonb as c, 'a'::tsvector as d")
    assert [column.type for column in rows.columns] == ["int8", "text", "jsonb", "3614"]


@pytest.mark.parametrize(
    "sql",
    ["select 1 / (500 - i) as i from generate_series(1, 1000) as i", "select nothing", "delete from notes"],
)
def test_a_stream_that_fails_leaves_its_connection_in_order(db: DB, sql: str) -> None:
    with pytest.raises(psycopg2.Error):
        db.query(sql, stream=True).all()
    with db.driver_connection() as connection:
        assert connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE


@pytest.mark.parametrize("count", [3, 1000])
def test_after_a_stream_in_a_transaction_its_table_can_be_altered(db: DB, count: int) -> None:
    db.exec("insert into notes (word) select i::text from generate_series(1, 1000) as i")
    with db.begin() as tx:
        with tx.query("select id from notes", stream=True) as rows:
            for number, _ in enumerate(rows, 1):
                if number == count:
                    break
        tx.exec("alter table notes add column more text")


def test_a_failed_transaction_does_not_pass_for_committed(db: DB) -> None:
    tx = db.begin()
    tx.exec("insert into notes (word) values ('lost')")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        tx.exec("select 1/0")
    with pytest.raises(cenote.TxDone, match="rolled it back"):
        tx.commit()
    assert db.query_row("select count(*) from notes") == (0,)
