"""Redis through redis-py's own connections, for threads and for asyncio.

Whether a connection may go to the next caller is known from counting commands and replies, see
`cenote.redis._watch`. What can be repaired in one round trip is (a transaction, watched keys); else it is
closed, as it is when redis-py itself closed or reopened it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Self

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.backoff
import redis.retry
from redis.exceptions import RedisError

from cenote import _sockets
from cenote.drivers._common import bury, running_loop
from cenote.drivers._redis import check_arguments, read_url
from cenote.redis._commands import MULTI, OWED, RECONNECT, REDIALED, SPENT, WATCH
from cenote.redis._lending import found
from cenote.redis._watch import StandIn, watched

_BROKEN = SPENT | REDIALED | RECONNECT
_numbers = count(1)


class _Redis:
    """What both connectors share."""

    _asynchronous: bool

    def __init__(self, connection_class: type[Any], **kwargs: Any) -> None:
        check_arguments(connection_class, kwargs, ())
        self._kwargs = kwargs
        made = watched(connection_class)
        self._make: Callable[[], Any] = lambda: made(**kwargs)
        self._lends = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make one from ``redis://user:password@host:6379/0``, ``rediss://`` or ``redis+unix:///path?db=0``."""
        return cls(**read_url(url, asynchronous=cls._asynchronous))

    @classmethod
    def lending(cls, make: Callable[[], Any]) -> Self:
        """Make one for a drop-in pool: `make` returns a connection, not open yet, that is to be lent."""
        self = cls.__new__(cls)
        self._kwargs, self._make, self._lends = {}, make, True
        return self

    def _opened(self, connection: Any) -> Any:
        inner = behind(connection)
        inner.opened()
        if self._lends:
            inner._pool_stand_in = StandIn(connection)
        return connection

    def __repr__(self) -> str:
        given = self._kwargs.get
        where = given("path") or f"{given('host', 'localhost')}:{given('port', 6379)}"
        return f"{type(self).__name__}('{where}/{given('db', 0)}')"

    @staticmethod
    def is_clean(connection: Any) -> bool:
        """Say whether all replies are read, and nothing else is to be done about it."""
        return not (connection._pool_state or connection._pool_unread())

    @staticmethod
    def in_transaction(connection: Any) -> bool:
        """Say whether it is inside MULTI, or watches keys."""
        return bool(connection._pool_state & (MULTI | WATCH))


