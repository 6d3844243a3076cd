"""SQLite through aiosqlite, for asyncio: the same databases and the same settings as `cenote.drivers.sqlite`.

aiosqlite gives each connection a thread. Two things of that thread concern a pool: it must be gone when the
connection is closed, and it may still be at work on a statement whose task was cancelled.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import aiosqlite

from cenote.drivers._common import async_transaction
from cenote.drivers.sqlite import Database

if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

if not hasattr(aiosqlite.Connection, "stop"):
    raise ImportError(f"aiosqlite {aiosqlite.__version__} is too old, 0.22.1 is needed")

_AGAIN = 0.005  # seconds, from one attempt to interrupt a statement to the next
_ROWS_PER_VISIT = 64  # aiosqlite's own default for fetching rows from its thread


class Connection(aiosqlite.Connection):
    """An `aiosqlite.Connection` that knows whether its thread is still busy with what nobody waits for."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, _ROWS_PER_VISIT)
        # A connection that was never closed must not keep the interpreter from exiting.
        self._thread.daemon = True
        # Each is written by one thread only: the loop's and the connection's own.
        self._asked = 0
        self._answered = 0

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Have the thread do something, in place of aiosqlite's own way.

        It counts what was asked and what is done, and a loop closed meanwhile does not kill the thread.
        """
        if not self._running or self._connection is None:
            raise ValueError("Connection closed")  # aiosqlite's own words
        self._asked += 1
        return await self._have_done(partial(fn, *args, **kwargs), counted=True)

    async def _connect(self) -> Connection:
        """Open; a loop that is closed after it failed, or meanwhile, does not kill the thread either."""
        if self._connection is None:
            try:
                self._connection = await self._have_done(self._connector, counted=False)
            except BaseException:
                _stop(self)
                raise
        return self

    async def _have_done(self, fn: Callable[[], Any], *, counted: bool) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def work() -> None:
            result, error = None, None
            try:
                result = fn()
            except BaseException as raised:  # noqa: BLE001 - it is the asking task's
                error = raised
            self._answered += counted
            with suppress(RuntimeError):  # the loop is closed, and with it whoever asked
                loop.call_soon_threadsafe(_settle, future, result, error)

        self._tx.put_nowait((None, work))
        return await future


async def _end(connection: Connection) -> None:
    """Roll back and close: a cursor that somebody keeps would keep the file open, and locked."""
    with suppress(sqlite3.Error, ValueError):  # closed meanwhile
        await connection.rollback()
    await connection.close()


def _stop(connection: Connection) -> None:
    """Tell the thread to end. `stop` takes a future from this thread's loop, which may be closed by then."""
    loopless = threading.Thread(target=connection.stop)
    loopless.start()
    loopless.join()


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class AioSQLiteConnector(Database):
    """Opens `aiosqlite.Connection` for an `AsyncPool`, in autocommit. See `Database` for its arguments."""

    def dialect(self) -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.sqlite import AioSQLiteDialect  # noqa: PLC0415 - the pool needs none

        return AioSQLiteDialect(self.transaction_begin)

    async def connect(self, timeout: float) -> Connection:
        """Open one connection, in a thread of its own."""
        opened: list[sqlite3.Connection] = []
        left = False

        def open_or_drop() -> sqlite3.Connection:
            connection = self.open(timeout)
            opened.append(connection)
            if left:
                connection.close()
            return connection

        try:
            async with asyncio.timeout(timeout):
                connection = Connection(open_or_drop)
                await connection
                return connection
        except BaseException:
            # The thread opens on; in whichever order, one of the two sees what the other has done.
            left = True
            for late in opened:
                late.close()
            raise

    @staticmethod
    async def close(connection: Connection) -> None:
        """Close it, and wait for its thread to end; a statement nobody waits for is interrupted."""
        if connection._running:
            busy = AioSQLiteConnector.is_broken(connection)
            closing = asyncio.ensure_future(_end(connection))
            while busy and not closing.done():  # again and again: what is about to begin does not notice
                AioSQLiteConnector._interrupt(connection)
                await asyncio.wait({closing}, timeout=_AGAIN)
            await closing
            connection._thread.join()  # its last act was to report the end

    @staticmethod
    def is_alive(connection: Connection) -> bool:
        """Say whether it is open."""
        return connection._running

    @staticmethod
    def is_broken(connection: Connection) -> bool:
        """Say whether it is closed, or its thread still works on something a cancelled task asked for."""
        return connection._asked != connection._answered or not connection._running

    @staticmethod
    def in_transaction(connection: Connection) -> bool:
        """Say whether a transaction is open."""
        return connection.in_transaction

    @staticmethod
    async def ping(connection: Connection) -> None:
        """Run the least statement."""
        await (await connection.execute("SELECT 1")).close()

    @staticmethod
    async def rollback(connection: Connection) -> None:
        """Roll back what was left open."""
        await connection.rollback()

    def transaction(self, connection: Connection) -> AbstractAsyncContextManager[None]:
        """Return a block that commits or rolls back."""
        begin = partial(connection.execute, self.transaction_begin())
        return async_transaction(begin, connection.commit, connection.rollback)

    @staticmethod
    def terminate(connection: Connection) -> None:
        """Interrupt the statement under way and tell the thread to end, from any thread, loop or no loop."""
        if not connection._running:
            return
        AioSQLiteConnector._interrupt(connection)
        _stop(connection)

    @staticmethod
    def _interrupt(connection: Connection) -> None:
        with suppress(ValueError, sqlite3.ProgrammingError):  # closed meanwhile
            connection._conn.interrupt()
