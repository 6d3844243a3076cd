"""`DB` and `AsyncDB`, the handles of a database, and what opens them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sys import _getframe
from time import monotonic
from types import TracebackType
from typing import Any, Self, Unpack

from cenote._asyncio import AsyncLease, AsyncPool
from cenote._deadline import current_deadline
from cenote._pool import Hold
from cenote._threads import Lease, Pool, run
from cenote.connector import AsyncConnector, Connector
from cenote.durations import Duration
from cenote.errors import NoRows
from cenote.events import Listener
from cenote.options import Options, OptionsDict

from . import _held
from ._handle import DBBase, take_handle_options
from ._limits import TaskLimit, ThreadLimit
from ._session import FOREVER, Handle, site_of
from .dialect import Isolation
from .queries import AsyncQueries, Queries
from .row import Row, row_class
from .tx import AsyncConn, AsyncTx, Conn, Tx


def _lease_of(hold: Hold) -> Lease[Any]:
    lease: Lease[Any] = Lease()
    lease._hold = hold
    return lease


class DB(Queries, DBBase):
    """The handle of a database: what `cenote.open` returns. It owns a `Pool`; any threads may share it."""

    pool: Pool[Any]

    def query_row(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Row:
        """Return the first row of a statement's result. See `Queries.query_row`."""
        handle = self._handle
        call = handle.call(sql, params, interpolate=interpolate)
        fetch_row = handle.dialect.fetch_row
        if timeout is not None or fetch_row is None or current_deadline() != FOREVER:
            return self._query_row(site_of(_getframe(1)), timeout, call)
        # The plain case at once, without a job or a lease: most are one, and a job costs as much as the pool.
        slot = self.pool._take()
        frame = _getframe(1)
        slot.owner, slot.code, slot.instruction = id(frame), frame.f_code, frame.f_lasti
        hold, slot.hold = slot.hold, None
        try:
            names, values = fetch_row(slot.connection, call)
        except BaseException as error:
            _lease_of(hold).__exit__(type(error), error, None)
            raise
        if hold.is_clean():
            hold.put()
        else:
            _lease_of(hold).release()
        del hold  # a traceback would keep it, and hide that the next user lost the connection
        if values is None:
            raise NoRows("the statement returned no row")
        return row_class(names)(values)

    def begin(
        self,
        isolation: Isolation | None = None,
        *,
        read_only: bool = False,
        timeout: Duration | None = None,
    ) -> Tx:
        """Begin a transaction, on a connection of its own until it ends.

        Args:
            isolation: ``"read committed"``, ``"serializable"``...; None is the server's default.
            read_only: have the server refuse to change anything.
            timeout: one deadline for the whole transaction; at that time it is rolled back, whoever sleeps.

        Raises:
            ConfigError: the database has no such isolation level.
            PoolTimeout, PoolFull, PoolClosed, ConnectError, SelfDeadlock: see `Pool.connection`.
        """
        return Tx._begin(
            self._handle, None, site_of(_getframe(1)), isolation, read_only=read_only, timeout=timeout
        )

    def conn(self, timeout: Duration | None = None) -> Conn:
        """Acquire one connection for several statements. See `Pool.connection` for what it raises."""
        conn = Conn(self._handle)
        run(_held.open_conn(conn, site_of(_getframe(1)), timeout))
        return conn

    def driver_connection(self, timeout: Duration | None = None) -> Lease[Any]:
        """Lend the driver's own connection to a with block. See `Pool.connection`."""
        lease = self.pool.connection(timeout)
        lease._mark(*site_of(_getframe(1)))
        return lease

    def ping(self, timeout: Duration | None = None) -> None:
        """Verify that the server can be reached and answers. See `Pool.ping`."""
        self.pool.ping(timeout)

    def close(self, timeout: Duration = 5.0) -> None:
        """Close the handle and its pool. See `Pool.close`."""
        self.pool.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open(
    target: str | Options | Connector[Any] | Callable[[], Any],
    *,
    interpolate: bool | None = None,
    prepare: bool | None = None,
    listener: Listener | None = None,
    clock: Callable[[], float] = monotonic,
    **options: Unpack[OptionsDict],
) -> DB:
    """Open a database for threads. Makes no connection: `DB.ping` verifies that there is one to be had.

    Args:
        target: a URL, `Options` with a dsn, or a connector that has a `dialect`.
        interpolate: have the driver paste parameters into every statement (True: one round trip, nothing
            kept on the server) or have the server bind them (False); None leaves each driver its own way.
        prepare: False never prepares on the server: for a PgBouncer before 1.21 in transaction mode.
        listener: called with each `Event` of the pool; see `Pool`.
        clock: monotonic seconds; for tests.
        **options: see `Options`.

    Raises:
        ConfigError: the target or an option makes no sense, or the driver cannot do what is asked.
        TypeError: there is no such option.
    """
    target, asked = take_handle_options(target, {"interpolate": interpolate, "prepare": prepare})
    pool: Pool[Any] = Pool(target, listener=listener, clock=clock, **options)
    handle = Handle(pool, ThreadLimit, Lease.__exit__, **asked)
    db = DB()
    db._handle, db.pool = handle, pool
    return db


class AsyncDB(AsyncQueries, DBBase):
    """The handle of a database for asyncio: what `cenote.open_async` returns. It owns an `AsyncPool`."""

    pool: AsyncPool[Any]

    def begin(
        self,
        isolation: Isolation | None = None,
        *,
        read_only: bool = False,
        timeout: Duration | None = None,
    ) -> AsyncTx:
        """Prepare a transaction: ``async with db.begin() as tx``, or await it. See `DB.begin`."""
        return AsyncTx(
            self._handle, None, site_of(_getframe(1)), isolation, read_only=read_only, timeout=timeout
        )

    def conn(self, timeout: Duration | None = None) -> AsyncConn:
        """Prepare one connection for several statements: ``async with db.conn() as conn``."""
        return AsyncConn(self._handle, site_of(_getframe(1)), timeout)

    def driver_connection(self, timeout: Duration | None = None) -> AsyncLease[Any]:
        """Lend the driver's own connection to an async with block. See `AsyncPool.connection`."""
        lease = self.pool.connection(timeout)
        lease._mark(*site_of(_getframe(1)))
        return lease

    async def ping(self, timeout: Duration | None = None) -> None:
        """Verify that the server can be reached and answers. See `AsyncPool.ping`."""
        await self.pool.ping(timeout)

    async def close(self, timeout: Duration = 5.0) -> None:
        """Close the handle and its pool. See `AsyncPool.close`."""
        await self.pool.close(timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def open_async(
    target: str | Options | AsyncConnector[Any] | Callable[[], Awaitable[Any]],
    *,
    interpolate: bool | None = None,
    prepare: bool | None = None,
    listener: Listener | None = None,
    clock: Callable[[], float] = monotonic,
    **options: Unpack[OptionsDict],
) -> AsyncDB:
    """Open a database for asyncio. A plain call that makes no connection. See `open`."""
    target, asked = take_handle_options(target, {"interpolate": interpolate, "prepare": prepare})
    pool: AsyncPool[Any] = AsyncPool(target, listener=listener, clock=clock, **options)
    handle = Handle(pool, TaskLimit, AsyncLease.__aexit__, **asked)
    db = AsyncDB()
    db._handle, db.pool = handle, pool
    return db
