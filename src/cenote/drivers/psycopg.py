"""PostgreSQL through psycopg 3, for threads and for asyncio.

Connections are opened in autocommit, so a clean release costs no round trip; libpq knows from every
answer whether a transaction is open, and says so for free.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow, tuple_row

from cenote import _sockets
from cenote.drivers._postgresql import (
    ACTIVE,
    BROKEN,
    IDLE,
    IDLE_TIMEOUT,
    IN_ANY_TRANSACTION,
    check_conninfo,
)
from cenote.drivers._urls import Reader, take_parameters, whole_or_none, with_scheme
from cenote.options import redact

if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

_CANCEL_SECONDS = 2.0  # less than a goodbye may take, so that a server out of reach leaves time for the rest

_URL_PARAMETERS: dict[str, Reader] = {"prepare_threshold": whole_or_none}
_KEYWORDS = ("autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory")


class _Shared:
    """What does not talk is the same in both worlds."""

    socket_tells = True  # libpq closes its socket only when somebody uses the connection

    def __init__(self, conninfo: str = "", **kwargs: Any) -> None:
        """Read the address; opens nothing.

        Args:
            conninfo: a ``postgresql://`` URL or a libpq string such as ``"host=db dbname=app"``.
            kwargs: what `psycopg.connect` accepts, for example ``prepare_threshold=None`` behind PgBouncer.

        Raises:
            ConfigError: libpq cannot read it.
        """
        parameters = {name: value for name, value in kwargs.items() if name not in _KEYWORDS}
        check_conninfo(conninfo, make_conninfo, psycopg.Error, parameters)
        self._conninfo = conninfo
        self._kwargs = {"autocommit": True, **kwargs}

    @classmethod
    def from_url(cls, url: str) -> Any:
        """Make one from ``postgresql[+psycopg]://``; `prepare_threshold` may be in the query."""
        keywords, rest = take_parameters(url, _URL_PARAMETERS)
        return cls(with_scheme(rest, "postgresql"), **keywords)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redact(self._conninfo)!r})"

    def _dial(self, timeout: float) -> dict[str, Any]:
        # libpq counts whole seconds, takes less than 2 for 2, and gives each host of a list that long.
        return {**self._kwargs, "connect_timeout": max(2, math.ceil(timeout))}

    @staticmethod
    def fileno(connection: psycopg.BaseConnection[Any]) -> int | None:
        """Return libpq's socket, None when it is closed."""
        try:
            return connection.pgconn.socket
        except psycopg.Error:
            return None

    @staticmethod
    def is_alive(connection: psycopg.BaseConnection[Any]) -> bool:
        """Say whether it is open and waits for a statement."""
        return connection.pgconn.transaction_status == IDLE

    @staticmethod
    def is_clean(connection: psycopg.BaseConnection[Any]) -> bool:
        """Say whether it is open, outside a transaction, and waits for a statement."""
        return connection.pgconn.transaction_status == IDLE

    @staticmethod
    def is_broken(connection: psycopg.BaseConnection[Any]) -> bool:
        """Say whether it is closed, or still in the middle of something."""
        return connection.pgconn.transaction_status in BROKEN

    @staticmethod
    def in_transaction(connection: psycopg.BaseConnection[Any]) -> bool:
        """Say whether a transaction is open, failed or not."""
        return connection.pgconn.transaction_status in IN_ANY_TRANSACTION

    @staticmethod
    def terminate(connection: psycopg.BaseConnection[Any]) -> None:
        """Shut the socket down. Closing it is not safe: another thread may be in libpq with it."""
        fileno = _Shared.fileno(connection)
        if fileno is not None:
            _sockets.cut(fileno)
        # Psycopg's own mark for a connection that a pool looks after: collected unclosed, it does not warn.
        connection._pool = None


