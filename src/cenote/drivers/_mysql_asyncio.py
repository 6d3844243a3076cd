"""What the MySQL drivers for asyncio share: each owns a transport, from which its loop reads at any time.

They close a connection whose statement is cancelled, and the server does not notice before the statement is
done. So the statement is ended there when the pool lets go of the connection.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from cenote import _sockets
from cenote.drivers._common import async_transaction, bury, running_loop
from cenote.drivers._mysql import (
    AUTOCOMMIT,
    IDLE_TIMEOUT,
    IN_TRANSACTION,
    KILL_SECONDS,
    RESET_CONNECTION,
    UPTIME,
    MySQL,
    Session,
    kill_statement,
    outlived,
    still_there,
)

_BOTH = IN_TRANSACTION | AUTOCOMMIT


class AsyncMySQL(MySQL):
    """Everything but where the driver keeps its transport, and what that has received."""

    async def connect(self, timeout: float) -> Any:
        """Open one connection."""
        async with asyncio.timeout(timeout):
            connection = await self._open(timeout)
        self._remember(connection, connection.thread_id())
        return connection

    async def close(self, connection: Any) -> None:
        """Say goodbye and close the socket; a statement that outlived its use is ended on the server."""
        session = self._sessions.pop(connection, None)
        if session is not None and (connection._close_reason is not None or self._is_reading(connection)):
            await kill(self, session, query_only=False)
        with suppress(OSError, *self._errors):
            await self._say_goodbye(connection)

    async def cancel(self, connection: Any) -> None:
        """Stop the statement that runs on this connection, by ``KILL QUERY`` from another, within 2 s.

        Best effort: one that has just ended takes no harm, but the next one on the connection may.
        """
        session = self._sessions.get(connection)
        if session is not None:
            await kill(self, session, query_only=True)

    @staticmethod
    async def idle_timeout(connection: Any) -> float:
        """Ask after how many seconds the server hangs up on an idle session."""
        return float((await _ask(connection, IDLE_TIMEOUT))[0][0])

    @classmethod
    def fileno(cls, connection: Any) -> int | None:
        """Return the transport's socket, None when it is closed."""
        return _fileno_of(cls._transport(connection), connection._loop)

    @classmethod
    def is_alive(cls, connection: Any) -> bool:
        """Say whether it is open, and the loop has read nothing that nobody asked for: the last words."""
        return not (cls._is_lost(connection) or cls._is_unread(connection))

    @classmethod
    def is_clean(cls, connection: Any) -> bool:
        """Say whether it is open, outside a transaction, and has been read to the end."""
        return connection.server_status & _BOTH == AUTOCOMMIT and not cls.is_broken(connection)

    @classmethod
    def is_broken(cls, connection: Any) -> bool:
        """Say whether it is closed, or in the middle of an answer."""
        result = connection._result
        return (
            cls._is_lost(connection)
            or cls._is_unread(connection)
            or cls._is_reading(connection)
            or (result is not None and bool(result.unbuffered_active or result.has_next))
        )

    @staticmethod
    def in_transaction(connection: Any) -> bool | None:
        """Say whether a transaction is open; with autocommit off nobody can tell."""
        status: int = connection.server_status
        return True if status & IN_TRANSACTION else False if status & AUTOCOMMIT else None

    @staticmethod
    async def ping(connection: Any) -> None:
        """Ask for an answer, and do not connect again if there is none."""
        await connection.ping(reconnect=False)

    @staticmethod
    async def rollback(connection: Any) -> None:
        """Roll back what was left open."""
        await connection.rollback()

    async def reset(self, connection: Any) -> None:
        """Forget all session state by the server's own command; what was asked for at connect comes back."""
        given = self._kwargs
        await connection._execute_command(RESET_CONNECTION, b"")
        await connection._read_ok_packet()
        await connection.query(f"SET NAMES {given['charset']}")
        if given.get("sql_mode") is not None:
            await connection.query(f"SET sql_mode={given['sql_mode']}")
        if given.get("init_command") is not None:
            await connection.query(given["init_command"])
        if given["autocommit"] is not None:
            await connection.autocommit(given["autocommit"])

    @staticmethod
    def transaction(connection: Any) -> AbstractAsyncContextManager[None]:
        """Return a block that commits or rolls back."""
        return async_transaction(connection.begin, connection.commit, connection.rollback)

    @classmethod
    def terminate(cls, connection: Any) -> None:
        """Cut it off, from its own loop, from another thread, or when its loop is closed."""
        transport, loop = cls._transport(connection), connection._loop
        if transport is None:
            return
        if loop.is_closed():
            with suppress(RuntimeError):
                transport.abort()
            bury(transport)
            cls._forget(connection)
            return
        if not loop.is_running() or loop is running_loop():
            cls._abort(connection)
            return
        fileno = _fileno_of(transport, loop)
        if fileno is not None:
            _sockets.cut(fileno)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(cls._abort, connection)  # not to be done from another thread

    def _tls_keywords(self, tls: dict[str, Any], context: ssl.SSLContext | None) -> dict[str, Any]:  # noqa: ARG002 - others need it
        return {} if context is None else {"ssl": context}

    _errors: tuple[type[Exception], ...]

    async def _open(self, timeout: float) -> Any:
        raise NotImplementedError

    async def _say_goodbye(self, connection: Any) -> None:
        raise NotImplementedError

    @staticmethod
    def _transport(connection: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def _abort(cls, connection: Any) -> None:
        """Close the transport at once."""
        transport = cls._transport(connection)
        if transport is not None:
            transport.abort()

    @staticmethod
    def _forget(connection: Any) -> None:
        """Mark it as closed, since its loop, which is closed, will not."""
        raise NotImplementedError

    @staticmethod
    def _is_lost(connection: Any) -> bool:
        """Whether it is closed, or the server has said that it will send no more."""
        raise NotImplementedError

    @staticmethod
    def _is_reading(connection: Any) -> bool:
        """Whether a task waits for an answer on it."""
        raise NotImplementedError

    @staticmethod
    def _is_unread(connection: Any) -> bool:
        """Whether bytes have come that nobody has read."""
        raise NotImplementedError


async def kill(connector: AsyncMySQL, session: Session, *, query_only: bool) -> None:
    """Do what `cenote.drivers._mysql.kill` does, awaited."""
    with suppress(Exception):
        async with asyncio.timeout(KILL_SECONDS):
            extra = await connector.connect(KILL_SECONDS)
            try:
                if outlived(await _ask(extra, UPTIME), session):
                    await _ask(extra, kill_statement(session, query_only=query_only))
                    while not query_only and await _ask(extra, still_there(session)):
                        pass
            finally:
                await connector._say_goodbye(extra)


async def _ask(connection: Any, statement: str) -> list[Any]:
    cursor = connection.cursor()
    if asyncio.iscoroutine(cursor) or hasattr(cursor, "__await__"):
        cursor = await cursor
    await cursor.execute(statement)
    rows = list(await cursor.fetchall()) if cursor.description else []
    await cursor.close()
    return rows


def _fileno_of(transport: Any, loop: asyncio.AbstractEventLoop) -> int | None:
    """Return a transport's socket, also below TLS and under uvloop; None when it is closed."""
    if transport is None or transport.is_closing() or loop.is_closed():
        return None  # uvloop closes the socket and keeps its number
    found = transport.get_extra_info("socket")
    fileno: int = -1 if found is None else found.fileno()
    return None if fileno < 0 else fileno
