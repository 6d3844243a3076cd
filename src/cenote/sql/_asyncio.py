"""The handle for asyncio: `cenote.open_async`. It drives the jobs of this package by awaiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from functools import partial
from sys import _getframe
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from cenote._asyncio import AsyncLease, AsyncPool, run
from cenote.connector import AsyncConnector
from cenote.durations import Duration
from cenote.errors import Error, NoRows, StmtClosed
from cenote.options import Options, OptionsDict

from . import _held, _reader
from ._handle import DBBase, take_handle_options
from ._limits import Later, TaskLimit
from ._reader import Reader, check_unread
from ._session import Handle, Owner, Site, site_of, talk
from .dialect import Call, Column, Isolation, Result
from .row import Row, converter, row_class

T = TypeVar("T")


class AsyncRows:
    """The rows of a query, to be read once: await it, iterate, or enter it, and it sends the query.

    ``async for row in db.query(...)`` is the short form; ``rows = await db.query(...)`` sends it now.
    Otherwise as `Rows`.
    """

    __slots__ = ("_iterator", "_reader", "_start")

    def __init__(self, start: Callable[[], Awaitable[Reader]]) -> None:
        self._start = start
        self._reader: Reader | None = None
        self._iterator: AsyncIterator[Row] | None = None

    async def _begin(self) -> Self:
        if self._reader is None:
            self._reader = await self._start()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """Send the query."""
        return self._begin().__await__()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _sent(self) -> Reader:
        if self._reader is None:
            raise Error("this query was not sent yet: await it first")
        return self._reader

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the result; none if the statement returns no rows.

        Raises:
            Error: the query was not sent yet.
        """
        return self._sent.columns

    def __aiter__(self) -> AsyncIterator[Row]:
        """Read the rows one by one; a second loop goes on where the first one stopped.

        Raises:
            RowsClosed: they were read to the end, or closed.
            PoolTimeout: the deadline passed while more were fetched.
            Error: another task is reading.
        """
        if self._reader is not None:
            check_unread(self._reader, begun=self._iterator is not None)
        if self._iterator is None:
            # What iterates must not hold `self`, nor the reader before there is one.
            self._iterator = _started(self) if self._reader is None else _iterate(self._reader)
        return self._iterator

    async def all(self) -> list[Row]:
        """Read all rows into a list.

        Raises:
            RowsClosed: they were read to the end, or closed.
        """
        return [row async for row in self]

    async def as_type(self, cls: type[T]) -> AsyncIterator[T]:
        """Read each row as a `cls`. See `Rows.as_type`."""
        await self._begin()
        convert = converter(cls, self._sent.row._columns)
        async for row in self:
            yield convert(row)

    async def next_result(self) -> bool:
        """Go on to the next result of the same statement; false if there is none."""
        self._iterator = None
        return await run(_reader.next_result(self._sent))

    async def close(self) -> None:
        """Give up what was not read. Harmless when done before, or when all was read, or nothing sent."""
        if self._reader is not None:
            await run(_reader.close(self._reader))


async def _started(rows: AsyncRows) -> AsyncIterator[Row]:
    await rows._begin()
    reader = rows._sent
    del rows
    async for row in _iterate(reader):
        yield row


async def _iterate(reader: Reader) -> AsyncIterator[Row]:
    while True:
        for row in map(reader.row, reader.rows):
            yield row
        if not await run(_reader.read_on(reader)):
            reader.rows.clear()
            return


