"""psycopg 3, in both worlds.

Rows are streamed by libpq's chunked mode, in the one round trip that a query takes anyway. Statements
are prepared by psycopg's own manager, which keeps a bounded number of them on each connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from cenote.dialects._postgresql import begin_with
from cenote.sql.dialect import BATCH, UNKNOWN_COUNT, Call, Column, Isolation, NamedRow, Pep249, Result, Steps

CANCEL_SECONDS = 2.0

_CHUNK = BATCH if psycopg.capabilities.has_stream_chunked() else 1
_NO_RESULT = "didn't produce a result"
"""psycopg's words for a statement that was streamed, executed, and had no rows to return."""


class _Stream:
    """A cursor and what is left of its rows."""

    __slots__ = ("cursor", "rows")

    def __init__(self, cursor: Any, rows: Any) -> None:
        self.cursor = cursor
        self.rows = rows

    @property
    def description(self) -> Any:
        return self.cursor.description


class PsycopgDialect(Pep249):
    """What both worlds share; the cursors differ."""

    binds = "both"
    _plain: type[Any] = psycopg.Cursor
    _pasting: type[Any] = psycopg.ClientCursor

    @staticmethod
    def cancel(connection: psycopg.Connection[Any]) -> None:
        """Send a cancel request; it has reached the backend when the server closes that connection."""
        connection.cancel_safe(timeout=CANCEL_SECONDS)

    def cursor(self, connection: Any, call: Call) -> Steps[Any]:
        """Make one that returns tuples, whatever the connection's own row factory."""
        yield from ()
        return (self._pasting if call.interpolate else self._plain)(connection, row_factory=tuple_row)

    def send(self, cursor: Any, call: Call) -> Steps[None]:
        """Execute; whether to prepare goes with it."""
        yield partial(
            cursor.execute, call.sql, call.params, prepare=None if call.interpolate else call.prepare
        )

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Stream, unless the statement is to be prepared, which psycopg does not do for streams."""
        if call.stream is False or (call.prepare and not call.stream):
            return (yield from super().query(connection, call))
        cursor = yield from self.cursor(connection, call)
        return _Stream(cursor, cursor.stream(call.sql, call.params, size=_CHUNK))

    def fetch(self, source: Any) -> Steps[tuple[list[tuple[Any, ...]], bool]]:
        """Take what has come; of a result that libpq holds whole, take it whole."""
        if not isinstance(source, _Stream):
            return ([] if source.description is None else (yield source.fetchall)), False
        try:
            rows = yield partial(self._take, source.rows)
        except psycopg.ProgrammingError as error:
            if error.sqlstate is None and _NO_RESULT in str(error):
                return [], False
            raise
        return rows, len(rows) == BATCH

    @staticmethod
    def _take(rows: Iterator[Any]) -> list[Any]:
        return list(islice(rows, BATCH))

    def has_next(self, source: Any) -> bool:
        """Look among the results that libpq holds."""
        return not isinstance(source, _Stream) and source._iresult < len(source._results) - 1

    def next_result(self, source: Any) -> Steps[bool]:
        """Go on to the next; that needs no server."""
        yield from ()
        return bool(source.nextset())

    def finish(self, source: Any, *, keep: bool) -> Steps[bool]:  # noqa: ARG002 - psycopg has the server stop, either way
        """End the stream: psycopg has the server cancel it, and reads what had been sent before."""
        if not isinstance(source, _Stream):
            return True
        yield source.rows.close
        return True

    def query_row(self, connection: Any, call: Call) -> Steps[NamedRow]:
        """Execute and fetch one."""
        cursor = (self._pasting if call.interpolate else self._plain)(connection, row_factory=tuple_row)
        yield partial(
            cursor.execute, call.sql, call.params, prepare=None if call.interpolate else call.prepare
        )
        if cursor.description is None:
            return (), None
        row = yield cursor.fetchone
        return self.names(cursor), row

    def names(self, source: Any) -> tuple[str, ...]:
        """Return the columns' names alone."""
        return tuple([column.name for column in source.description or ()])

    def column(self, item: Any) -> Column:
        """Read psycopg's own description."""
        return Column(item.name, item.type_display, None, item.precision, item.scale, item.display_size)

    def result(self, cursor: Any) -> Result:
        """PostgreSQL makes no key of its own; ask for it by ``returning``."""
        affected = cursor.rowcount
        return Result(None if affected == UNKNOWN_COUNT else affected, None)

    def begin_with(self, isolation: Isolation | None, *, read_only: bool) -> Sequence[str]:
        """Word the beginning."""
        return [begin_with(isolation, read_only=read_only)]

    def tell(self, connection: Any, *statements: str) -> Steps[str]:  # type: ignore[override] # says more
        """Execute statements of our own and return what the server did last."""
        cursor = self._plain(connection)
        for statement in statements:
            yield partial(cursor.execute, statement, prepare=False)
        return cursor.statusmessage or ""

    def commit(self, connection: Any) -> Steps[bool]:
        """Commit; of a failed transaction PostgreSQL says that it rolled back."""
        return (yield from self.tell(connection, "COMMIT")) != "ROLLBACK"

    def is_cancelled(self, error: BaseException) -> bool:
        """By SQLSTATE 57014."""
        return isinstance(error, psycopg.errors.QueryCanceled)


class AsyncPsycopgDialect(PsycopgDialect):
    """The same, awaited."""

    _plain = psycopg.AsyncCursor
    _pasting = psycopg.AsyncClientCursor

    @staticmethod
    async def cancel(connection: psycopg.AsyncConnection[Any]) -> None:  # type: ignore[override] # awaited in this world
        """Send a cancel request."""
        await connection.cancel_safe(timeout=CANCEL_SECONDS)

    @staticmethod
    async def _take(rows: AsyncIterator[Any]) -> list[Any]:  # type: ignore[override] # awaited in this world
        taken: list[Any] = []
        async for row in rows:
            taken.append(row)
            if len(taken) == BATCH:
                break
        return taken

    def next_result(self, source: Any) -> Steps[bool]:
        """Go on to the next; that needs no server."""
        yield from ()
        return bool(source.nextset())

    def finish(self, source: Any, *, keep: bool) -> Steps[bool]:  # noqa: ARG002 - as in threads
        """End the stream."""
        if isinstance(source, _Stream):
            yield source.rows.aclose
        return True
