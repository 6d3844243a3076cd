"""mysqlclient (MySQLdb)."""

from __future__ import annotations

from typing import Any

from MySQLdb.cursors import Cursor, SSCursor

from cenote.dialects._mysql import BlockingMySQLDialect
from cenote.sql.dialect import Batch, Steps


class MySQLdbDialect(BlockingMySQLDialect):
    """mysqlclient: all as its kin, but for how it says that more is to come."""

    plain = Cursor
    unbuffered = SSCursor

    def fetch(self, source: Any) -> Steps[Batch]:
        """Fetch a batch, and let go of a result with its last row.

        Whoever frees one takes the connection's lock, and what another thread asks of the connection at that
        moment is refused. So it must not be left to the user, who may drop the rows at any time.
        """
        rows, more = yield from super().fetch(source)
        if not more:
            source.cursor._result = None
        return rows, more

    def has_next(self, source: Any) -> bool:
        """Ask the client library, which knows."""
        return bool(source.connection.more_results())
