"""What the MySQL dialects share: words, codes, and rows that stay with the server until they are read.

Rows are streamed by the drivers' unbuffered cursors, in the one round trip that a query takes anyway.
Until they are read to the end the connection can carry nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from functools import partial
from itertools import chain, islice
from typing import Any, ClassVar

from cenote.dialects._isolation import LEVELS, check_isolation
from cenote.sql.dialect import BATCH, Batch, Binds, Call, Isolation, Parameters, Pep249, Result, Steps

INTERRUPTED = 1317  # ER_QUERY_INTERRUPTED
DEADLOCK = 1213  # ER_LOCK_DEADLOCK

# FIELD_TYPE of the protocol, by the names that the server itself uses.
_TYPES = {
    0: "decimal",
    1: "tinyint",
    2: "smallint",
    3: "int",
    4: "float",
    5: "double",
    6: "null",
    7: "timestamp",
    8: "bigint",
    9: "mediumint",
    10: "date",
    11: "time",
    12: "datetime",
    13: "year",
    14: "date",
    15: "varchar",
    16: "bit",
    245: "json",
    246: "decimal",
    247: "enum",
    248: "set",
    249: "tinyblob",
    250: "mediumblob",
    251: "longblob",
    252: "blob",
    253: "varchar",
    254: "char",
    255: "geometry",
}


class Unread:
    """A cursor, and the connection that its rows are still on."""

    __slots__ = ("connection", "cursor", "rest")

    def __init__(self, connection: Any, cursor: Any) -> None:
        self.connection = connection
        self.cursor = cursor
        self.rest: list[Any] | None = None  # rows that the driver has read unasked

    @property
    def description(self) -> Any:
        return self.cursor.description


class MySQLDialect(Pep249):
    """What all have in common: the drivers paste parameters, and the server is asked by ``KILL QUERY``."""

    binds: ClassVar[Binds] = "client"
    prepares = False
    plain: ClassVar[type[Any]]
    """The cursor that fetches all rows at once."""
    unbuffered: ClassVar[type[Any]]
    """The cursor that leaves them where they are; collected unread, it must not talk to the server."""

    def __init__(self, cancel: Callable[[Any], Any]) -> None:
        """Take the connector's way to stop a statement."""
        self.cancel: Callable[[Any], Any] | None = cancel

    def is_cancelled(self, error: BaseException) -> bool:
        """By the server's code."""
        return bool(error.args) and error.args[0] == INTERRUPTED

    def ends_tx(self, error: BaseException) -> bool:
        """InnoDB rolls one of those in a deadlock back, and commits what it sends afterwards at once."""
        return bool(error.args) and error.args[0] == DEADLOCK

    def cursor(self, connection: Any, call: Call) -> Steps[Any]:  # noqa: ARG002 - one kind for all
        """Make one that returns tuples, whatever the connection's own kind."""
        yield from ()
        return self.make_cursor(connection, self.plain)

    def make_cursor(self, connection: Any, kind: type[Any]) -> Any:
        """Make a cursor of a kind."""
        return connection.cursor(kind)

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Execute, and leave the rows where they are unless they are wanted at once."""
        cursor = self.make_cursor(connection, self.plain if call.stream is False else self.unbuffered)
        yield from self.send(cursor, call)
        return Unread(connection, cursor)

    def fetch(self, source: Any) -> Steps[Batch]:
        """Fetch a batch; one that is not full was the last."""
        if source.description is None:
            return [], False
        rows = yield partial(source.cursor.fetchmany, BATCH)
        return list(rows), len(rows) == BATCH

    def has_next(self, source: Any) -> bool:
        """Look at what came with the last answer."""
        result = source.connection._result
        return result is not None and bool(result.has_next)

    def next_result(self, source: Any) -> Steps[bool]:
        """Go on to the next one."""
        return bool((yield source.cursor.nextset))

    def finish(self, source: Any, *, keep: bool) -> Steps[bool]:
        """Read what is left if it is little or the connection is needed; else a new one is cheaper."""
        rows, more = yield from self.fetch(source)
        while more and keep:
            rows, more = yield from self.fetch(source)
        del rows
        if more:
            return False
        while self.has_next(source):
            yield source.cursor.nextset
            more = True
            while more:
                _, more = yield from self.fetch(source)
        return True

    def execute_many(self, connection: Any, call: Call, rows: Iterable[Parameters]) -> Steps[Result]:
        """Use the cursor's executemany, for which an iterator that is empty is one all the same."""
        if not isinstance(rows, Sized):
            iterator = iter(rows)
            some = list(islice(iterator, 1))
            rows = chain(some, iterator) if some else ()
        return (yield from super().execute_many(connection, call, rows))

    def type_name(self, code: Any) -> str:
        """Name a type by the protocol's number."""
        return _TYPES.get(code, str(code))

    def begin_with(self, isolation: Isolation | None, *, read_only: bool) -> Sequence[str]:
        """Word the beginning; a level is set for the next transaction alone."""
        check_isolation(isolation, LEVELS)
        level = [f"SET TRANSACTION ISOLATION LEVEL {isolation.upper()}"] if isolation else []
        return [*level, f"START TRANSACTION{' READ ONLY' if read_only else ''}"]


class BlockingMySQLDialect(MySQLDialect):
    """The drivers for threads."""

    def fetch_row(self, connection: Any, call: Call) -> Any:
        """Execute and fetch one."""
        cursor = connection.cursor(self.plain)
        if call.params is None:
            cursor.execute(call.sql)
        else:
            cursor.execute(call.sql, call.params)
        description = cursor.description
        row = None if description is None else cursor.fetchone()
        cursor.close()
        return (() if description is None else tuple([item[0] for item in description])), row
