"""PostgreSQL through asyncpg, for asyncio.

asyncpg keeps three things to itself that a pool must know: whether an operation is still under way, whether
the server waits for the end of one, and the socket. They are looked at here from outside, and nowhere else.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from gc import get_referents
from typing import TYPE_CHECKING, Any

import asyncpg

from cenote import _sockets
from cenote.drivers._common import bury, running_loop
from cenote.drivers._postgresql import IDLE_TIMEOUT
from cenote.drivers._urls import Reader, check_hosts, duration, take_parameters, whole, with_scheme
from cenote.errors import ConfigError
from cenote.options import redact

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from cenote.sql.dialect import Dialect

    Connection = asyncpg.Connection[asyncpg.Record]

# What the protocol holds, and only then: the future of an operation under way, or the error with which it
# met words it did not ask for. Those are the server's last ones; asyncpg reads them and waits for the end.
_LAST_WORDS = asyncpg.InternalClientError
_UNSETTLED = {asyncio.Future, _LAST_WORDS}

_NOTES = "_cenote_notes"
"""Where a protocol keeps what is known of it here."""

_URL_PARAMETERS: dict[str, Reader] = {
    "statement_cache_size": whole,
    "max_cached_statement_lifetime": whole,
    "max_cacheable_statement_size": whole,
    "command_timeout": duration,
}


class AsyncpgConnector:
    """Opens `asyncpg.Connection` for an `AsyncPool`; asyncpg is always in autocommit."""

    def __init__(self, dsn: str, **kwargs: Any) -> None:
        """Read the address; opens nothing.

        Args:
            dsn: a ``postgresql://`` URL.
            kwargs: what `asyncpg.connect` accepts, for example ``statement_cache_size=0`` behind PgBouncer.

        Raises:
            ConfigError: a port makes no sense.
        """
        check_hosts(dsn)
        self._dsn = dsn
        self._kwargs = kwargs

    @classmethod
    def from_url(cls, url: str) -> AsyncpgConnector:
        """Make one from ``postgresql+asyncpg://``; cache sizes and `command_timeout` may be in the query."""
        keywords, rest = take_parameters(url, _URL_PARAMETERS)
        return cls(with_scheme(rest, "postgresql"), **keywords)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redact(self._dsn)!r})"

    @staticmethod
    def dialect() -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.asyncpg import AsyncpgDialect  # noqa: PLC0415 - the pool needs none

        return AsyncpgDialect()

    async def connect(self, timeout: float) -> Connection:
        """Open one connection.

        Raises:
            ConfigError: asyncpg cannot read the URL, which it does only here, before it dials.
        """
        try:
            connection: Connection = await asyncpg.connect(self._dsn, timeout=timeout, **self._kwargs)
        except ValueError as error:
            kind = type(error).__name__
        else:
            _Notes(_protocol(connection))
            return connection
        # Out of the except clause and without asyncpg's text: it may quote any part of the URL.
        raise ConfigError(
            f"asyncpg cannot read {redact(self._dsn)!r} ({kind}); check its host, port and parameters"
        )

    @staticmethod
    async def close(connection: Connection) -> None:
        """Say goodbye and wait until the transport is closed; a statement under way is cancelled first."""
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.close()

    @staticmethod
    def fileno(connection: Connection) -> int | None:
        """Return the transport's socket, also below TLS and under uvloop; None when it is closed."""
        if (
            connection.is_closed() or _loop(connection).is_closed()
        ):  # uvloop closes the socket and keeps its number
            return None
        found = _transport(connection).get_extra_info("socket")
        fileno: int = -1 if found is None else found.fileno()
        return None if fileno < 0 else fileno

    @staticmethod
    def is_alive(connection: Connection) -> bool:
        """Say whether asyncpg thinks it open, and has not read the server's last words while it was idle."""
        protocol = _protocol(connection)
        return not connection.is_closed() and (
            _is_at_rest(protocol) or _LAST_WORDS not in map(type, get_referents(protocol))
        )

    @staticmethod
    def is_clean(connection: Connection) -> bool:
        """Say whether it is open, outside a transaction, nothing is under way, and the server is ready."""
        protocol = connection._protocol  # type: ignore[attr-defined]
        if not protocol.is_connected() or protocol.is_in_transaction():
            return False
        # What the two below find as a rule: each release asks, and as calls they take a third longer.
        notes = getattr(protocol, _NOTES, None)
        if notes and notes.prepared is None and get_referents(protocol) == notes.rest:
            return True
        return _is_at_rest(protocol) and not _is_half_asked(protocol)

    @staticmethod
    def is_broken(connection: Connection) -> bool:
        """Say whether it is closed or about to be, or an operation or its cancellation is still under way.

        A task that outlived its lease may have left one running, and asyncpg has no public name for that.
        """
        return connection.is_closed() or not _is_at_rest(_protocol(connection))

    @staticmethod
    def in_transaction(connection: Connection) -> bool | None:
        """Say whether a transaction is open, failed or not; None if the server has one that no user began."""
        if connection.is_in_transaction():
            return True
        return None if _is_half_asked(_protocol(connection)) else False

    @staticmethod
    async def ping(connection: Connection) -> None:
        """Ask for the least there is: asyncpg stumbles over the answer to an empty statement."""
        await connection.execute("SELECT 1")

    @staticmethod
    async def idle_timeout(connection: Connection) -> float | None:
        """Ask after how many seconds the server hangs up on an idle session; None before PostgreSQL 14."""
        found: float | None = await connection.fetchval(IDLE_TIMEOUT)
        return found

    @staticmethod
    async def rollback(connection: Connection) -> None:
        """Roll back what was left open, and let asyncpg forget the block it belonged to."""
        if not connection.is_in_transaction():  # the Sync that any statement brings is all that is missing
            await AsyncpgConnector.ping(connection)
            return
        connection._top_xact = None  # type: ignore[attr-defined]
        await connection.execute("ROLLBACK")

    @staticmethod
    async def reset(connection: Connection) -> None:
        """Forget settings, cursors, listeners and advisory locks, by asyncpg's own reset."""
        if connection.is_in_transaction():
            await AsyncpgConnector.rollback(connection)
        await connection.reset()

    @staticmethod
    def transaction(connection: Connection) -> AbstractAsyncContextManager[Any]:
        """Return asyncpg's own transaction block."""
        return connection.transaction()

    @staticmethod
    def terminate(connection: Connection) -> None:
        """Cut it off, from its own loop, from another thread, or when its loop is closed."""
        if connection.is_closed():
            return
        loop = _loop(connection)
        if loop.is_closed():
            _bury(connection)
        elif loop.is_running() and loop is not running_loop():
            fileno = AsyncpgConnector.fileno(
                connection
            )  # a transport is not to be touched from another thread
            if fileno is not None:
                _sockets.cut(fileno)
        else:
            connection.terminate()


