"""What can be seen of a connection whose driver the pool was not told about.

A callable or a PEP 249 module hands over connections of any kind. Where the kind is one this package has
a connector for, its hooks are used. Of the others this much is looked at, each only where it is there:

- ``close`` or ``aclose``; a pair of asyncio's reader and writer is closed as such;
- ``fileno``, if it leads to a real socket;
- ``closed``, if it is a plain value: true means dead. It does not tell half a conversation from a whole one,
  so there is no `is_broken`: the pool itself distrusts a connection whose use was cut short;
- ``in_transaction``, if it is a plain bool. Without it nobody can say, and every release rolls back;
- ``cursor`` and ``rollback``, that is PEP 249: ``SELECT 1`` is its ping, ``commit`` or ``rollback`` ends its
  transaction.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from inspect import isawaitable
from typing import Any

from cenote import _sockets
from cenote.connector import Hooks
from cenote.errors import ConfigError

# Package and class of a driver's connection, and the connector here that knows it.
_KNOWN = {
    ("psycopg", "Connection"): ("psycopg", "PsycopgConnector"),
    ("psycopg", "AsyncConnection"): ("psycopg", "AsyncPsycopgConnector"),
    ("psycopg2", "connection"): ("psycopg2", "Psycopg2Connector"),
    ("asyncpg", "Connection"): ("asyncpg", "AsyncpgConnector"),
    ("sqlite3", "Connection"): ("sqlite", "SQLiteConnector"),
}


class Discovering:
    """The hooks of a connector that learns what its connections are from the connections themselves.

    The methods ask each time. A pool that wants to pay for nothing but what is there takes `hooks_for`
    of the first connection instead.
    """

    _awaited: bool

    def __init__(self) -> None:
        self._kinds: dict[type[Any], Hooks[Any]] = {}
        self._nothing: Callable[[Any], Any] = _async_nothing if self._awaited else _nothing

    def hooks_for(self, connection: object) -> Hooks[Any]:
        """Return the hooks that this kind of connection has."""
        kind = type(connection)
        if kind not in self._kinds:
            self._kinds[kind] = hooks_of(connection, awaited=self._awaited)
        return self._kinds[kind]

    def fileno(self, connection: Any) -> int | None:
        """Return its socket, None if there is none that may be asked."""
        hook = self.hooks_for(connection).fileno
        return None if hook is None else hook(connection)

    def is_alive(self, connection: Any) -> bool:
        """Say whether it is open, as far as it says so itself."""
        hook = self.hooks_for(connection).is_alive
        return hook is None or hook(connection)

    def in_transaction(self, connection: Any) -> bool | None:
        """Say whether a transaction is open; None when only a rollback can tell."""
        hooks = self.hooks_for(connection)
        if hooks.rollback is None:
            return False
        if hooks.is_broken is not None and hooks.is_broken(connection):
            return None
        return None if hooks.in_transaction is None else hooks.in_transaction(connection)

    def ping(self, connection: Any) -> Any:
        """Ask it for an answer; if there is no way to ask, unread bytes on its socket count against it."""
        hooks = self.hooks_for(connection)
        if hooks.ping is not None:
            return hooks.ping(connection)
        number = self.fileno(connection)
        if number is not None and _sockets.peek(number) is not _sockets.Sight.QUIET:
            raise ConnectionError("there is something to read, and no way to ask what it means")
        return self._nothing(connection)

    def rollback(self, connection: Any) -> Any:
        """Roll back what may have been left open."""
        return (self.hooks_for(connection).rollback or self._nothing)(connection)

    def reset(self, connection: Any) -> Any:
        """Forget all session state, if its driver is a known one."""
        return (self.hooks_for(connection).reset or self._nothing)(connection)

    def transaction(self, connection: Any) -> Any:
        """Return a block that commits or rolls back.

        Raises:
            ConfigError: this kind of connection has no transactions.
        """
        hook = self.hooks_for(connection).transaction
        if hook is None:
            kind = type(connection).__qualname__
            raise ConfigError(f"transaction: a {kind} has no cursor() and rollback(); use pool.connection()")
        return hook(connection)

    def terminate(self, connection: Any) -> None:
        """Cut it off without a word, as far as its socket can be seen."""
        hook = self.hooks_for(connection).terminate
        if hook is not None:
            hook(connection)
        elif (number := self.fileno(connection)) is not None:
            _sockets.cut(number)


def hooks_of(connection: object, *, awaited: bool) -> Hooks[Any]:
    """Find the hooks for one kind of connection by looking at one of them."""
    if is_stream(connection):
        return Hooks.of(import_module("cenote.drivers._plain").Streams())
    if isinstance(connection, socket.socket):
        found = Hooks.of(import_module("cenote.drivers._plain").Sockets())
        return replace(found, ping=None) if awaited else found
    for base in type(connection).__mro__:
        known = _KNOWN.get((base.__module__.partition(".")[0], base.__name__))
        if known is not None:
            connector = getattr(import_module(f"cenote.drivers.{known[0]}"), known[1])
            return Hooks.of(connector() if known[0] == "sqlite" else connector)
    has_rollback = callable(_value(connection, "rollback"))
    is_pep249 = has_rollback and callable(_value(connection, "cursor"))
    return Hooks(
        fileno=None if fileno(connection) is None else fileno,
        is_alive=_is_open if isinstance(_value(connection, "closed"), int) else None,
        in_transaction=_in_transaction if isinstance(_value(connection, "in_transaction"), bool) else None,
        rollback=(_async_rollback if awaited else _rollback) if has_rollback else None,
        ping=(_async_ping if awaited else _ping) if is_pep249 else None,
        transaction=(_async_transaction if awaited else _transaction) if is_pep249 else None,
    )


def is_stream(connection: object) -> bool:
    """Whether it is what `asyncio.open_connection` returns: a reader and a writer."""
    return (
        isinstance(connection, tuple)
        and len(connection) == 2  # noqa: PLR2004 - a pair
        and isinstance(connection[0], asyncio.StreamReader)
        and isinstance(connection[1], asyncio.StreamWriter)
    )


def _value(connection: object, name: str) -> object:
    with suppress(Exception):  # a property may raise what it likes
        return getattr(connection, name, None)
    return None


def fileno(connection: Any) -> int | None:
    """Return the number of the connection's socket, None if it has none that may be asked."""
    try:
        number = connection.fileno()
        if isinstance(number, int) and number >= 0 and stat.S_ISSOCK(os.fstat(number).st_mode):
            return number
    except Exception:  # noqa: BLE001 - no such method, or closed; every driver has its own error for that
        return None
    return None


