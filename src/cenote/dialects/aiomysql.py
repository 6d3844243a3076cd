"""aiomysql."""

from __future__ import annotations

from typing import Any, ClassVar

from aiomysql.cursors import Cursor, SSCursor

from cenote.dialects._mysql import MySQLDialect
from cenote.sql.dialect import Batch, Steps


class AiomysqlDialect(MySQLDialect):
    """aiomysql: its connections make cursors to be awaited, which needs no server."""

    plain: ClassVar[type[Any]] = Cursor
    unbuffered: ClassVar[type[Any]] = SSCursor

    def next_result(self, source: Any) -> Steps[bool]:
        """Go on to the next one, of which aiomysql reads all rows at once, whatever the cursor."""
        more = bool((yield source.cursor.nextset))
        source.rest = list(source.cursor._rows or ()) if more else None
        return more

    def fetch(self, source: Any) -> Steps[Batch]:
        """Fetch a batch, or what `next_result` has read."""
        if source.rest is None:
            return (yield from super().fetch(source))
        rows, source.rest = source.rest, []
        return rows, False

    def make_cursor(self, connection: Any, kind: type[Any]) -> Any:
        """Make one directly."""
        return kind(connection)
