"""A large result read row by row: rows per second beside the driver's own streaming cursor, and the memory.


Memory is the growth of a fresh process's resident set at its peak, since what the drivers' C libraries hold
is not Python's to count.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import pymysql
import pymysql.cursors
import sqlalchemy

import cenote
from benches.measure import Compare, Figures, Metric
from benches.settings import Case, Settings, Sides

RATE = "rows streamed"
MEMORY = "memory over the start, 1,000,000 rows"
ROWS = 1_000_000
QUICK_ROWS = 100_000
CHUNK = 256

POSTGRESQL = "select i, 'row ' || i as title, i * 0.5::float8 as price from generate_series(1, {rows}) as i"
MARIADB = "select seq, concat('row ', seq) as title, seq * 0.5e0 as price from seq_1_to_{rows}"
SQLITE = (
    "with recursive s(i) as (select 1 union all select i + 1 from s where i < {rows}) "
    "select i, 'row ' || i as title, i * 0.5 as price from s"
)

PEAK = """
import sys, cenote
url, sql = sys.argv[1:]
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096
with cenote.open(url, max_open=1) as db:
    db.query_row("select 1")
    start = peak = resident()
    for number, row in enumerate(db.query(sql)):
        if number % 5000 == 0:
            peak = max(peak, resident())
    assert number == 999_999, number
print((peak - start) / 1e6)
"""


def rate(rows: int, read: Callable[[], Iterable[Any]]) -> Callable[[], Figures]:
    """Read all rows and reckon per second."""

    def side() -> Figures:
        began = perf_counter()
        count = 0
        for _ in read():
            count += 1
        took = perf_counter() - began
        assert count == rows, count
        return {RATE: rows / took, MEMORY: 0.0}

    return side


def memory(url: str, sql: str, side: Callable[[], Figures]) -> Callable[[], Figures]:
    """Add what a fresh process needs for a million rows."""
    command = [sys.executable, "-c", PEAK, url, sql.format(rows=ROWS)]

    def both() -> Figures:
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return {**side(), MEMORY: peak}

    return both


def opened(stack: ExitStack, url: str) -> cenote.DB:
    """Open a handle with one connection."""
    db = cenote.open(url, max_open=1)
    stack.callback(db.close)
    return db


def count_of(settings: Settings, usual: int = ROWS) -> int:
    """How many rows to stream for the rate."""
    return QUICK_ROWS if settings.quick else usual


def on_connection(db: cenote.DB, read: Callable[[Any], Iterable[Any]]) -> Callable[[], Iterable[Any]]:
    """Read by hand on the handle's own connection."""

    def rows() -> Iterable[Any]:
        with db.driver_connection() as connection:
            yield from read(connection)

    return rows


def by_sqlalchemy(stack: ExitStack, url: str, sql: str) -> Callable[[], Iterable[Any]]:
    """Stream by SQLAlchemy Core."""
    engine = sqlalchemy.create_engine(url, pool_size=1)
    stack.callback(engine.dispose)

    def rows() -> Iterable[Any]:
        with engine.connect() as connection:
            yield from connection.execution_options(yield_per=CHUNK).execute(sqlalchemy.text(sql))

    return rows


def prepare_psycopg(settings: Settings, stack: ExitStack) -> Sides:
    """psycopg: chunked mode, which ours uses, and a server-side cursor."""
    rows = count_of(settings)
    url, sql = settings.database.url("psycopg"), POSTGRESQL.format(rows=rows)
    db = opened(stack, url)

    def server_side(connection: Any) -> Iterable[Any]:
        with connection.transaction(), connection.cursor(name="bench") as cursor:
            cursor.itersize = CHUNK
            yield from cursor.execute(sql)

    reads: Mapping[str, Callable[[], Iterable[Any]]] = {
        "psycopg stream": on_connection(db, lambda connection: connection.cursor().stream(sql, size=CHUNK)),
        "psycopg server-side cursor": on_connection(db, server_side),
        "SQLAlchemy Core": by_sqlalchemy(stack, url, sql),
    }
    return {
        "cenote on psycopg": memory(url, POSTGRESQL, rate(rows, lambda: db.query(sql))),
        **{name: rate(rows, read) for name, read in reads.items()},
    }


def prepare_pymysql(settings: Settings, stack: ExitStack) -> Sides:
    """PyMySQL: its unbuffered cursor."""
    rows = count_of(settings, ROWS // 5)
    url, sql = settings.database.mariadb, MARIADB.format(rows=rows)
    db = opened(stack, url)

    def unbuffered(connection: pymysql.Connection[Any]) -> Iterable[Any]:
        with connection.cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute(sql)
            yield from cursor

    return {
        "cenote on PyMySQL": memory(url, MARIADB, rate(rows, lambda: db.query(sql))),
        "PyMySQL SSCursor": rate(rows, on_connection(db, unbuffered)),
        "SQLAlchemy Core": rate(rows, by_sqlalchemy(stack, url.replace("mysql://", "mysql+pymysql://"), sql)),
    }


def prepare_sqlite(settings: Settings, stack: ExitStack) -> Sides:
    """sqlite3: any cursor of it."""
    rows = count_of(settings)
    sql = SQLITE.format(rows=rows)
    db = opened(stack, "sqlite://")
    return {
        "cenote on sqlite3": memory("sqlite://", SQLITE, rate(rows, lambda: db.query(sql))),
        "sqlite3 cursor": rate(rows, on_connection(db, lambda connection: connection.execute(sql))),
        "SQLAlchemy Core": rate(rows, by_sqlalchemy(stack, "sqlite://", sql)),
    }


def case(key: str, driver: str, prepare: Any, judged: str, *shown: str) -> Case:
    """Word a case."""
    ours = f"cenote on {driver}"
    return Case(
        key=key,
        title=f"a large result streamed by {driver}",
        metrics=[
            Metric(RATE, "/s", [Compare(ours, judged, at_least=0.7), *[Compare(ours, one) for one in shown]]),
            Metric(MEMORY, "MB", [Compare(ours, None, at_most=50)]),
        ],
        rounds=3,
        prepare=prepare,
    )


CASES = (
    case(
        "stream-psycopg",
        "psycopg",
        prepare_psycopg,
        "psycopg stream",
        "psycopg server-side cursor",
        "SQLAlchemy Core",
    ),
    case("stream-pymysql", "PyMySQL", prepare_pymysql, "PyMySQL SSCursor", "SQLAlchemy Core"),
    case("stream-sqlite", "sqlite3", prepare_sqlite, "sqlite3 cursor", "SQLAlchemy Core"),
)