def close(connection: Any) -> None:
    """Close it by the means it has."""
    if _is_sqlite(connection):
        # Closed while a cursor is still alive, as in a traceback, SQLite keeps the transaction and its locks.
        with suppress(Exception):
            connection.rollback()
    if hasattr(connection, "close"):
        connection.close()


async def async_close(connection: Any) -> None:
    """Close it by the means it has; `aclose` first, where `close` is the deprecated or the blocking one."""
    if is_stream(connection):
        await import_module("cenote.drivers._plain").Streams.close(connection)
        return
    ending = getattr(connection, "aclose", None) or getattr(connection, "close", None)
    if ending is not None:
        await _settled(ending())


async def _settled(value: object) -> Any:
    return await value if isawaitable(value) else value


def _nothing(_: Any) -> None:
    pass


async def _async_nothing(_: Any) -> None:
    pass


def _is_open(connection: Any) -> bool:
    return not connection.closed


def _in_transaction(connection: Any) -> bool:
    return bool(connection.in_transaction)


def _rollback(connection: Any) -> None:
    connection.rollback()


async def _async_rollback(connection: Any) -> None:
    await _settled(connection.rollback())


def _ping(connection: Any) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT 1")
        cursor.fetchall()
    finally:
        cursor.close()
    connection.rollback()  # the driver may have begun a transaction for it


async def _async_ping(connection: Any) -> None:
    cursor = await _settled(connection.cursor())
    try:
        await _settled(cursor.execute("SELECT 1"))
        await _settled(cursor.fetchall())
    finally:
        await _settled(cursor.close())
    await _async_rollback(connection)


@contextmanager
def _transaction(connection: Any) -> Iterator[None]:
    """PEP 249 begins with the first statement, unless the driver was told otherwise."""
    refuse_autocommit(connection)
    try:
        yield
        connection.commit()
    except BaseException:
        with suppress(Exception):
            connection.rollback()
        raise


@asynccontextmanager
async def _async_transaction(connection: Any) -> AsyncIterator[None]:
    refuse_autocommit(connection)
    try:
        yield
        await _settled(connection.commit())
    except BaseException:
        with suppress(Exception):
            await _async_rollback(connection)
        raise


def refuse_autocommit(connection: Any) -> None:
    """Refuse a transaction where none would begin.

    Raises:
        ConfigError: the connection was opened in autocommit, as far as it says so.
    """
    if _value(connection, "autocommit") is True or _is_sqlite_in_autocommit(connection):
        raise ConfigError(
            f"transaction: this {type(connection).__qualname__} is in autocommit, where PEP 249 begins none; "
            "open it with autocommit off, or use pool.connection() and SQL"
        )


def _is_sqlite(connection: object) -> bool:
    kinds = type(connection).__mro__
    return ("sqlite3", "Connection") in [(kind.__module__, kind.__name__) for kind in kinds]


def _is_sqlite_in_autocommit(connection: Any) -> bool:
    """Whether it is SQLite's, and says so in the older of its two ways: by an isolation level of None."""
    if not _is_sqlite(connection) or _value(connection, "autocommit") is False:
        return False
    return connection.isolation_level is None
