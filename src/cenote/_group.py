"""`PoolGroup` and `AsyncPoolGroup`: a pool for each endpoint, a limit for each, and one for all of them.

A group decides nothing: its pools share a `Budget`, and the core of whichever makes a transition
sees to it that places go where they are needed. Here is only the table of pools.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from sys import _getframe
from time import monotonic
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

from . import _fork, _steps
from ._asyncio import AsyncLease, AsyncPool
from ._core import Budget
from ._pool import LeaseBase, PoolBase
from ._threads import Lease, Pool
from .durations import Duration, seconds
from .errors import ConfigError, PoolClosed
from .events import Listener
from .options import Options, OptionsDict
from .stats import GroupStats

P = TypeVar("P", bound=PoolBase[Any])

REMEMBERED = 1000
"""Pools that nobody uses and that have no connection are kept, with their counters, up to this number."""


class GroupBase(Generic[P]):
    """What both groups have in common; the faces add the kind of pool and `close`."""

    _make: Callable[..., P]

    def __init__(
        self,
        *,
        max_total: int = 100,
        listener: Listener | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Unpack[OptionsDict],
    ) -> None:
        """Understand the options; open nothing."""
        Options.of(**options)  # refused here rather than by the first pool
        self._budget = Budget(_checked(max_total))
        self._options: dict[str, Any] = dict(options)
        self._listener = listener
        self._clock = clock
        self._lock = threading.RLock()  # a finalizer may come in between
        self._closed = False
        # Whoever uses a pool keeps it, and so does each of its connections; the group itself only the latest.
        self._pools: weakref.WeakValueDictionary[Hashable, P] = weakref.WeakValueDictionary()
        self._latest: OrderedDict[Hashable, P] = OrderedDict()
        _fork.register(self)

    def pool(self, target: Any) -> P:
        """Give the pool of an endpoint, made when it is asked for first. Opens nothing.

        Args:
            target: a URL, a connector, a function that connects, or `Options`: what a pool is made of.
                Equal targets have the same pool.

        Raises:
            ConfigError: the target makes no sense, or lacks what one of the group's options needs.
            PoolClosed: the group is closed.
        """
        try:
            hash(target)
            key = target
        except TypeError:  # its pool keeps it, so nothing else will have this number
            key = id(target)
        with self._lock:
            if self._closed:
                message = "the group is closed"
                raise PoolClosed(message)
            pool = self._pools.get(key)
            if pool is None:
                pool = self._make(target, listener=self._listener, clock=self._clock, **self._options)
                pool._start_anew(self._budget)
                self._pools[key] = pool
            self._latest[key] = pool
            self._latest.move_to_end(key)
            while len(self._latest) > REMEMBERED:
                self._latest.popitem(last=False)
        return pool

    @property
    def pools(self) -> list[P]:
        """The pools there are: all that have connections or users, and the latest of the others."""
        with self._lock:
            return list(self._pools.values())

    @property
    def max_total(self) -> int:
        """The most connections that all pools together may have open."""
        return int(self._budget.limit)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def stats(self) -> GroupStats:
        """Take a snapshot of the group and of each pool in it. Never waits for a connection."""
        pools = [(pool.name, pool.stats()) for pool in self.pools]
        with self._budget.lock:
            open_, closing = self._budget.open(), self._budget.closing()
        return GroupStats(
            max_open_connections=self.max_total,
            open_connections=open_,
            closing=closing,
            in_use=sum(stats.in_use for _, stats in pools),
            idle=sum(stats.idle for _, stats in pools),
            waiting=sum(stats.waiting for _, stats in pools),
            pools=tuple(pools),
        )

    def resize(self, *, max_total: int | None = None, **options: Unpack[OptionsDict]) -> None:
        """Change the limit for all, and any option of each pool, those to come included. Never waits.

        Less room: surplus idle connections are closed at once, leases when they come back. More
        room: waiters are served at once.

        Raises:
            ConfigError: a value makes no sense; nothing is changed.
            TypeError: there is no such option.
        """
        limit = self.max_total if max_total is None else _checked(max_total)
        Options.of(**{**self._options, **options})
        with self._lock:
            pools = list(self._pools.values())
            for pool in pools:
                _steps.refuse_amid(pool, "resize")
                pool._check(pool.options.replace(**options))
            self._options.update(options)
            with self._budget.lock:
                self._budget.limit = limit
        for pool in pools:  # one would do for the limit
            pool.resize(**options)

    def __repr__(self) -> str:
        """Counts."""
        state = "closed" if self._closed else f"{len(self._pools)} pools"
        return f"<{type(self).__name__} {state}, open {self._budget.open()} of {self._budget.limit}>"

    def _shut(self) -> list[P]:
        """Close what is idle, refuse all who wait and all who come."""
        with self._lock:
            self._closed = True
            pools = list(self._pools.values())
        for pool in pools:
            _steps.shut_now(pool)
        return pools

    def _forked(self) -> None:
        self._budget = self._budget.renewed()
        self._lock = threading.RLock()


def _checked(max_total: object) -> int:
    if isinstance(max_total, bool) or not isinstance(max_total, int) or max_total < 1:
        text = f"max_total: must be a whole number of at least 1, got {max_total!r}; write max_total=100"
        raise ConfigError(text)
    return max_total


def _sign(lease: LeaseBase[Any]) -> None:
    """Have the lease name the place where the group was asked."""
    frame = _getframe(2)
    lease._mark(id(frame), frame.f_code, frame.f_lasti)


class PoolGroup(GroupBase[Pool[Any]]):
    """Pools for many endpoints, for threads: a limit for each, and one for all of them together.

    Each endpoint has a pool of its own, made when it is asked for first. When all places are taken
    and an endpoint needs one, the connection that has been idle for longest, wherever it leads, is
    closed for it; when none is idle, callers wait, and a place that is freed goes to the one who has
    waited longest. Endpoints that want connections at the same time share the places equally. A
    context manager that closes itself.

    Args:
        max_total: the most connections open in all pools together. The default is aiohttp's.
        listener: called with the events of all pools.
        clock: monotonic seconds; for tests.
        **options: those of each pool, see `Options`: `max_open` is the limit for one endpoint.

    Raises:
        ConfigError: an option makes no sense. Nothing was opened.
        TypeError: there is no such option.
    """

    _make = Pool

    def connection(self, target: Any, timeout: Duration | None = None) -> Lease[Any]:
        """Lend a connection to this endpoint to a with block; `Pool.connection` of its pool.

        Raises:
            ConfigError: see `pool`.
            PoolTimeout, PoolFull, PoolClosed, ConnectError, SelfDeadlock: see `Pool.connection`.
        """
        lease = self.pool(target).connection(timeout)
        _sign(lease)
        return lease

    def close(self, timeout: Duration = 5.0) -> None:
        """Close all pools: idle connections at once, leases when they come back; waiters get `PoolClosed`.

        Waits for the leases; what has not come back after `timeout` is cut off. Harmless when done before.
        """
        end = self._clock() + seconds(timeout, option="timeout")
        for pool in self._shut():
            pool.close(timeout=max(end - self._clock(), 0.0))

    def __enter__(self) -> Self:
        """Use the group as its own context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class AsyncPoolGroup(GroupBase[AsyncPool[Any]]):
    """Pools for many endpoints, for asyncio; in all else like `PoolGroup`."""

    _make = AsyncPool

    def connection(self, target: Any, timeout: Duration | None = None) -> AsyncLease[Any]:
        """Lend a connection to this endpoint to an async with block; `AsyncPool.connection` of its pool.

        Raises:
            ConfigError: see `pool`.
            PoolTimeout, PoolFull, PoolClosed, ConnectError, SelfDeadlock: see `AsyncPool.connection`.
        """
        lease = self.pool(target).connection(timeout)
        _sign(lease)
        return lease

    async def close(self, timeout: Duration = 5.0) -> None:
        """Close all pools: idle connections at once, leases when they come back; waiters get `PoolClosed`.

        Waits for the leases; what has not come back after `timeout` is cut off. Harmless when done before.
        """
        limit = seconds(timeout, option="timeout")
        await asyncio.gather(*(pool.close(timeout=limit) for pool in self._shut()))

    async def __aenter__(self) -> Self:
        """Use the group as its own context manager."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()