def _protocol(connection: Connection) -> Any:
    return connection._protocol  # type: ignore[attr-defined]


class _Notes:
    """What is known of a protocol beside what it says of itself.

    asyncpg prepares a statement without the Sync that ends the conversation; that comes with its execution.
    Where a task is cancelled in between, or a user only prepares, the server waits for it, in a transaction
    of its own that keeps locks, and behind a proxy the server connection. Nothing in asyncpg tells of it.

    Attributes:
        rest: what its fields held when it was last seen at rest.
        prepared: how many statements had been executed when one was last prepared; None if it is known
            that one was executed since.
    """

    __slots__ = ("prepared", "rest")

    def __init__(self, protocol: Any) -> None:
        """Take notes of a protocol that has just connected."""
        self.rest: list[Any] = []
        self.prepared: int | None = None
        prepare = protocol.prepare

        async def noted(*args: Any, **keywords: Any) -> Any:
            self.prepared = protocol.queries_count
            try:
                return await prepare(*args, **keywords)
            except asyncpg.PostgresError:  # after one of those asyncpg sends a Sync
                self.prepared = None
                raise

        protocol.prepare = noted
        setattr(protocol, _NOTES, self)


def _notes(protocol: Any) -> _Notes | None:
    """Return the notes of a connection that was made here; a subclass may have made it otherwise."""
    found: _Notes | None = getattr(protocol, _NOTES, None)
    return found


def _is_at_rest(protocol: Any) -> bool:
    """Whether nothing is under way, nor were last words read: neither of `_UNSETTLED` is in any field.

    At rest the fields hold the same as at the last rest, whatever was executed in between. When they do not,
    the types of all are looked at, which takes longer: asyncpg keeps the words of a cancelled statement.
    """
    held = get_referents(protocol)
    notes = _notes(protocol)
    if notes is not None and held == notes.rest:
        return True
    if not _UNSETTLED.isdisjoint(map(type, held)):
        return False
    if notes is not None:
        notes.rest = held
    return True


def _is_half_asked(protocol: Any) -> bool:
    """Whether a statement was prepared and none executed since, so that the server waits for a Sync."""
    notes = _notes(protocol)
    if notes is None or notes.prepared is None:
        return False
    if notes.prepared == protocol.queries_count:
        return True
    notes.prepared = None
    return False


def _transport(connection: Connection) -> asyncio.Transport:
    transport: asyncio.Transport = connection._transport  # type: ignore[attr-defined]
    return transport


def _loop(connection: Connection) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = connection._loop  # type: ignore[attr-defined]
    return loop


def _bury(connection: Connection) -> None:
    """Close the socket of a connection whose loop is closed: that loop will never do it."""
    transport = _transport(connection)
    with suppress(Exception):  # it marks everything as closed, and then meets the closed loop
        connection.terminate()
    bury(transport)
