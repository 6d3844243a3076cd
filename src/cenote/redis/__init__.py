"""Drop-in pools for redis-py: ``redis.Redis(connection_pool=cenote.redis.ConnectionPool.from_url(...))``.

They have everything that redis-py's clients, pipelines and subscriptions ask of a pool, and what cenote's
pools have: a bound, a fair queue, deadlines, heartbeats, `stats` and `holders`. Needs ``cenote[redis]``.
"""

from __future__ import annotations

from ._asyncio import AsyncConnectionPool
from ._threads import ConnectionPool
from .errors import ConnectError, PoolClosed, PoolFull, PoolTimeout, SelfDeadlock

__all__ = [
    "AsyncConnectionPool",
    "ConnectError",
    "ConnectionPool",
    "PoolClosed",
    "PoolFull",
    "PoolTimeout",
    "SelfDeadlock",
]
