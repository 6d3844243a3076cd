"""PyMySQL."""

from __future__ import annotations

from pymysql.cursors import Cursor, SSCursor

from cenote.dialects._mysql import BlockingMySQLDialect


class _Unbuffered(SSCursor):
    def __del__(self) -> None:
        """Do not read the rest: whoever dropped it unread has its connection closed."""


class PyMySQLDialect(BlockingMySQLDialect):
    """PyMySQL: all as its kin."""

    plain = Cursor
    unbuffered = _Unbuffered
