"""mysqlclient (MySQLdb)."""

from __future__ import annotations

from typing import Any

from MySQLdb.cursors import Cursor, SSCursor

from cenote.dialects._mysql import BlockingMySQLDialect


class MySQLdbDialect(BlockingMySQLDialect):
    """mysqlclient: all as its kin, but for how it says that more is to come."""

    plain = Cursor
    unbuffered = SSCursor

    def has_next(self, source: Any) -> bool:
        """Ask the client library, which knows."""
        return bool(source.connection.more_results())