class PsycopgConnector(_Shared):
    """Opens `psycopg.Connection` for a `Pool`, in autocommit.

    A dial is given whole seconds and at least 2, as libpq counts them.
    """

    @staticmethod
    def dialect() -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.psycopg import PsycopgDialect  # noqa: PLC0415 - the pool needs none

        return PsycopgDialect()

    def connect(self, timeout: float) -> psycopg.Connection[TupleRow]:
        """Open one connection."""
        return psycopg.Connection.connect(self._conninfo, **self._dial(timeout))

    @staticmethod
    def close(connection: psycopg.Connection[TupleRow]) -> None:
        """Say goodbye and close the socket. The server lets go a little later; the pool waits for that.

        A statement that outlived its use is cancelled first: the server would go on with it unawares.
        """
        if connection.pgconn.transaction_status == ACTIVE:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_SECONDS)
        connection.close()

    @staticmethod
    def ping(connection: psycopg.Connection[TupleRow]) -> None:
        """Send an empty statement and wait for the answer."""
        connection.execute("", prepare=False)
        if not connection.autocommit:
            connection.rollback()

    @staticmethod
    def idle_timeout(connection: psycopg.Connection[TupleRow]) -> float | None:
        """Ask after how many seconds the server hangs up on an idle session; None before PostgreSQL 14."""
        cursor = psycopg.Cursor(connection, row_factory=tuple_row)
        found = cursor.execute(IDLE_TIMEOUT, prepare=False).fetchone()
        if not connection.autocommit:
            connection.rollback()
        return None if found is None else found[0]

    @staticmethod
    def rollback(connection: psycopg.Connection[TupleRow]) -> None:
        """Roll back what was left open."""
        connection.rollback()

    @staticmethod
    def reset(connection: psycopg.Connection[TupleRow]) -> None:
        """Forget settings, temporary tables, advisory locks, prepared statements: ``DISCARD ALL``."""
        connection.rollback()
        autocommit = connection.autocommit
        connection.autocommit = True  # DISCARD ALL is refused in the transaction psycopg would begin
        connection._prepared.clear()  # an older psycopg does not see by itself that they are gone
        connection.execute("DISCARD ALL", prepare=False)
        connection.autocommit = autocommit

    @staticmethod
    def transaction(connection: psycopg.Connection[TupleRow]) -> AbstractContextManager[Any]:
        """Return psycopg's own transaction block."""
        return connection.transaction()


class AsyncPsycopgConnector(_Shared):
    """Opens `psycopg.AsyncConnection` for an `AsyncPool`, in autocommit."""

    @staticmethod
    def dialect() -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.psycopg import AsyncPsycopgDialect  # noqa: PLC0415 - the pool needs none

        return AsyncPsycopgDialect()

    async def connect(self, timeout: float) -> psycopg.AsyncConnection[TupleRow]:
        """Open one connection."""
        async with asyncio.timeout(timeout):
            return await psycopg.AsyncConnection.connect(self._conninfo, **self._dial(timeout))

    @staticmethod
    async def close(connection: psycopg.AsyncConnection[TupleRow]) -> None:
        """Say goodbye and close the socket; a statement that outlived its use is cancelled first."""
        if connection.pgconn.transaction_status == ACTIVE:
            with suppress(psycopg.Error):
                await connection.cancel_safe(timeout=_CANCEL_SECONDS)
        with suppress(psycopg.Error):
            await connection.close()

    @staticmethod
    async def ping(connection: psycopg.AsyncConnection[TupleRow]) -> None:
        """Send an empty statement and wait for the answer."""
        await connection.execute("", prepare=False)
        if not connection.autocommit:
            await connection.rollback()

    @staticmethod
    async def idle_timeout(connection: psycopg.AsyncConnection[TupleRow]) -> float | None:
        """Ask after how many seconds the server hangs up on an idle session; None before PostgreSQL 14."""
        cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
        found = await (await cursor.execute(IDLE_TIMEOUT, prepare=False)).fetchone()
        if not connection.autocommit:
            await connection.rollback()
        return None if found is None else found[0]

    @staticmethod
    async def rollback(connection: psycopg.AsyncConnection[TupleRow]) -> None:
        """Roll back what was left open."""
        await connection.rollback()

    @staticmethod
    async def reset(connection: psycopg.AsyncConnection[TupleRow]) -> None:
        """Forget settings, temporary tables, advisory locks, prepared statements: ``DISCARD ALL``."""
        await connection.rollback()
        autocommit = connection.autocommit
        await connection.set_autocommit(True)
        connection._prepared.clear()
        await connection.execute("DISCARD ALL", prepare=False)
        await connection.set_autocommit(autocommit)

    @staticmethod
    def transaction(connection: psycopg.AsyncConnection[TupleRow]) -> AbstractAsyncContextManager[Any]:
        """Return psycopg's own transaction block."""
        return connection.transaction()
