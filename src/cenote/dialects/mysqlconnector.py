"""MySQL Connector/Python, in both of its implementations.

It prepares a statement for a cursor; so a connection keeps the cursors of its prepared statements, the
least lately used making room.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import mysql.connector
from mysql.connector import errorcode

from cenote.dialects._mysql import INTERRUPTED, BlockingMySQLDialect, Unread
from cenote.sql.dialect import Binds, Call, Steps

KEPT_STATEMENTS = 100
"""How many statements a connection keeps; as many as psycopg's."""

_PLAIN = {"raw": False, "dictionary": False}


class MySQLConnectorDialect(BlockingMySQLDialect):
    """MySQL Connector/Python: it can have the server bind, for statements that are prepared."""

    binds: ClassVar[Binds] = "both"
    prepares = True
    binds_prepared = True

    def __init__(self, cancel: Callable[[Any], Any]) -> None:
        """Keep no statement yet."""
        super().__init__(cancel)
        self._kept: WeakKeyDictionary[Any, OrderedDict[str, tuple[str, Any]]] = WeakKeyDictionary()

    def is_cancelled(self, error: BaseException) -> bool:
        """By the server's code."""
        return isinstance(error, mysql.connector.Error) and error.errno == INTERRUPTED

    def cursor(self, connection: Any, call: Call) -> Steps[Any]:
        """Make one that holds its whole result, or find the one that has the statement prepared."""
        if call.prepare:
            return (yield from self._prepared(connection, call))
        return connection.cursor(buffered=True, **_PLAIN)

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Execute, and leave the rows where they are unless they are wanted at once."""
        if call.prepare or call.stream is False:
            cursor = yield from self.cursor(connection, call)
        else:
            cursor = connection.cursor(buffered=False, **_PLAIN)
        yield from self.send(cursor, call)
        return Unread(connection, cursor)

    def send(self, cursor: Any, call: Call) -> Steps[None]:
        """Execute, unless parameters are missing."""
        yield from super().send(cursor, call)
        _refuse_missing(cursor, call)

    def fetch_row(self, connection: Any, call: Call) -> Any:
        """Execute and fetch one."""
        if not call.prepare:
            cursor = connection.cursor(buffered=True, **_PLAIN)
            return _first(cursor, call, partial(_close, cursor))
        for step in self._prepared(connection, call):
            step()
        return _first(self._kept[connection][call.sql][1], call, lambda: None)

    def dispose(self, cursor: Any) -> Steps[None]:
        """Close it, unless its statement is kept."""
        if not _is_prepared(cursor):
            yield partial(_close, cursor)
        elif cursor.description is not None:
            yield cursor.fetchall

    def has_next(self, source: Any) -> bool:
        """Ask the implementation at hand."""
        connection = source.connection
        more = getattr(connection, "_have_next_result", None)
        return bool(connection.more_results if more is None else more)

    def _prepared(self, connection: Any, call: Call) -> Steps[Any]:
        kept = self._kept.setdefault(connection, OrderedDict())
        found = kept.get(call.sql)
        if found is None:
            if len(kept) >= KEPT_STATEMENTS:
                _, (_, oldest) = kept.popitem(last=False)
                yield oldest.close
            found = kept[call.sql] = call.sql, connection.cursor(prepared=True)
        else:
            kept.move_to_end(call.sql)
        call.sql = found[0]  # the very text: the driver compares by identity, and would prepare again
        return found[1]


def _close(cursor: Any) -> None:
    """Close it with nothing left behind: a procedure ends with a result of its own."""
    while cursor.nextset():
        pass
    cursor.close()


def _is_prepared(cursor: Any) -> bool:
    return hasattr(cursor, "_prepared") or hasattr(cursor, "_stmt")  # the latter in C


def _refuse_missing(cursor: Any, call: Call) -> None:
    """Say what the driver says of a wrong number: without any it would do nothing at all, in silence."""
    if call.params or not _is_prepared(cursor):
        return
    missing = cursor._prepared["parameters"] if hasattr(cursor, "_prepared") else cursor._stmt.param_count
    if missing:
        raise mysql.connector.ProgrammingError(
            errno=errorcode.ER_WRONG_ARGUMENTS,
            msg="Incorrect number of arguments executing prepared statement",
        )


def _first(cursor: Any, call: Call, done: Callable[[], object]) -> Any:
    cursor.execute(call.sql, call.params or ())
    _refuse_missing(cursor, call)
    description = cursor.description
    if description is None:
        done()
        return (), None
    rows = cursor.fetchall()
    done()
    return tuple([item[0] for item in description]), rows[0] if rows else None
