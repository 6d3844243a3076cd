"""One connection pool for every driver, for threads and asyncio: bounded, fair, self-healing; it says why."""

from __future__ import annotations

from ._asyncio import AsyncLease, AsyncPool
from ._deadline import timeout
from ._explain import Holder
from ._threads import Lease, Pool
from .connector import AsyncConnector, Connector
from .drivers.dbapi import DBAPIConnector as dbapi  # noqa: N813 - reads as a function: cenote.dbapi(module, ...)
from .errors import ConfigError, ConnectError, Error, PoolClosed, PoolFull, PoolTimeout, SelfDeadlock
from .events import Event
from .options import Options, add_arguments
from .stats import Histogram, Stats

__version__ = "0.1.0"

__all__ = [
    "AsyncConnector",
    "AsyncLease",
    "AsyncPool",
    "ConfigError",
    "ConnectError",
    "Connector",
    "Error",
    "Event",
    "Histogram",
    "Holder",
    "Lease",
    "Options",
    "Pool",
    "PoolClosed",
    "PoolFull",
    "PoolTimeout",
    "SelfDeadlock",
    "Stats",
    "__version__",
    "add_arguments",
    "dbapi",
    "timeout",
]
