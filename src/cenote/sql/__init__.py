"""The database/sql handle: statements, rows, transactions and deadlines, on a pool."""

from __future__ import annotations

from ._asyncio import AsyncConn, AsyncDB, AsyncRows, AsyncStmt, AsyncTx, open_async
from ._threads import DB, Conn, Rows, Stmt, Tx, open
from .dialect import Column, Dialect, Pep249, Result
from .row import Row

__all__ = [
    "DB",
    "AsyncConn",
    "AsyncDB",
    "AsyncRows",
    "AsyncStmt",
    "AsyncTx",
    "Column",
    "Conn",
    "Dialect",
    "Pep249",
    "Result",
    "Row",
    "Rows",
    "Stmt",
    "Tx",
    "open",
    "open_async",
]
