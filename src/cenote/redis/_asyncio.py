"""`AsyncConnectionPool`: the ``connection_pool`` of a `redis.asyncio.Redis`, on a `cenote.AsyncPool`."""

from __future__ import annotations

import asyncio
from sys import _getframe
from typing import Any, Self

import redis.asyncio
from redis.event import AsyncAfterConnectionReleasedEvent

from .._asyncio import AsyncLease, AsyncPool
from ..durations import Duration
from ..errors import Error
from ..events import Listener
from ._base import LendingPool
from ._commands import REAUTH, RECONNECT, REDIALED
from ._given import read_both
from ._lending import close_idle, cut_off, lend, sign, weakly
from ._queue import waited
from ._watch import watched
from .errors import translated


class AsyncConnectionPool(LendingPool[AsyncPool[Any]], redis.asyncio.ConnectionPool):  # type: ignore[misc]  # as in `ConnectionPool`
    """A pool for `redis.asyncio.Redis`: bounded, first come first served, self-healing, safe to be cancelled.

    It may be made before any loop runs, and used under several. See `ConnectionPool` for the arguments.

    Raises:
        ConfigError: an option makes no sense. Nothing was opened.
        TypeError: there is no such option.
    """

    def __init__(
        self,
        connection_class: type[Any] = redis.asyncio.Connection,
        max_connections: int | None = None,
        *,
        listener: Listener | None = None,
        **kwargs: Any,
    ) -> None:
        """Understand the options; open nothing."""
        theirs = self._understand(kwargs, connection_class, max_connections, listener)
        super().__init__(connection_class, None, **theirs)
        self._is_ready = True

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Make one from a URL, see `ConnectionPool.from_url`."""
        return cls(**read_both(url, kwargs, asynchronous=True))

    # ── what redis-py's client calls ────────────────────────────────────────────────────────────

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:  # noqa: ARG002 - redis-py's
        """Lend an open connection until `release`: the oldest caller first, `timeout` at most.

        Cancelling while it waits costs nothing and nobody.

        Raises:
            PoolTimeout, PoolFull, PoolClosed, ConnectError, SelfDeadlock: those of `cenote.redis.errors`,
                which are redis-py's `ConnectionError`, too.
        """
        inner = self._inner or self._opened()
        slot = inner._take() if inner._core.calm else None
        if slot is None:
            slot = await waited(inner)
        sign(slot, _getframe(1), inner._actor())
        connection = lend(slot)
        slot.watch = connection._pool_watch
        if connection._pool_state:
            await self._renew(connection)
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back: to the oldest waiter, or to the idle ones. See `ConnectionPool.release`.

        If cancelled while it has to talk to the server, the connection is closed.

        Raises:
            KeyError: nobody has this connection from this pool.
        """
        hold = getattr(connection, "_pool_hold", None)
        if hold is None:
            raise KeyError(connection)
        if self._tells or connection._pool_state or connection._pool_unread():
            await self._put_in_order(connection)
            return
        self._give_back(connection, hold)

    def make_connection(self) -> Any:
        """Make a connection that is not open yet; the pool calls it for each dial."""
        return watched(self.connection_class)(**self.connection_kwargs)

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - as in redis-py
        """Close the idle connections and, unless told otherwise, those in use; the pool goes on.

        Whoever waits for a reply on one that is closed gets redis-py's `ConnectionError`.
        """
        inner = self._inner
        if inner is None:
            return
        close_idle(inner)
        if inuse_connections:
            loop = asyncio.get_running_loop()
            for connection in self._get_in_use_connections():
                if connection._pool_loop is loop:
                    await connection.disconnect(nowait=True)
            cut_off(inner)  # those of other loops

    async def aclose(self) -> None:
        """Disconnect everything. As with redis-py's own pools, a later use opens it again."""
        on_close = getattr(self, "_on_close", None)  # of maintenance notifications, in newer versions
        if on_close is not None:
            await on_close()
        inner = self._let_go()
        if inner is not None:
            in_use = inner.stats().in_use
            await inner.close(timeout=0 if in_use else 5.0)

    def reset(self) -> None:
        """Begin anew with no connections: those there are, are cut off. A forked child does so by itself."""
        inner = self._let_go()
        if inner is not None:
            close_idle(inner)
            cut_off(inner)

    async def re_auth_callback(self, token: Any) -> None:
        """Have every connection send new credentials: on release, or before its next use."""
        for connection in self._get_all_connections():
            connection.set_re_auth_token(token)

    # ── what cenote's pools have ────────────────────────────────────────────────────────────────

    async def ping(self, timeout: Duration | None = None) -> None:
        """Verify by one round trip that the server can be reached and answers.

        Raises:
            PoolTimeout, PoolFull, PoolClosed, ConnectError: see `get_connection`.
        """
        try:
            await self._opened().ping(timeout)
        except Error as error:
            raise translated(error) from error.__cause__

    async def __aenter__(self) -> Self:
        """Use the pool as its own context manager."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    # ── what redis-py's own pool does otherwise ─────────────────────────────────────────────────

    def can_get_connection(self) -> bool:
        """Say whether a connection is idle or may be opened."""
        stats, limit = self.stats(), self._opened().options.limit
        return bool(stats.idle or stats.open_connections + stats.closing < limit)

    def get_available_connection(self) -> Any:
        """Not to be had: taking a connection may mean waiting for it, see `get_connection`."""
        raise NotImplementedError("use get_connection(), which waits for a connection")

    async def ensure_connection(self, connection: Any) -> None:
        """Do nothing: what `get_connection` gives is open and has been looked at."""

    async def update_active_connections_for_reconnect(self) -> None:
        """Have every connection in use closed on its release."""
        for connection in self._get_in_use_connections():
            connection.mark_for_reconnect()

    # ── parts ───────────────────────────────────────────────────────────────────────────────────

    def _make_inner(self) -> AsyncPool[Any]:
        from ..drivers.redis import AsyncRedisConnector  # noqa: PLC0415 - of a driver, which only its users import

        connector = AsyncRedisConnector.lending(weakly(self.make_connection))
        return AsyncPool(connector, listener=self._listener, **self._options)

    async def _renew(self, connection: Any) -> None:
        """Send the credentials that came while it was idle."""
        try:
            if connection._pool_state & REAUTH:
                await connection.re_auth()
        except BaseException:
            await asyncio.shield(self.release(connection))
            raise

    async def _put_in_order(self, connection: Any) -> None:
        """Take back a connection that has to be looked at closely, and maybe talked to."""
        state = connection._pool_state
        dispatcher: Any = self._event_dispatcher
        lease: AsyncLease[Any] = AsyncLease()
        try:
            if self._tells:
                await dispatcher.dispatch_async(AsyncAfterConnectionReleasedEvent(connection))  # type: ignore[no-untyped-call]  # redis-py has no types there
            elif state & REAUTH and not state & (REDIALED | RECONNECT):
                await connection.re_auth()
        finally:
            lease._hold = self._take_back(connection, state)
            await lease.release()