class AsyncQueries(Owner):
    """The statements that a handle, a connection and a transaction all take. See `Queries`."""

    def query(
        self,
        sql: str,
        *params: Any,
        timeout: Duration | None = None,
        interpolate: bool | None = None,
        stream: bool | None = None,
    ) -> AsyncRows:
        """Prepare a statement that returns rows; awaiting or iterating sends it. See `Queries.query`."""
        call = self._handle.call(sql, params, interpolate=interpolate, stream=stream)
        return AsyncRows(partial(_send, self, site_of(_getframe(1)), timeout, call))

    async def query_row(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Row:
        """Return the first row of a statement's result. See `Queries.query_row`.

        Raises:
            NoRows: there is none.
        """
        call = self._handle.call(sql, params, interpolate=interpolate)
        return await self._query_row(_caller(), timeout, call)

    async def _query_row(self, site: Site, timeout: Duration | None, call: Call) -> Row:
        dialect = self._handle.dialect
        names, values = await run(talk(self, site, timeout, dialect.query_row, call))
        if values is None:
            raise NoRows("the statement returned no row")
        return row_class(names)(values)

    async def exec(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Result:
        """Execute a statement and return what it did. See `Queries.exec`."""
        return await self._exec(_caller(), timeout, self._handle.call(sql, params, interpolate=interpolate))

    async def _exec(self, site: Site, timeout: Duration | None, call: Call) -> Result:
        dialect = self._handle.dialect
        return await run(talk(self, site, timeout, dialect.execute, call))

    async def exec_many(self, sql: str, params: Iterable[Any], *, timeout: Duration | None = None) -> Result:
        """Execute a statement for each set of parameters. See `Queries.exec_many`."""
        call = self._handle.call(sql, ())
        dialect = self._handle.dialect
        return await run(
            talk(
                self,
                _caller(),
                timeout,
                lambda connection, call: dialect.execute_many(connection, call, params),
                call,
            )
        )

    def prepare(self, sql: str) -> AsyncStmt:
        """Name a statement that will be used again; see `Stmt`. Sends nothing, so it is not awaited."""
        return AsyncStmt(self, sql)


async def _send(owner: AsyncQueries, site: Site, timeout: Duration | None, call: Call) -> Reader:
    return await run(_reader.start(owner, site, timeout, call))


def _caller() -> Site:
    """Note who awaits the coroutine that asks; at its first step that is the frame below it."""
    frame = _getframe(1)
    return site_of(frame.f_back or frame)


class AsyncStmt:
    """A statement that the server keeps, on whichever connection it is used. See `Stmt`."""

    def __init__(self, owner: AsyncQueries, sql: str) -> None:
        self._owner = owner
        self._sql = sql
        self._closed = False

    @property
    def sql(self) -> str:
        """The statement."""
        return self._sql

    def _call(self, params: tuple[Any, ...], *, stream: bool | None = None) -> Call:
        if self._closed:
            raise StmtClosed("this statement is closed; prepare it again")
        handle = self._owner._handle
        return handle.call(
            self._sql, params, prepare=True if handle.dialect.prepares else None, stream=stream
        )

    def query(self, *params: Any, timeout: Duration | None = None, stream: bool | None = None) -> AsyncRows:
        """Prepare to send it; awaiting or iterating sends it.

        Raises:
            StmtClosed: it was closed.
        """
        call = self._call(params, stream=stream)
        return AsyncRows(partial(_send, self._owner, site_of(_getframe(1)), timeout, call))

    async def query_row(self, *params: Any, timeout: Duration | None = None) -> Row:
        """Send it and return the first row.

        Raises:
            NoRows: there is none.
            StmtClosed: it was closed.
        """
        return await self._owner._query_row(_caller(), timeout, self._call(params))

    async def exec(self, *params: Any, timeout: Duration | None = None) -> Result:
        """Execute it and return what it did.

        Raises:
            StmtClosed: it was closed.
        """
        return await self._owner._exec(_caller(), timeout, self._call(params))

    async def close(self) -> None:
        """Refuse further use. Harmless when done before."""
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncConn(AsyncQueries, _held.ConnBase):
    """One connection for several statements; awaiting or entering it acquires. See `Conn`."""

    def __init__(self, handle: Handle, site: Site, timeout: Duration | None) -> None:
        self._handle = handle
        self._site = site
        self._timeout = timeout

    async def _begin(self) -> Self:
        if self._session is None and not self._closed:
            await run(_held.open_conn(self, self._site, self._timeout))
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """Acquire the connection."""
        return self._begin().__await__()

    def begin(
        self,
        isolation: Isolation | None = None,
        *,
        read_only: bool = False,
        timeout: Duration | None = None,
    ) -> AsyncTx:
        """Prepare to begin a transaction on this connection. See `AsyncDB.begin`."""
        return AsyncTx(
            self._handle, self, site_of(_getframe(1)), isolation, read_only=read_only, timeout=timeout
        )

    async def close(self) -> None:
        """Give the connection back. Harmless when done before."""
        self._closed = True
        await run(_held.close_conn(self, None))

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        await run(_held.close_conn(self, error))


class AsyncTx(AsyncQueries, _held.TxBase):
    """A transaction; awaiting or entering it begins. See `Tx`."""

    def __init__(
        self,
        handle: Handle,
        parent: AsyncConn | None,
        site: Site,
        isolation: Isolation | None,
        *,
        read_only: bool,
        timeout: Duration | None,
    ) -> None:
        self._handle, self._parent, self._site = handle, parent, site
        self._isolation, self._read_only, self._timeout = isolation, read_only, timeout

    async def _begin(self) -> Self:
        if not self._begun:
            await run(_held.begin(self, _later))
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """Begin."""
        return self._begin().__await__()

    async def commit(self) -> None:
        """Commit. See `Tx.commit`."""
        await run(_held.commit(self))

    async def rollback(self) -> None:
        """Roll back. See `Tx.rollback`."""
        await run(_held.roll_back(self))

    def stmt(self, stmt: AsyncStmt) -> AsyncStmt:
        """Return the same statement for use in this transaction."""
        stmt._call(())
        return AsyncStmt(self, stmt.sql)

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await run(_held.leave(self, error))


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
        frame = _getframe(1)
        lease._mark(id(frame), frame.f_code, frame.f_lasti)
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
    **options: Unpack[OptionsDict],
) -> AsyncDB:
    """Open a database for asyncio. A plain call that makes no connection. See `open`."""
    target, asked = take_handle_options(target, {"interpolate": interpolate, "prepare": prepare})
    pool: AsyncPool[Any] = AsyncPool(target, **options)
    handle = Handle(pool, TaskLimit, AsyncLease.__aexit__, **asked)
    db = AsyncDB()
    db._handle, db.pool = handle, pool
    return db


def _later(seconds: float, job: Callable[[], Any]) -> Later:
    return asyncio.get_running_loop().call_later(seconds, _begin_job, job)


_jobs: set[asyncio.Task[None]] = set()


def _begin_job(job: Callable[[], Any]) -> None:
    task = asyncio.get_running_loop().create_task(run(job()), name="cenote-expiry")
    _jobs.add(task)  # the loop itself keeps no task alive
    task.add_done_callback(_jobs.discard)
