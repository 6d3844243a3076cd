"""psycopg2: parameters are pasted by the driver, in one round trip; nothing is prepared.

libpq holds the whole result before psycopg2 shows a row of it. Streaming is for those who ask for it, by a
cursor on the server, which takes two round trips more and lives in a transaction only. psycopg2's own named
cursors know nothing of a transaction begun with SQL, so this one is worded here. It takes what PostgreSQL
declares a cursor for: ``select`` and ``values``.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary, finalize

import psycopg2._psycopg
import psycopg2.extensions

from cenote.dialects._postgresql import IDLE, TYPES, begin_with
from cenote.sql.dialect import BATCH, UNKNOWN_COUNT, Batch, Binds, Call, Isolation, Pep249, Result, Steps

T = TypeVar("T")

_CURSOR = "cenote_rows"  # only one at a time lies unread on a connection


def _find_libpq() -> Any:
    """Find the functions for cancelling among those that psycopg2 itself is linked to; None if they hide."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(psycopg2._psycopg.__file__)
        library.PQgetCancel.argtypes, library.PQgetCancel.restype = [ctypes.c_void_p], ctypes.c_void_p
        library.PQcancel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        library.PQfreeCancel.argtypes = [ctypes.c_void_p]
        return library
    return None


_libpq = _find_libpq()


class _Stream:
    """A cursor on the server, and the client's cursor that fetches from it."""

    __slots__ = ("connection", "cursor", "own")

    def __init__(self, connection: Any, cursor: Any, *, own: bool) -> None:
        self.connection = connection
        self.cursor = cursor
        self.own = own  # a transaction was begun for it, and ends with it

    @property
    def description(self) -> Any:
        return self.cursor.description


class Psycopg2Dialect(Pep249):
    """PEP 249's ways, with a server's cursor for streams."""

    binds: ClassVar[Binds] = "client"
    prepares = False

    def __init__(self) -> None:
        """Hold no connection's key yet."""
        self._keys: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def within(self, connection: Any, steps: Steps[T], seconds: float) -> Steps[T]:  # noqa: ARG002 - libpq sets no limit
        """Take the key to a connection while nobody can close it."""
        if _libpq is not None and connection not in self._keys:
            self._keys[connection] = key = _libpq.PQgetCancel(connection.pgconn_ptr)
            finalize(connection, _libpq.PQfreeCancel, key).atexit = False
        return steps

    def cancel(self, connection: Any) -> None:
        """Send a cancel request; libpq returns when the server has closed that connection.

        Not by psycopg2, whose cancel holds the interpreter's lock: while a server out of reach does not
        answer, all threads would stand still, and nobody could cut the connection off.
        """
        words = ctypes.create_string_buffer(256)
        if _libpq is None or not _libpq.PQcancel(self._keys[connection], words, len(words)):
            raise OSError("the server could not be asked to cancel")

    def is_cancelled(self, error: BaseException) -> bool:
        """By SQLSTATE 57014."""
        return isinstance(error, psycopg2.extensions.QueryCanceledError)

    def cursor(self, connection: Any, call: Call) -> Steps[Any]:  # noqa: ARG002 - one kind for all
        """Make one that returns tuples, whatever the connection's own kind of cursor."""
        yield from ()
        return connection.cursor(cursor_factory=psycopg2.extensions.cursor)

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Execute, or declare a cursor."""
        if not call.stream:
            return (yield from super().query(connection, call))
        cursor = yield from self.cursor(connection, call)
        stream = _Stream(connection, cursor, own=connection.get_transaction_status() == IDLE)
        if stream.own:
            yield partial(cursor.execute, "BEGIN")
        text = call.sql.as_string(connection) if hasattr(call.sql, "as_string") else call.sql
        declare = Call(f"DECLARE {_CURSOR} NO SCROLL CURSOR FOR {text}", call.params)
        yield from self._guarded(stream, self.send(cursor, declare))
        return stream

    def fetch(self, source: Any) -> Steps[Batch]:
        """Take what libpq holds, or fetch a batch from the server."""
        if not isinstance(source, _Stream):
            return ([] if source.description is None else (yield source.fetchall)), False
        fetch = Call(f"FETCH FORWARD {BATCH} FROM {_CURSOR}")
        yield from self._guarded(source, self.send(source.cursor, fetch))
        rows: list[tuple[Any, ...]] = yield source.cursor.fetchall
        if len(rows) < BATCH:
            yield from self._end(source)
        return rows, len(rows) == BATCH

    def _guarded(self, stream: _Stream, steps: Steps[None]) -> Steps[None]:
        try:
            yield from steps
        except Exception:
            if stream.own:
                with suppress(Exception):  # the error at hand matters more
                    yield from self.tell(stream.connection, "ROLLBACK")
            raise

    def _end(self, stream: _Stream) -> Steps[None]:
        """Close the cursor: as long as it is there, its tables cannot be altered in this transaction."""
        yield from self.tell(stream.connection, "COMMIT" if stream.own else f"CLOSE {_CURSOR}")

    def finish(self, source: Any, *, keep: bool) -> Steps[bool]:  # noqa: ARG002 - there is nothing to read, either way
        """Give up the rest."""
        if isinstance(source, _Stream):
            yield from self._end(source)
        return True

    def type_name(self, code: Any) -> str:
        """Name the type as PostgreSQL does, if it is one of the usual."""
        return TYPES.get(code) or str(code)

    def result(self, cursor: Any) -> Result:
        """PostgreSQL makes no key of its own; ask for it by ``returning``."""
        affected = cursor.rowcount
        return Result(None if affected == UNKNOWN_COUNT else affected, None)

    def begin(self, connection: Any, isolation: Isolation | None, *, read_only: bool) -> Steps[None]:
        """Begin by SQL: in autocommit psycopg2 begins nothing itself."""
        yield from self.tell(connection, begin_with(isolation, read_only=read_only))

    def commit(self, connection: Any) -> Steps[bool]:
        """Commit; of a failed transaction PostgreSQL says that it rolled back."""
        cursor = yield from self.cursor(connection, Call(""))
        yield partial(cursor.execute, "COMMIT")
        return bool(cursor.statusmessage != "ROLLBACK")
