"""One connection pool for every driver, for threads and asyncio: bounded, fair, self-healing; it says why."""

from __future__ import annotations

from ._asyncio import AsyncLease, AsyncPool
from ._deadline import timeout
from ._explain import Holder
from ._group import AsyncPoolGroup, PoolGroup
from ._threads import Lease, Pool
from .connector import AsyncConnector, Connector
from .drivers._registry import register, schemes
from .drivers.dbapi import DBAPIConnector as dbapi  # noqa: N813 - reads as a function: cenote.dbapi(module, ...)
from .errors import (
    ConfigError,
    ConnectError,
    Error,
    NoRows,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    RowsClosed,
    SelfDeadlock,
    StmtClosed,
    TxDone,
)
from .events import Event
from .options import Options, add_arguments
from .sql import DB, AsyncDB, Row, open, open_async
from .stats import GroupStats, Histogram, Stats

__version__ = "0.1.0"

__all__ = [
    "DB",
    "AsyncConnector",
    "AsyncDB",
    "AsyncLease",
    "AsyncPool",
    "AsyncPoolGroup",
    "ConfigError",
    "ConnectError",
    "Connector",
    "Error",
    "Event",
    "GroupStats",
    "Histogram",
    "Holder",
    "Lease",
    "NoRows",
    "Options",
    "Pool",
    "PoolClosed",
    "PoolFull",
    "PoolGroup",
    "PoolTimeout",
    "Row",
    "RowsClosed",
    "SelfDeadlock",
    "Stats",
    "StmtClosed",
    "TxDone",
    "__version__",
    "add_arguments",
    "dbapi",
    "open",
    "open_async",
    "register",
    "schemes",
    "timeout",
]