class RedisConnector(_Redis):
    """Opens `redis.Connection` for a `Pool`, or its kinds for TLS and Unix sockets."""

    _asynchronous = False
    socket_tells = True  # it is closed only by whoever uses it

    def __init__(self, connection_class: type[Any] = redis.Connection, **kwargs: Any) -> None:
        """Check everything; opens nothing.

        Args:
            connection_class: `redis.Connection`, `redis.SSLConnection`, `redis.UnixDomainSocketConnection`,
                or one that is derived from them.
            kwargs: its arguments, for example ``host="db", password="...", protocol=3``.

        Raises:
            ConfigError: redis-py refuses an argument's value.
            TypeError: there is no such argument.
        """
        super().__init__(connection_class, **kwargs)

    def connect(self, timeout: float) -> Any:
        """Open one connection. It is tried once: the pool has its own pause between dials."""
        connection = self._make()
        inner = behind(connection)
        wanted, retry = inner.socket_timeout, inner.retry
        inner.socket_connect_timeout = _least(inner.socket_connect_timeout, timeout)
        # No answer of the handshake may take longer than the dial.
        inner.socket_timeout = _least(wanted, timeout)
        inner.retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        try:
            connection.connect()
        except BaseException:
            inner.disconnect()
            raise
        inner.retry = retry
        if inner.socket_timeout != wanted:
            inner.socket_timeout = wanted
            _set_timeout(inner, wanted)
        return self._opened(connection)

    @staticmethod
    def close(connection: Any) -> None:
        """Close the socket, after which the pool waits for the server to do the same."""
        whole, inner = found(connection), behind(connection)
        if inner is None:  # collected, and closed with that
            return
        inner.part()
        if inner is not whole:
            whole.disconnect()  # redis-py's cache holds what this one was told of

    @staticmethod
    def fileno(connection: Any) -> int | None:
        """Return the socket's number, None when it is closed."""
        inner = behind(connection)
        sock: Any = None if inner is None else inner._sock
        return None if sock is None or sock.fileno() < 0 else sock.fileno()

    @staticmethod
    def is_alive(connection: Any) -> bool:
        """Say whether redis-py has it open, and has not closed it since the pool opened it."""
        return not connection._pool_state & _BROKEN and behind(connection)._sock is not None

    @staticmethod
    def is_broken(connection: Any) -> bool:
        """Say whether it is closed, waits for a reply, holds one that nobody asked for, or is spent."""
        state = connection._pool_state
        if state & _BROKEN or not 0 <= state < OWED or behind(connection)._sock is None:
            return True
        return bool(connection._pool_unread()) and not _holds_push(behind(connection))

    @staticmethod
    def ping(connection: Any) -> None:
        """Ask for an answer that no other question has."""
        inner = behind(connection)
        token = b"cenote-%d" % next(_numbers)
        inner.send_command("PING", token, check_health=False)
        _compare(inner.read_response(disable_decoding=True), token)

    @staticmethod
    def idle_timeout(connection: Any) -> float | None:
        """Ask after how many seconds the server hangs up on the idle; None if it lets nobody ask."""
        inner = behind(connection)
        inner.send_command("CONFIG", "GET", "timeout", check_health=False)
        try:
            return _setting(inner.read_response(disable_decoding=True))
        except redis.ResponseError:  # some hosts have no CONFIG, others forbid it
            return None

    @staticmethod
    def rollback(connection: Any) -> None:
        """Leave the transaction, and watch no keys."""
        inner = behind(connection)
        inner.send_command(_ender(inner), check_health=False)
        inner.read_response()

    @staticmethod
    def terminate(connection: Any) -> None:
        """Shut the socket down. Closing it is not safe: another thread may be using it."""
        fileno = RedisConnector.fileno(connection)
        if fileno is not None:
            _sockets.cut(fileno)


