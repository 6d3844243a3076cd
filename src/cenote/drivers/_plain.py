"""How plain connections are looked after, whoever opened them: sockets in threads, streams in asyncio.

A socket does not know where one conversation ends and the next begins. So this much is looked at: whether
the peer has closed it, whether there is something to read that nobody has read, and how its last use ended.
A use that ended in an error of the connection (`OSError`, `EOFError`), a cancellation or an interrupt closes
it, since half an answer may be under way; one that ended in another error does not, if nothing is unread.
What else makes a connection good, only its user knows: `healthy` is his question.

Unread bytes below TLS may be no answer: a server sends session tickets after the handshake. They are read
away before they are judged.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from inspect import isawaitable, iscoroutinefunction
from typing import Any, NamedTuple

from cenote import _sockets
from cenote.drivers._common import bury
from cenote.errors import ConfigError

TURNS = 4
"""A loop needs so many turns to read what has arrived and to pass it through TLS."""


class Stream(NamedTuple):
    """A connection in asyncio: ``async with pool.connection() as (reader, writer)``."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


# ── threads ─────────────────────────────────────────────────────────────────────────────────────


class Sockets:
    """Looks after connected `socket.socket` and `ssl.SSLSocket`, whoever opened them."""

    socket_tells = True
    errors_tell = True

    def __init__(
        self, healthy: Callable[[socket.socket], object] | None = None, *, blocking: bool = False
    ) -> None:
        """Take the user's own question; `blocking` sockets are made so again after each use."""
        if iscoroutinefunction(healthy):
            raise ConfigError("healthy: is a coroutine function; use cenote.AsyncPool, or a plain function")
        self._healthy = healthy
        self._blocking = blocking

    @staticmethod
    def fileno(connection: socket.socket) -> int | None:
        """Return the socket's number, None when it is closed."""
        number = connection.fileno()
        return None if number < 0 else number

    def is_clean(self, connection: socket.socket) -> bool:
        """Say whether nothing is unread and the peer is there, and no time-out was left behind."""
        return (
            not _sockets.watch(connection.fileno())(0)
            and not (isinstance(connection, ssl.SSLSocket) and connection.pending())
            and not (self._blocking and connection.gettimeout() is not None)
        )

    def is_broken(self, connection: socket.socket) -> bool:
        """Say whether it is closed, by either side, or something is unread. A time-out is put back."""
        number = self.fileno(connection)
        if number is None:
            return True
        if self._blocking:
            connection.settimeout(None)
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        sight = _sockets.examine(number)
        if sight is _sockets.Sight.UNREAD and isinstance(connection, ssl.SSLSocket):
            return not _only_tickets(connection)
        return sight is not _sockets.Sight.QUIET

    def ping(self, connection: socket.socket) -> None:
        """Refuse one with unread bytes, and ask `healthy`.

        Raises:
            ConnectionError: there is something to read, or `healthy` said no.
        """
        if self.is_broken(connection):
            raise ConnectionError("it is closed, or there is something to read that nobody asked for")
        if self._healthy is not None and not self._healthy(connection):
            raise ConnectionError("healthy() said that it is not")

    def close(self, connection: socket.socket) -> None:
        """Close it, after TLS's own goodbye, whose answer is not waited for."""
        if isinstance(connection, ssl.SSLSocket):
            with suppress(OSError, ValueError):  # SSLWantReadError is the good case: it was sent
                connection.settimeout(0)
                connection.unwrap()
        connection.close()


def _only_tickets(connection: ssl.SSLSocket) -> bool:
    """Read what is there; false if any of it was meant for the user, or was the end."""
    timeout = connection.gettimeout()
    connection.settimeout(0)
    try:
        connection.recv(1)
    except ssl.SSLWantReadError:
        return True
    except (OSError, ValueError):
        return False
    else:
        return False  # a byte too many, or the end: either way nobody will use it again
    finally:
        connection.settimeout(timeout)


# ── asyncio ─────────────────────────────────────────────────────────────────────────────────────


class TellingReader(asyncio.StreamReader):
    """A reader that tells the pool when the peer has gone: what is idle leaves the pool at once."""

    lost: Callable[[], object] | None = None

    def feed_eof(self) -> None:
        """Take the end of the stream."""
        super().feed_eof()
        self.tell()

    def set_exception(self, exc: Exception) -> None:
        """Take the end of the connection by an error."""
        super().set_exception(exc)
        self.tell()

    def tell(self) -> None:
        """Call back, once."""
        lost, self.lost = self.lost, None
        if lost is not None:
            lost()


