"""PyMySQL."""

from __future__ import annotations

from typing import Any

from pymysql.connections import MySQLResult
from pymysql.cursors import Cursor, SSCursor

from cenote.dialects._mysql import BlockingMySQLDialect


class _Result(MySQLResult):
    def __del__(self) -> None:
        """Do not read the rest: whoever dropped it unread has its connection closed."""


class _Unbuffered(SSCursor):
    _result: Any

    def _do_get_result(self) -> None:
        super()._do_get_result()  # type: ignore[misc] # the stubs keep to what is documented
        self._result.__class__ = _Result

    def __del__(self) -> None:
        """Do not read the rest, as above."""


class PyMySQLDialect(BlockingMySQLDialect):
    """PyMySQL: all as its kin."""

    plain = Cursor
    unbuffered = _Unbuffered
