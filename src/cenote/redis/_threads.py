"""`ConnectionPool`: the ``connection_pool`` of a `redis.Redis`, on top of a `cenote.Pool`."""

from __future__ import annotations

import os
from sys import _getframe
from typing import Any, Self

import redis
from redis.event import AfterConnectionReleasedEvent

from .._threads import Lease, Pool
from ..durations import Duration
from ..errors import Error
from ..events import Listener
from ._base import LendingPool
from ._commands import REAUTH, RECONNECT, REDIALED
from ._given import OF_ITS_POOLS, read_both
from ._lending import close_idle, cut_off, lend, sign, weakly
from ._watch import WatchedProxy, watched
from .errors import translated


class ConnectionPool(LendingPool[Pool[Any]], redis.ConnectionPool):  # type: ignore[misc]  # here max_connections may be None
    """A pool for `redis.Redis`: bounded, first come first served, self-healing, and it says who holds what.

    ``redis.Redis(connection_pool=cenote.redis.ConnectionPool.from_url("redis://db", max_open=10))``. Making
    one opens nothing. When all connections are in use a caller waits, as `on_full` says.

    Args:
        connection_class: `redis.Connection`, `redis.SSLConnection`, `redis.UnixDomainSocketConnection`,
            or one that is derived from them.
        max_connections: redis-py's word for `max_open`.
        listener: called with each `cenote.Event`, see `cenote.Pool`.
        **kwargs: the options of `cenote.Options` and the arguments of the connection class; names tell which.

    Raises:
        ConfigError: an option makes no sense. Nothing was opened.
        TypeError: there is no such option.
    """

    _of_the_pool = (*OF_ITS_POOLS, "maint_notifications_config")

    def __init__(
        self,
        connection_class: type[Any] = redis.Connection,
        max_connections: int | None = None,
        cache_factory: Any = None,
        *,
        listener: Listener | None = None,
        **kwargs: Any,
    ) -> None:
        """Understand the options; open nothing."""
        theirs = self._understand(kwargs, connection_class, max_connections, listener)
        super().__init__(connection_class, None, cache_factory, **theirs)
        self._is_ready = True

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Make one from ``redis://``, ``rediss://``, ``unix://`` or ``redis+unix://``.

        Both kinds of options may stand in the query and be given as keywords. Of redis-py's own the URL's
        win, as in redis-py; of ours the keywords, as in `cenote.Pool`.

        Raises:
            ConfigError: the URL cannot be read, or an option makes no sense. No password is shown.
            TypeError: there is no such option.
        """
        return cls(**read_both(url, kwargs, asynchronous=False))

    # ── what redis-py's client calls ────────────────────────────────────────────────────────────

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:  # noqa: ARG002 - redis-py's
        """Lend an open connection until `release`: the oldest caller first, `timeout` at most.

        Raises:
            PoolTimeout, PoolFull, PoolClosed, ConnectError, SelfDeadlock: those of `cenote.redis.errors`,
                which are redis-py's `ConnectionError`, too.
        """
        inner = self._inner or self._opened()
        core, clock = inner._core, inner._clock  # a call of the attribute would look it up as a method first
        slot = core.take(inner._lane, clock()) if core.calm else None
        if slot is None or (slot.watch is not None and slot.watch(0)):
            try:
                slot = inner._acquire(None, slot)
            except Error as error:
                raise translated(error) from error.__cause__
        sign(slot, _getframe(1), inner._actor())
        connection = lend(slot)
        if connection._pool_state:
            self._renew(connection)
        return connection

    def release(self, connection: Any) -> None:
        """Take a connection back: to the oldest waiter, or to the idle ones.

        What its user left open is ended (MULTI, watched keys, with a `RuntimeWarning`) or closed: subscribed,
        a reply not read, another database selected. Of a connection that nobody has here, nothing is done.
        """
        hold = getattr(connection, "_pool_hold", None)
        if hold is None:
            return
        if self._tells or connection._pool_state or connection._pool_unread():
            self._put_in_order(connection)
            return
        self._give_back(connection, hold)

    def make_connection(self) -> Any:
        """Make a connection that is not open yet; the pool calls it for each dial."""
        connection = watched(self.connection_class)(**self.connection_kwargs)
        return connection if self.cache is None else WatchedProxy(connection, self.cache, self._lock)

    def owns_connection(self, connection: Any) -> bool:
        """Say whether it is lent by this pool, in this process."""
        hold = getattr(connection, "_pool_hold", None)
        return hold is not None and hold.pool is self._inner and hold.slot.held

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        """Close the idle connections and, unless told otherwise, cut off those in use; the pool goes on.

        Whoever is at work on one that is cut off gets redis-py's `ConnectionError`.
        """
        inner = self._inner
        if inner is not None:
            close_idle(inner)
            if inuse_connections:
                cut_off(inner)

    def close(self) -> None:
        """Disconnect everything. As with redis-py's own pools, a later use opens it again."""
        inner = self._let_go()
        if inner is not None:
            in_use = inner.stats().in_use
            inner.close(timeout=0 if in_use else 5.0)

    def reset(self) -> None:
        """Begin anew with no connections. A forked child does so by itself."""
        self.pid: int = os.getpid()
        self.close()

    def re_auth_callback(self, token: Any) -> None:
        """Have every connection send new credentials: on release, or before its next use."""
        for connection in self._get_all_connections():
            connection.set_re_auth_token(token)

    # ── what cenote's pools have ────────────────────────────────────────────────────────────────

    def ping(self, timeout: Duration | None = None) -> None:
        """Verify by one round trip that the server can be reached and answers.

        Raises:
            PoolTimeout, PoolFull, PoolClosed, ConnectError: see `get_connection`.
        """
        try:
            self._opened().ping(timeout)
        except Error as error:
            raise translated(error) from error.__cause__

    def __enter__(self) -> Self:
        """Use the pool as its own context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # ── what redis-py's own pool does otherwise ─────────────────────────────────────────────────

    def _checkpid(self) -> None:
        """Do nothing: a forked child is looked after by `cenote._fork`."""

    # ── parts ───────────────────────────────────────────────────────────────────────────────────

    def _make_inner(self) -> Pool[Any]:
        from ..drivers.redis import RedisConnector  # noqa: PLC0415 - of a driver, which only its users import

        connector = RedisConnector.lending(weakly(self.make_connection))
        return Pool(connector, listener=self._listener, **self._options)

    def _renew(self, connection: Any) -> None:
        """Send the credentials that came while it was idle."""
        try:
            if connection._pool_state & REAUTH:
                connection.re_auth()
        except BaseException:
            self.release(connection)
            raise

    def _put_in_order(self, connection: Any) -> None:
        """Take back a connection that has to be looked at closely, and maybe talked to."""
        state = connection._pool_state
        dispatcher: Any = self._event_dispatcher
        lease: Lease[Any] = Lease()
        try:
            if self._tells:
                dispatcher.dispatch(AfterConnectionReleasedEvent(connection))  # type: ignore[no-untyped-call]  # redis-py has no types there
            elif state & REAUTH and not state & (REDIALED | RECONNECT):
                connection.re_auth()
        finally:
            lease._hold = self._take_back(connection, state)
            lease.release()
