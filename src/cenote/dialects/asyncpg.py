"""asyncpg: parameters go to the server, and each connection keeps its last hundred statements prepared there.

A result comes whole, in the round trip that it takes anyway. Streaming is for those who ask for it: rows that
are read bit by bit lie in a portal, which must be opened and closed, and lives in a transaction only.

Behind a proxy that hands server connections around no statement may be kept (``prepare=False``). asyncpg then
asks for the types and executes in two round trips, and does not end the first with a Sync: the server is not
ready for anybody else in between, so no transaction is needed around the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import asyncpg

from cenote.dialects._postgresql import begin_with
from cenote.sql.dialect import (
    BATCH,
    Batch,
    Binds,
    Call,
    Column,
    Dialect,
    Isolation,
    NamedRow,
    Parameters,
    Result,
    Steps,
)


class _Source:
    """The rows of a statement that are here, and the cursor for those that are not.

    `state` is asyncpg's own record of the statement. Unlike the public object it describes the columns when
    the connection is closed, too.
    """

    __slots__ = ("connection", "cursor", "own", "rows", "state")

    def __init__(self, connection: Any, statement: Any, rows: list[Any], cursor: Any, *, own: bool) -> None:
        self.connection = connection
        self.state = statement._state
        self.rows = rows
        self.cursor = cursor
        self.own = own  # a transaction was begun for it, and ends with it


class AsyncpgDialect(Dialect):
    """asyncpg speaks no PEP 249. Its rows are handed on as they are: a `Row` is made of each at once."""

    binds: ClassVar[Binds] = "server"
    named = False

    @staticmethod
    async def cancel(connection: Any) -> None:
        """Send a cancel request; it has reached the backend when the server closes that connection.

        If it cannot be sent, asyncpg cuts the connection off.
        """
        await connection._cancel(asyncio.get_running_loop().create_future())

    def is_cancelled(self, error: BaseException) -> bool:
        """By SQLSTATE 57014."""
        return isinstance(error, asyncpg.QueryCanceledError)

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Fetch all in one go, or open a cursor."""
        if call.stream:
            return (yield from self._stream(connection, call))
        statement, rows = yield from self._fetch(connection, call)
        return _Source(connection, statement, rows, None, own=False)

    def _fetch(self, connection: Any, call: Call) -> Steps[tuple[Any, list[Any]]]:
        """Execute it prepared: that takes no more round trips, and tells the columns of an empty result."""
        _forget_statements(connection, call)
        again = not connection.is_in_transaction()
        while True:
            statement = yield partial(connection._prepare, call.sql, use_cache=True)
            try:
                return statement, (yield from _ask(connection, statement.fetch, *call.params or ()))
            except asyncpg.InvalidCachedStatementError:
                # A table has changed since it was prepared: the server refused it before it did anything.
                yield connection.reload_schema_state
                if not again:
                    raise
                again = False

    def _stream(self, connection: Any, call: Call) -> Steps[_Source]:
        _forget_statements(connection, call)
        own = not connection.is_in_transaction()
        if own:
            yield partial(connection.execute, "BEGIN")
        try:
            statement = yield partial(connection._prepare, call.sql, use_cache=True)
            cursor = yield partial(_opened, statement.cursor(*call.params or ()))
        except Exception:
            if own:
                yield from _roll_back(connection)
            raise
        return _Source(connection, statement, [], cursor, own=own)

    def fetch(self, source: Any) -> Steps[Batch]:
        """Hand over what is here, or fetch a batch."""
        if source.cursor is None:
            rows, source.rows = source.rows, []
            return rows, False
        try:
            rows = yield partial(source.cursor.fetch, BATCH)
        except Exception:
            if source.own:
                yield from _roll_back(source.connection)
            raise
        if len(rows) == BATCH:
            return rows, True
        yield from self._end(source)
        return rows, False

    def _end(self, source: _Source) -> Steps[None]:
        """Close the portal: as long as it is there, its tables cannot be altered in this transaction."""
        cursor, source.cursor = source.cursor, None
        if source.own:
            yield partial(source.connection.execute, "COMMIT")
        elif cursor is not None:
            yield partial(cursor._close_portal, None)

    def finish(self, source: Any, *, keep: bool) -> Steps[bool]:  # noqa: ARG002 - there is nothing to read, either way
        """Give up the rest."""
        if source.cursor is not None:
            yield from self._end(source)
        return True

    def columns(self, source: Any) -> tuple[Column, ...]:
        """Read what the server said when the statement was prepared."""
        return tuple([Column(item.name, item.type.name) for item in source.state._get_attributes()])

    def names(self, source: Any) -> tuple[str, ...]:
        """Take them from a row if there is one, which is cheap."""
        if source.rows:
            return tuple(source.rows[0].keys())
        return tuple([item.name for item in source.state._get_attributes()])

    def query_row(self, connection: Any, call: Call) -> Steps[NamedRow]:
        """Fetch one row; the server stops after it."""
        _forget_statements(connection, call)
        row = yield from _ask(connection, connection.fetchrow, call.sql, *call.params or ())
        return ((), None) if row is None else (tuple(row.keys()), row)

    def execute(self, connection: Any, call: Call) -> Steps[Result]:
        """Execute; asyncpg prepares what has parameters, and sends the rest in one round trip as it is."""
        if call.prepare and not call.params:
            statement, _ = yield from self._fetch(connection, call)
            return _result(statement.get_statusmsg() or "")
        _forget_statements(connection, call)
        return _result((yield from _ask(connection, connection.execute, call.sql, *call.params or ())))

    def execute_many(self, connection: Any, call: Call, rows: Iterable[Parameters]) -> Steps[Result]:
        """Send all in one go, of which all is undone if one fails. asyncpg does not count the rows."""
        _forget_statements(connection, call)
        yield from _ask(connection, connection.executemany, call.sql, rows)
        return Result(None, None)

    def begin(self, connection: Any, isolation: Isolation | None, *, read_only: bool) -> Steps[None]:
        """Begin by SQL."""
        yield partial(connection.execute, begin_with(isolation, read_only=read_only))

    def commit(self, connection: Any) -> Steps[bool]:
        """Commit; of a failed transaction PostgreSQL says that it rolled back."""
        status: str = yield partial(connection.execute, "COMMIT")
        return status != "ROLLBACK"

    def rollback(self, connection: Any) -> Steps[None]:
        """Roll back."""
        yield partial(connection.execute, "ROLLBACK")