class AsyncRedisConnector(_Redis):
    """Opens `redis.asyncio.Connection` for an `AsyncPool`, or its kinds for TLS and Unix sockets."""

    _asynchronous = True

    def __init__(self, connection_class: type[Any] = redis.asyncio.Connection, **kwargs: Any) -> None:
        """Check everything; opens nothing. See `RedisConnector`."""
        super().__init__(connection_class, **kwargs)

    async def connect(self, timeout: float) -> Any:
        """Open one connection. It is tried once: the pool has its own pause between dials."""
        connection = self._make()
        wanted, retry = connection.socket_timeout, connection.retry
        connection.socket_connect_timeout = _least(connection.socket_connect_timeout, timeout)
        connection.socket_timeout = _least(wanted, timeout)
        connection.retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
        try:
            await connection.connect()
        except BaseException:
            connection._close()
            raise
        connection.socket_timeout, connection.retry = wanted, retry
        self._opened(connection)
        fileno = self.fileno(connection)
        if fileno is not None:
            connection.watch(fileno)
        return connection

    @staticmethod
    async def close(connection: Any) -> None:
        """Close the transport and wait until it is closed."""
        inner = found(connection)
        if inner is not None:
            with suppress(RedisError, OSError):
                await inner.disconnect()

    @staticmethod
    def fileno(connection: Any) -> int | None:
        """Return the transport's socket, also below TLS and under uvloop; None when it is closed."""
        transport, loop = _transport_of(connection)
        if transport is None or transport.is_closing() or loop is None or loop.is_closed():
            return None  # uvloop closes the socket and keeps its number
        found = transport.get_extra_info("socket")
        fileno: int = -1 if found is None else found.fileno()
        return None if fileno < 0 else fileno

    @staticmethod
    def is_alive(connection: Any) -> bool:
        """Say whether it is open, and nothing has come while it was idle but what Redis may send unasked."""
        if connection._pool_state & _BROKEN:
            return False
        reader = connection._reader
        if reader is None or reader._eof or reader._exception is not None:  # what a lost transport leaves
            return False
        return not connection._pool_unread() or reader._buffer[:1] == b">"

    @staticmethod
    def is_broken(connection: Any) -> bool:
        """Say whether it is closed, waits for a reply, holds one that nobody asked for, or is spent."""
        return not 0 <= connection._pool_state < OWED or not AsyncRedisConnector.is_alive(connection)

    @staticmethod
    async def ping(connection: Any) -> None:
        """Ask for an answer that no other question has."""
        token = b"cenote-%d" % next(_numbers)
        await connection.send_command("PING", token, check_health=False)
        _compare(await connection.read_response(disable_decoding=True), token)

    @staticmethod
    async def idle_timeout(connection: Any) -> float | None:
        """Ask after how many seconds the server hangs up on the idle; None if it lets nobody ask."""
        await connection.send_command("CONFIG", "GET", "timeout", check_health=False)
        try:
            return _setting(await connection.read_response(disable_decoding=True))
        except redis.ResponseError:
            return None

    @staticmethod
    async def rollback(connection: Any) -> None:
        """Leave the transaction, and watch no keys."""
        await connection.send_command(_ender(connection), check_health=False)
        await connection.read_response()

    @classmethod
    def terminate(cls, connection: Any) -> None:
        """Cut it off, from its own loop, from another thread, or when its loop is closed."""
        transport, loop = _transport_of(connection)
        if transport is None or loop is None:
            return
        if loop.is_closed():
            _bury(found(connection), transport)
        elif not loop.is_running() or loop is running_loop():
            transport.abort()
        else:
            fileno = cls.fileno(connection)
            if fileno is not None:
                _sockets.cut(fileno)
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(transport.abort)  # not to be done from another thread


def behind(connection: Any) -> Any:
    """Return the connection itself, from behind redis-py's client-side cache; None if it was collected."""
    whole = found(connection)
    return getattr(whole, "_conn", whole)


def _least(wanted: float | None, limit: float) -> float:
    return limit if wanted is None else min(wanted, limit)


def _set_timeout(connection: Any, seconds: float | None) -> None:
    """Change the time-out of a connection that is open: its socket and its parser know of it, too."""
    connection._sock.settimeout(seconds)
    parser = connection._parser
    if hasattr(parser, "_socket_timeout"):  # hiredis
        parser._socket_timeout = seconds
    elif getattr(parser, "_buffer", None) is not None:
        parser._buffer.socket_timeout = seconds


def _holds_push(connection: Any) -> bool:
    """Whether what was read in advance begins with a message that Redis sends unasked (RESP3)."""
    buffer = getattr(getattr(connection._parser, "_buffer", None), "_buffer", None)
    if buffer is None:
        return False
    place = buffer.tell()
    first = buffer.read(1)
    buffer.seek(place)
    return bool(first == b">")


def _setting(answer: Any) -> float:
    """Read the value of the one setting asked for: the second of a pair, or in RESP3 that of a mapping."""
    return float(next(iter(answer.values())) if isinstance(answer, dict) else answer[1])


def _compare(answer: object, token: bytes) -> None:
    if answer != token:
        raise redis.ConnectionError("PING was answered by something else: an earlier reply was left unread")


def _ender(connection: Any) -> str:
    return "DISCARD" if connection._pool_state & MULTI else "UNWATCH"


def _transport_of(connection: Any) -> tuple[Any, asyncio.AbstractEventLoop | None]:
    inner: Any = found(connection)
    if inner is None or inner._writer is None:
        return None, None
    return inner._writer.transport, inner._pool_loop


def _bury(connection: Any, transport: Any) -> None:
    """Close the socket of a transport whose loop is closed: that loop will never do it."""
    with suppress(RuntimeError):
        transport.abort()
    connection._reader = connection._writer = None  # only now: a writer minds being dropped with an open one
    bury(transport)
