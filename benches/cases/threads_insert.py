"""32 threads, 10 connections, INSERT by psycopg: how much of the driver's speed is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from typing import cast

import psycopg
import sqlalchemy

from benches import ours, peers
from benches.bare import ThreadQueue
from benches.database import Database
from benches.load import Turn, run_threads
from benches.measure import Compare, Figures, Metric
from benches.settings import Case, Settings, Sides

WHAT = "INSERTs"
THREADS = 32
SIZE = 10
SLICE = 1.5
NOTE = "a note of ordinary length"
INSERT = "insert into bench (worker, note) values (%s, %s)"


@dataclass(frozen=True, slots=True)
class Inserting:
    """One side's round, into an empty table."""

    turns: Sequence[Turn]
    database: Database
    seconds: float

    def __call__(self) -> Figures:
        """Run one round."""
        self.database.empty_table()
        return {WHAT: run_threads(self.turns, self.seconds).per_second}


def insert(connection: psycopg.Connection, worker: int) -> None:
    """Insert one row."""
    connection.execute(INSERT, (worker, NOTE))


def by_hand(connection: psycopg.Connection, worker: int) -> Turn:
    """Insert by a connection of one's own: what the driver and the server can do."""

    def turn() -> None:
        insert(connection, worker)

    return turn


def by_pool(enter: Callable[[], AbstractContextManager[psycopg.Connection]], worker: int) -> Turn:
    """Take a connection for every row in a ``with`` block."""

    def turn() -> None:
        with enter() as connection:
            insert(connection, worker)

    return turn


def by_sqlalchemy(pool: sqlalchemy.Pool, worker: int) -> Turn:
    """Take a connection of SQLAlchemy's pool for every row, and use it past the engine and the proxy."""

    def turn() -> None:
        with closing(pool.connect()) as fairy:
            insert(cast("psycopg.Connection", fairy.driver_connection), worker)

    return turn


def by_core(engine: sqlalchemy.Engine, worker: int) -> Turn:
    """Insert as SQLAlchemy's documentation does it: a connection of the engine and a statement with names."""
    statement = sqlalchemy.text("insert into bench (worker, note) values (:worker, :note)")

    def turn() -> None:
        with engine.connect() as connection:
            connection.execute(statement, {"worker": worker, "note": NOTE})

    return turn


def prepare(settings: Settings, stack: ExitStack) -> Sides:
    """One crew of threads per side."""
    database = settings.database
    pool = ours.threads_pool(stack, database.url("psycopg"), SIZE)
    psycopg_pool = peers.psycopg_threads(stack, database.dsn, SIZE)
    engine = peers.sqlalchemy_engine(stack, database.dsn, SIZE)
    connections = [peers.psycopg_connection(stack, database.dsn) for _ in range(SIZE)]
    bare = ThreadQueue(connections)
    crews = {
        "cenote": [by_pool(pool.connection, worker) for worker in range(THREADS)],
        "10 threads by hand": [by_hand(connection, worker) for worker, connection in enumerate(connections)],
        "a bare queue": [by_pool(bare.connection, worker) for worker in range(THREADS)],
        "psycopg_pool": [by_pool(psycopg_pool.connection, worker) for worker in range(THREADS)],
        "SQLAlchemy QueuePool": [by_sqlalchemy(engine.pool, worker) for worker in range(THREADS)],
        "SQLAlchemy Core": [by_core(engine, worker) for worker in range(THREADS)],
    }
    return {name: Inserting(crew, database, settings.slice(SLICE)) for name, crew in crews.items()}


CASE = Case(
    key="threads-insert",
    title="32 threads, 10 connections, INSERT by psycopg",
    metrics=[
        Metric(
            WHAT,
            "/s",
            [
                Compare("cenote", "10 threads by hand", at_least=0.6, aim="≥ 0.8"),
                Compare("cenote", "psycopg_pool", at_least=1.2),
                Compare("cenote", "SQLAlchemy Core", at_least=1.8),
                Compare("cenote", "SQLAlchemy QueuePool"),
                Compare("a bare queue", "10 threads by hand"),
                Compare("a bare queue", "psycopg_pool"),
            ],
        )
    ],
    rounds=5,
    prepare=prepare,
)
