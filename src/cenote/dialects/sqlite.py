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


def _lower_patience(milliseconds: int, usual: list[int], connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # whoever uses it next will see what is wrong with it
        (found,) = connection.execute("PRAGMA busy_timeout").fetchone()
        if milliseconds < found:
            usual.append(found)
            connection.execute(f"PRAGMA busy_timeout={milliseconds}")


def _restore_patience(usual: list[int], connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        for patience in usual:
            connection.execute(f"PRAGMA busy_timeout={patience}")


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
        usual: list[int] = []
        self._have_done(connection, partial(_lower_patience, ceil(seconds * 1000) + _AFTER, usual))
        try:
            return (yield from steps)
        finally:
            self._have_done(connection, partial(_restore_patience, usual))

    def _have_done(self, connection: Any, work: Callable[[sqlite3.Connection], None]) -> None:
        work(connection)

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

    def is_over(self, connection: Any) -> bool:
        """SQLite rolls back by itself when a statement that writes is interrupted, or the disk is full."""
        return not connection.in_transaction

    def rollback(self, connection: Any) -> Steps[None]:
        """Roll back, unless SQLite has done so itself after an error, and allow to write again."""
        if connection.in_transaction:
            yield from self.tell(connection, "ROLLBACK")
        yield from self.tell(connection, "PRAGMA query_only=0")


class AioSQLiteDialect(SQLiteDialect):
    """aiosqlite: each call is a trip to the connection's thread, so there are as few as can be."""

    @staticmethod
    async def cancel(connection: Any) -> None:  # type: ignore[override] # awaited in this world
        """Interrupt until the thread has done: it may be about to begin, and would not notice."""
        while connection._asked != connection._answered:
            SQLiteDialect.cancel(connection._conn)
            await asyncio.sleep(_PAUSE)

    def _have_done(self, connection: Any, work: Callable[[sqlite3.Connection], None]) -> None:
        # In its thread, behind what it was asked before; nobody waits for it.
        if connection._connection is not None:  # not closed meanwhile
            connection._tx.put_nowait((None, partial(work, connection._connection)))

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

    def rollback(self, connection: Any) -> Steps[None]:
        """Do it in one trip, behind whatever a cancelled task has left the thread to do."""
        yield partial(connection._execute, self._roll_back, connection._conn)

    @staticmethod
    def _roll_back(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA query_only=0")
