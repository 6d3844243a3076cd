"""`Conn` and `Tx`, and their twins for asyncio: several statements on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from sys import _getframe
from types import TracebackType
from typing import Any, Self

from cenote import _asyncio, _threads
from cenote.durations import Duration

from . import _held
from ._limits import Later, ThreadLater
from ._session import Handle, Site, site_of
from .dialect import Isolation
from .queries import AsyncQueries, Queries
from .stmt import AsyncStmt, Stmt


class Conn(Queries, _held.ConnBase):
    """One connection for several statements, until `close` or the end of its with block."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def begin(
        self,
        isolation: Isolation | None = None,
        *,
        read_only: bool = False,
        timeout: Duration | None = None,
    ) -> Tx:
        """Begin a transaction on this connection. See `DB.begin`."""
        return Tx._begin(
            self._handle, self, site_of(_getframe(1)), isolation, read_only=read_only, timeout=timeout
        )

    def close(self) -> None:
        """Give the connection back. Harmless when done before."""
        _threads.run(_held.close_conn(self, None))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _threads.run(_held.close_conn(self, error))


class Tx(Queries, _held.TxBase):
    """A transaction: its with block commits on success and rolls back on an error.

    Statements through it follow each other on one connection. Once it is over, everything raises `TxDone`.
    """

    @classmethod
    def _begin(
        cls,
        handle: Handle,
        parent: Conn | None,
        site: Site,
        isolation: Isolation | None,
        *,
        read_only: bool,
        timeout: Duration | None,
    ) -> Tx:
        tx = cls()
        tx._handle, tx._parent, tx._site = handle, parent, site
        tx._isolation, tx._read_only, tx._timeout = isolation, read_only, timeout
        _threads.run(_held.begin(tx, _later))
        return tx

    def commit(self) -> None:
        """Commit.

        Raises:
            TxDone: it is over already, or the server rolled back since a statement had failed.
            PoolTimeout: the deadline passed while the server was committing; nobody knows whether it did.
        """
        _threads.run(_held.commit(self))

    def rollback(self) -> None:
        """Roll back.

        Raises:
            TxDone: it is over already.
        """
        _threads.run(_held.roll_back(self))

    def stmt(self, stmt: Stmt) -> Stmt:
        """Return the same statement for use in this transaction."""
        stmt._call(())
        return Stmt(self, stmt.sql)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _threads.run(_held.leave(self, error))


def _later(seconds: float, job: Callable[[], Any]) -> Later:
    return ThreadLater(seconds, partial(_run_job, job))


def _run_job(job: Callable[[], Any]) -> None:
    _threads.run(job())


class AsyncConn(AsyncQueries, _held.ConnBase):
    """One connection for several statements; awaiting or entering it acquires. See `Conn`."""

    def __init__(self, handle: Handle, site: Site, timeout: Duration | None) -> None:
        self._handle = handle
        self._site = site
        self._timeout = timeout

    async def _begin(self) -> Self:
        if self._session is None and not self._closed:
            await _asyncio.run(_held.open_conn(self, self._site, self._timeout))
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
        await _asyncio.run(_held.close_conn(self, None))

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        await _asyncio.run(_held.close_conn(self, error))


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
            await _asyncio.run(_held.begin(self, _later_in_loop))
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """Begin."""
        return self._begin().__await__()

    async def commit(self) -> None:
        """Commit. See `Tx.commit`."""
        await _asyncio.run(_held.commit(self))

    async def rollback(self) -> None:
        """Roll back. See `Tx.rollback`."""
        await _asyncio.run(_held.roll_back(self))

    def stmt(self, stmt: AsyncStmt) -> AsyncStmt:
        """Return the same statement for use in this transaction."""
        stmt._call(())
        return AsyncStmt(self, stmt.sql)

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _asyncio.run(_held.leave(self, error))


def _later_in_loop(seconds: float, job: Callable[[], Any]) -> Later:
    return asyncio.get_running_loop().call_later(seconds, _begin_job, job)


_jobs: set[asyncio.Task[None]] = set()


def _begin_job(job: Callable[[], Any]) -> None:
    task = asyncio.get_running_loop().create_task(_asyncio.run(job()), name="cenote-expiry")
    _jobs.add(task)  # the loop itself keeps no task alive
    task.add_done_callback(_jobs.discard)
