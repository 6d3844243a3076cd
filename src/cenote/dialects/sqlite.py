"""SQLite, by sqlite3 and aiosqlite. Every statement is prepared, and kept by sqlite3's own cache."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import ceil
from typing import Any, TypeVar

from cenote.dialects._isolation import check_isolation
from cenote.sql.dialect import BATCH, Batch, Call, Isolation, NamedRow, Pep249, Steps

T = TypeVar("T")

_PAUSE = 0.005
_AFTER = 10  # milliseconds, so that the deadline has been noticed when the wait ends
_ENDED = (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY)


class SQLiteDialect(Pep249):
    """sqlite3. A deadline interrupts the statement in this process; there is no server to ask."""

    def __init__(self, begin: Callable[[], str]) -> None:
        """Take the connector's own way to begin a transaction that may write."""
        self._begin = begin

    @staticmethod
    def cancel(connection: Any) -> None:
        """Interrupt."""
        with suppress(sqlite3.ProgrammingError):  # closed meanwhile
            connection.interrupt()

    def within(self, connection: Any, steps: Steps[T], seconds: float) -> Steps[T]:
        """Wait for another connection's lock no longer than that: SQLite does not interrupt a wait."""
        raw = self._raw(connection)
        (patience,) = raw.execute("PRAGMA busy_timeout").fetchone()
        milliseconds = ceil(seconds * 1000) + _AFTER
        if milliseconds >= patience:
            return (yield from steps)
        raw.execute(f"PRAGMA busy_timeout={milliseconds}")
        try:
            return (yield from steps)
        finally:
            self._do(connection, f"PRAGMA busy_timeout={patience}")

    @staticmethod
    def _raw(connection: Any) -> sqlite3.Connection:
        found: sqlite3.Connection = connection
        return found

    @staticmethod
    def _do(connection: Any, statement: str) -> None:
        with suppress(sqlite3.Error):  # it was closed meanwhile, or will be
            connection.execute(statement)

    def is_cancelled(self, error: BaseException) -> bool:
        """By SQLite's own code; one that still waited for a lock says that it was busy."""
        return (
            isinstance(error, sqlite3.OperationalError)
            and getattr(error, "sqlite_errorcode", 0) & 0xFF in _ENDED
        )

    def cursor(self, connection: Any, call: Call) -> Steps[Any]:  # noqa: ARG002 - one kind for all
        """Make one that returns tuples, whatever the connection's own row factory."""
        cursor = connection.cursor()
        cursor.row_factory = None
        yield from ()
        return cursor

    def fetch_row(self, connection: Any, call: Call) -> Any:
        """Execute and fetch one."""
        cursor = connection.cursor()
        cursor.row_factory = None
        cursor.execute(call.sql, call.params or ())
        row = cursor.fetchone()
        description = cursor.description
        cursor.close()
        return (() if description is None else tuple([item[0] for item in description])), row

    def begin(self, connection: Any, isolation: Isolation | None, *, read_only: bool) -> Steps[None]:
        """Begin; SQLite's transactions are serializable, whatever one asks for."""
        check_isolation(isolation, ("serializable",))
        yield from super().begin(connection, isolation, read_only=read_only)

    def begin_with(self, isolation: Isolation | None, *, read_only: bool) -> Sequence[str]:  # noqa: ARG002 - one level
        """Word the beginning."""
        return ("PRAGMA query_only=1", "BEGIN") if read_only else (self._begin(),)

    def commit(self, connection: Any) -> Steps[bool]:
        """Commit, and allow to write again."""
        yield from self.tell(connection, "COMMIT", "PRAGMA query_only=0")
        return True

    def rollback(self, connection: Any) -> Steps[None]:
        """Roll back, unless SQLite has done so itself after an error, and allow to write again."""
        if connection.in_transaction:
            yield from self.tell(connection, "ROLLBACK")
        yield from self.tell(connection, "PRAGMA query_only=0")


class AioSQLiteDialect(SQLiteDialect):
    """aiosqlite: each call is a trip to the connection's thread, so there are as few as can be."""

    @staticmethod
    async def cancel(connection: Any) -> None:  # type: ignore[override] # awaited in this world
        """Interrupt, without a trip, until the thread has done: it may be about to begin, and would not notice."""
        while connection._asked != connection._answered:
            SQLiteDialect.cancel(connection._conn)
            await asyncio.sleep(_PAUSE)

    def within(self, connection: Any, steps: Steps[T], seconds: float) -> Steps[T]:
        """Do the same, without a trip, unless the connection's thread is still at work for a cancelled task."""
        if connection._asked != connection._answered:
            return steps
        return super().within(connection, steps, seconds)

    @staticmethod
    def _raw(connection: Any) -> sqlite3.Connection:
        found: sqlite3.Connection = connection._conn
        return found

    @staticmethod
    def _do(connection: Any, statement: str) -> None:
        # Its thread may be at work now. It does this next, and nobody waits for it.
        work = partial(SQLiteDialect._do, connection._conn, statement)
        connection._tx.put_nowait((None, work))

    def cursor(self, connection: Any, call: Call) -> Steps[Any]:  # noqa: ARG002 - one kind for all
        """Make one that returns tuples."""
        cursor = yield connection.cursor
        cursor.row_factory = None
        return cursor

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Execute in one trip."""
        cursor = yield partial(connection.execute, call.sql, call.params or ())
        cursor.row_factory = None
        return cursor

    def fetch(self, source: Any) -> Steps[Batch]:
        """Fetch a batch in one trip, as plain a list as sqlite3's."""
        rows = yield partial(source._execute, source._cursor.fetchmany, BATCH)
        return list(rows), len(rows) == BATCH

    async def fetch_row(self, connection: Any, call: Call) -> NamedRow:
        """Do it in one trip."""
        found: NamedRow = await connection._execute(super().fetch_row, connection._conn, call)
        return found