def _forget_statements(connection: Any, call: Call) -> None:
    """Switch asyncpg's cache off for a connection of a handle that must not prepare.

    The cache's size is fixed when a connection is opened; this is what a size of 0 sets, and all that asks.
    It happens before the first statement, so there is nothing in the cache yet.
    """
    if call.prepare is False:
        connection._stmt_cache_enabled = False


def _ask(connection: Any, ask: Callable[..., Any], *args: Any) -> Steps[Any]:
    """Have asyncpg do something; if it cannot use the arguments, leave the server ready for the next.

    asyncpg asks for the types of a statement first, and sends no Sync if it then refuses the arguments. Until
    the next statement the server would have a transaction open, and a proxy keep it for this client.
    """
    try:
        return (yield partial(ask, *args))
    except (asyncpg.InterfaceError, asyncpg.DataError) as error:
        # The server's own errors have a severity, and come with the server ready.
        if getattr(error, "severity", None) is None and not connection.is_in_transaction():
            with suppress(Exception):
                yield partial(connection.execute, "SELECT 1")
        raise


async def _opened(factory: Awaitable[Any]) -> Any:
    return await factory


def _roll_back(connection: Any) -> Steps[None]:
    """End our own transaction after an error, which matters more than what comes of this."""
    with suppress(Exception):
        yield partial(connection.execute, "ROLLBACK")


def _result(status: str) -> Result:
    """Read the count at the end of ``INSERT 0 3`` or ``UPDATE 2``."""
    count = status.rpartition(" ")[2]
    return Result(int(count) if count.isdecimal() else None, None)
