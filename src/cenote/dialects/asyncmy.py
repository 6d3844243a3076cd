"""asyncmy. A `Stmt` is prepared by its own cache of statements, which is off for all others."""

from __future__ import annotations

from typing import Any, ClassVar

from asyncmy.cursors import Cursor, SSCursor

from cenote.dialects._mysql import MySQLDialect
from cenote.sql.dialect import Binds, Call, Steps

KEPT_STATEMENTS = 100
"""How many statements a connection keeps; as many as psycopg's."""


class AsyncmyDialect(MySQLDialect):
    """asyncmy: it can have the server bind, for statements that are prepared."""

    binds: ClassVar[Binds] = "both"
    prepares = True
    binds_prepared = True
    plain = Cursor
    unbuffered = SSCursor

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Execute; what is prepared, asyncmy fetches at once."""
        if call.prepare and call.params is not None and not call.stream:
            call.stream = False
        return (yield from super().query(connection, call))

    def send(self, cursor: Any, call: Call) -> Steps[None]:
        """Execute, with the cache of statements for one that is to be prepared."""
        connection = cursor.connection
        if not call.prepare:
            yield from super().send(cursor, call)
            return
        usual, connection._stmt_cache_size = connection._stmt_cache_size, KEPT_STATEMENTS
        try:
            yield from super().send(cursor, call)
        finally:
            connection._stmt_cache_size = usual