class Streams:
    """Looks after pairs of `asyncio.StreamReader` and `asyncio.StreamWriter`, whoever opened them."""

    errors_tell = True

    def __init__(self, healthy: Callable[[Any], object] | None = None) -> None:
        """Take the user's own question, a plain function or a coroutine function."""
        self._healthy = healthy

    @staticmethod
    def fileno(connection: Any) -> int | None:
        """Return the transport's socket, also below TLS and under uvloop; None when it is closed."""
        reader, writer = connection
        if writer.is_closing() or reader._loop.is_closed():  # uvloop closes a socket and keeps its number
            return None
        found = writer.get_extra_info("socket")
        number: int = -1 if found is None else found.fileno()
        return None if number < 0 else number

    @staticmethod
    def is_alive(connection: Any) -> bool:
        """Say whether the loop has seen neither the end nor anything that nobody asked for."""
        reader, writer = connection
        return not (reader._buffer or reader.at_eof() or writer.is_closing())

    @staticmethod
    def is_clean(connection: Any) -> bool:
        """Say whether nothing is unread, by the loop or by the user, and the peer is there."""
        reader, writer = connection
        found = writer.get_extra_info("socket")  # pipes have none
        return not (
            reader._buffer
            or reader.at_eof()
            or writer.is_closing()
            or (found is not None and _sockets.watch(found.fileno())(0))
        )

    @staticmethod
    def is_broken(connection: Any) -> bool:
        """Say the opposite, also when its loop is closed.

        Tickets of TLS that the loop has not read yet count as unread here: there is no time to read them.
        """
        return connection[0]._loop.is_closed() or not Streams.is_clean(connection)

    async def ping(self, connection: Any) -> None:
        """Refuse one with unread bytes, and ask `healthy`.

        Raises:
            ConnectionError: there is something to read, or `healthy` said no.
        """
        for _ in range(TURNS):
            if Streams.is_clean(connection) or connection[1].get_extra_info("ssl_object") is None:
                break
            await asyncio.sleep(0)
        if Streams.is_broken(connection):
            raise ConnectionError("it is closed, or there is something to read that nobody asked for")
        if self._healthy is not None:
            answer = self._healthy(connection)
            if not (await answer if isawaitable(answer) else answer):
                raise ConnectionError("healthy() said that it is not")

    @staticmethod
    def on_lost(connection: Any, callback: Callable[[], object]) -> None:
        """Have `callback` called from the loop when the peer has gone; only for what was opened here."""
        reader = connection[0]
        if isinstance(reader, TellingReader):
            reader.lost = callback
            if reader.at_eof() or connection[1].is_closing():
                reader._loop.call_soon(reader.tell)  # type: ignore[attr-defined]  # private to the stubs, too

    @staticmethod
    async def close(connection: Any) -> None:
        """Close it; what was written is sent first."""
        reader, writer = connection
        if isinstance(reader, TellingReader):
            reader.lost = None
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    @staticmethod
    def terminate(connection: Any) -> None:
        """Cut it off, from its own loop, from another thread, or when its loop is closed."""
        reader, writer = connection
        loop: asyncio.AbstractEventLoop = reader._loop
        if loop.is_closed():
            _bury(writer)
        elif loop.is_running() and asyncio._get_running_loop() is not loop:
            number = Streams.fileno(connection)  # a transport is not to be touched from another thread
            if number is not None:
                _sockets.cut(number)
        else:
            writer.transport.abort()


class _Buried(asyncio.Transport):
    """The transport of a connection whose loop is closed."""

    def is_closing(self) -> bool:
        """Say so."""
        return True


def _bury(writer: Any) -> None:
    """Close the socket of a connection whose loop is closed: that loop will never do it.

    uvloop has closed its sockets itself, and its transports do not know; asyncio has not. Either would make
    the writer complain when it is collected.
    """
    transport, writer._transport = writer.transport, _Buried()
    with suppress(Exception):  # it marks all as closed, and then meets the closed loop
        transport.abort()
    bury(transport)
