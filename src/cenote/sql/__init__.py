"""The database/sql handle: statements, rows, transactions and deadlines, on a pool."""

from __future__ import annotations

from .db import DB, AsyncDB, open, open_async
from .dialect import Column, Dialect, Pep249, Result
from .row import Row
from .rows import AsyncRows, Rows
from .stmt import AsyncStmt, Stmt
from .tx import AsyncConn, AsyncTx, Conn, Tx

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
