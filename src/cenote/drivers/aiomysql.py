"""MySQL and MariaDB through aiomysql, for asyncio. Connections are opened in autocommit."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import aiomysql
import aiomysql.connection

from cenote.drivers._mysql import TLS_PARAMETERS, refuse_unknown
from cenote.drivers._mysql_asyncio import AsyncMySQL

if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

_KNOWN = (*inspect.signature(aiomysql.connect).parameters, *TLS_PARAMETERS)


class _Connection(aiomysql.Connection):  # type: ignore[misc]  # aiomysql has no types
    """An `aiomysql.connection.Connection` that takes bytes and lists, though PyMySQL 1.2 helps no more."""

    def escape(self, obj: Any) -> Any:
        """Paste bytes in hexadecimal, and lists in brackets, as PyMySQL does; all else as ever."""
        if isinstance(obj, bytes | bytearray):
            return f"X'{obj.hex()}'"
        if type(obj) in (tuple, list, set, frozenset):
            return f"({','.join(map(self.escape, obj))})"
        return super().escape(obj)


class _Gone:
    """What a transport says once it is closed."""

    @staticmethod
    def is_closing() -> bool:
        return True


class _Password(str):
    """A password that is sent in UTF-8: aiomysql asks for Latin-1, which has not all characters."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002 - asked for, not heard
        return super().encode("utf-8", errors)


class AiomysqlConnector(AsyncMySQL):
    """Opens `aiomysql.connection.Connection` for an `AsyncPool`, in autocommit."""

    _errors = (aiomysql.Error,)

    def __init__(self, **kwargs: Any) -> None:
        """Check everything; opens nothing. See `MySQL` and `aiomysql.connect` for the arguments."""
        if "database" in kwargs:
            kwargs["db"] = kwargs.pop("database")
        refuse_unknown(kwargs, _KNOWN, "aiomysql")
        if isinstance(kwargs.get("password"), str):
            kwargs["password"] = _Password(kwargs["password"])
        super().__init__(**kwargs)

    def dialect(self) -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.aiomysql import AiomysqlDialect  # noqa: PLC0415 - the pool needs none

        return AiomysqlDialect(self.cancel)

    @classmethod
    def _abort(cls, connection: Any) -> None:
        super()._abort(connection)
        connection._writer = None  # closed, to aiomysql: collected like this, it does not warn

    async def _open(self, timeout: float) -> Any:
        connection = _Connection(**{**self._kwargs, "connect_timeout": timeout})
        try:
            await connection._connect()
        except BaseException:
            connection.close()  # which aiomysql itself does not do for one that was cancelled
            raise
        return connection

    async def _say_goodbye(self, connection: Any) -> None:
        writer = connection._writer
        try:
            await connection.ensure_closed()
        finally:
            connection.close()  # also when the peer has gone, and QUIT could not be sent
        if writer is not None:
            await writer.wait_closed()

    @staticmethod
    def _transport(connection: Any) -> Any:
        return None if connection._writer is None else connection._writer.transport

    @staticmethod
    def _forget(connection: Any) -> None:
        writer, connection._writer = connection._writer, None
        if writer is not None and not writer.transport.is_closing():
            writer._transport = (
                _Gone()
            )  # uvloop's does not know; collected like this, the writer does not warn

    @staticmethod
    def _is_lost(connection: Any) -> bool:
        reader, writer = connection._reader, connection._writer
        return bool(
            reader is None
            or writer is None
            or reader._eof
            or reader._exception is not None
            or writer.transport.is_closing()
        )

    @staticmethod
    def _is_reading(connection: Any) -> bool:
        return connection._reader is not None and connection._reader._waiter is not None

    @staticmethod
    def _is_unread(connection: Any) -> bool:
        return connection._reader is not None and bool(connection._reader._buffer)
