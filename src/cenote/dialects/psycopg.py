"""psycopg 3, in both worlds.

Rows are streamed by libpq's chunked mode, in the one round trip that a query takes anyway. Statements
are prepared by psycopg's own manager, which keeps a bounded number of them on each connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import psycopg
from psycopg.generators import fetch
from psycopg.pq import ExecStatus
from psycopg.rows import tuple_row

from cenote.dialects._postgresql import begin_with
from cenote.sql.dialect import (
    BATCH,
    UNKNOWN_COUNT,
    Batch,
    Binds,
    Call,
    Column,
    Isolation,
    NamedRow,
    Pep249,
    Result,
    Steps,
)

CANCEL_SECONDS = 2.0

_CHUNK = BATCH if psycopg.capabilities.has_stream_chunked() else 1
_SOME_ROWS = (ExecStatus.SINGLE_TUPLE, ExecStatus.TUPLES_CHUNK)
_END = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class _FirstRow:
    """What psycopg's stream is given for each chunk: then it loads one row of it and asks for the next."""

    ntuples = 1


_FIRST_ROW = _FirstRow()


class _Streaming:
    """How psycopg streams, with two differences.

    The end is kept: it alone knows the columns of a result without rows. And `stream` gives the first row
    of each chunk alone; the `others` are loaded all at once, which costs less than one by one.
    """

    pgresult: Any
    _pgconn: Any
    _tx: Any
    _raise_for_result: Any
    _make_row: Any
    _make_row_maker: Any

    def _stream_fetchone_gen(self, first: bool) -> Generator[Any, Any, Any]:  # noqa: FBT001 - psycopg calls it so
        result = yield from fetch(self._pgconn)
        if result is None:
            return None
        if result.status in _SOME_ROWS:
            self.pgresult = result
            self._tx.set_pgresult(result, set_loaders=first)
            if first:
                self._make_row = self._make_row_maker()
            return _FIRST_ROW
        if result.status not in _END:
            self._raise_for_result(result)
        if first:
            self.pgresult = result
        while (yield from fetch(self._pgconn)) is not None:
            pass
        return None

    def others(self) -> list[Any]:
        """Load the rows of the chunk that follow the one that `stream` gave last."""
        rows: list[Any] = self._tx.load_rows(1, self.pgresult.ntuples, self._make_row)
        return rows


class _Cursor(_Streaming, psycopg.Cursor[Any]):
    pass


class _PastingCursor(_Streaming, psycopg.ClientCursor[Any]):
    pass


class _AsyncCursor(_Streaming, psycopg.AsyncCursor[Any]):
    pass


class _AsyncPastingCursor(_Streaming, psycopg.AsyncClientCursor[Any]):
    pass


class _Stream:
    """A cursor and what is left of its rows."""

    __slots__ = ("cursor", "rows")

    def __init__(self, cursor: Any, rows: Any) -> None:
        self.cursor = cursor
        self.rows = rows

    @property
    def description(self) -> Any:
        return self.cursor.description

    @property
    def pgresult(self) -> Any:
        return self.cursor.pgresult

    @property
    def connection(self) -> Any:
        return self.cursor.connection


_names: dict[tuple[tuple[bytes, ...], bytes | None], tuple[str, ...]] = {}
_MANY_NAMES = 1024


class PsycopgDialect(Pep249):
    """What both worlds share; the cursors differ."""

    binds: ClassVar[Binds] = "both"
    _plain: type[Any] = _Cursor
    _pasting: type[Any] = _PastingCursor

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

    def fetch(self, source: Any) -> Steps[Batch]:
        """Take what has come; of a result that libpq holds whole, take it whole."""
        if not isinstance(source, _Stream):
            return ([] if source.description is None else (yield source.fetchall)), False
        rows = yield partial(self._take, source.cursor, source.rows)
        return rows, len(rows) >= BATCH

    @staticmethod
    def _take(cursor: Any, first_rows: Iterator[Any]) -> list[Any]:
        taken: list[Any] = []
        for row in first_rows:
            taken += row, *cursor.others()
            if len(taken) >= BATCH:
                break
        return taken

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

    def fetch_row(self, connection: Any, call: Call) -> Any:
        """Execute and fetch one."""
        cursor = (self._pasting if call.interpolate else self._plain)(connection, row_factory=tuple_row)
        cursor.execute(call.sql, call.params, prepare=None if call.interpolate else call.prepare)
        names = self.names(cursor)
        return names, (cursor.fetchone() if names else None)

    def names(self, source: Any) -> tuple[str, ...]:
        """Read them from libpq: psycopg's description makes an object of each, which costs a lot."""
        found = source.pgresult
        if found is None:
            return ()
        raw = tuple([found.fname(i) for i in range(found.nfields)])
        connection = source.connection
        key = raw, connection.pgconn.parameter_status(b"client_encoding")
        names = _names.get(key)
        if names is None:
            if len(_names) >= _MANY_NAMES:
                _names.clear()
            encoding = connection.info.encoding
            names = _names[key] = tuple([name.decode(encoding) for name in raw])
        return names

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

    _plain = _AsyncCursor
    _pasting = _AsyncPastingCursor

    @staticmethod
    async def cancel(connection: psycopg.AsyncConnection[Any]) -> None:  # type: ignore[override] # awaited in this world
        """Send a cancel request."""
        await connection.cancel_safe(timeout=CANCEL_SECONDS)

    async def fetch_row(self, connection: Any, call: Call) -> NamedRow:
        """Execute and fetch one."""
        cursor = (self._pasting if call.interpolate else self._plain)(connection, row_factory=tuple_row)
        await cursor.execute(call.sql, call.params, prepare=None if call.interpolate else call.prepare)
        names = self.names(cursor)
        return names, (await cursor.fetchone() if names else None)

    @staticmethod
    async def _take(cursor: Any, first_rows: AsyncIterator[Any]) -> list[Any]:  # type: ignore[override] # awaited in this world
        taken: list[Any] = []
        async for row in first_rows:
            taken += row, *cursor.others()
            if len(taken) >= BATCH:
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
