"""MySQL and MariaDB through asyncmy, for asyncio. Connections are opened in autocommit."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

import asyncmy
import asyncmy.connection
import asyncmy.errors

from cenote.drivers._mysql import TLS_PARAMETERS, URL_PARAMETERS, in_utf8, refuse_unknown
from cenote.drivers._mysql_asyncio import AsyncMySQL
from cenote.drivers._urls import Reader, duration

if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

Connection = asyncmy.connection.Connection

_KNOWN = (*inspect.signature(asyncmy.connect).parameters, *TLS_PARAMETERS)


class AsyncmyConnector(AsyncMySQL):
    """Opens `asyncmy.connection.Connection` for an `AsyncPool`, in autocommit."""

    url_parameters: ClassVar[dict[str, Reader]] = {**URL_PARAMETERS, "read_timeout": duration}
    _errors = (asyncmy.errors.Error,)

    def __init__(self, **kwargs: Any) -> None:
        """Check everything; opens nothing. See `MySQL` and `asyncmy.connect` for the arguments."""
        refuse_unknown(kwargs, _KNOWN, "asyncmy")
        super().__init__(**in_utf8(kwargs))

    def dialect(self) -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.asyncmy import AsyncmyDialect  # noqa: PLC0415 - the pool needs none

        return AsyncmyDialect(self.cancel)

    async def connect(self, timeout: float) -> Connection:
        """Open one connection."""
        connection: Connection = await super().connect(timeout)
        return connection

    async def reset(self, connection: Any) -> None:
        """Forget all session state by the server's own command; what was asked for at connect comes back."""
        connection._stmt_cache.clear()  # the server forgets its prepared statements, too
        await super().reset(connection)

    async def _open(self, timeout: float) -> Connection:
        connection: Connection = await asyncmy.connect(**{**self._kwargs, "connect_timeout": timeout})
        return connection

    async def _say_goodbye(self, connection: Any) -> None:
        await connection.ensure_closed()

    @staticmethod
    def _transport(connection: Any) -> Any:
        return connection._transport

    @staticmethod
    def _forget(connection: Any) -> None:
        connection._transport, connection._connected = None, False

    @staticmethod
    def _is_lost(connection: Any) -> bool:
        return bool(not connection._connected or connection._stream_broken)

    @staticmethod
    def _is_reading(connection: Any) -> bool:
        received = connection._proto
        return received is not None and received._read_waiter is not None

    @staticmethod
    def _is_unread(connection: Any) -> bool:
        received = connection._proto
        return received is not None and received.length != received.pos
