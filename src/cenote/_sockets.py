"""What can be asked of a socket, and done to it, behind its driver's back and without a round trip.

All functions take file descriptors. Whoever calls asks the driver for the number afresh: a
number kept from earlier may have been closed and given to somebody else.
"""

from __future__ import annotations

import enum
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

Look = Callable[[int], list[tuple[int, int]]]
"""``poll``'s own signature: called with 0, answers an empty list while there is nothing to see."""

_RDHUP: int = getattr(select, "POLLRDHUP", 0)
_GONE: int = (
    _RDHUP | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0) | getattr(select, "POLLNVAL", 0)
)
_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)


class Sight(enum.Enum):
    """What a free look at an idle connection tells."""

    QUIET = enum.auto()
    UNREAD = enum.auto()  # bytes nobody asked for: a notice, a TLS record; only a ping can tell
    DEAD = enum.auto()


def watch(fileno: int) -> Look:
    """Bind a look at one socket that costs a single system call while all is quiet."""
    if not hasattr(select, "poll"):  # Windows: a non-blocking peek, in poll's clothes
        return lambda _: [(fileno, 0)] if peek(fileno) is not Sight.QUIET else []
    poller = select.poll()
    poller.register(fileno, select.POLLIN | _RDHUP)
    return poller.poll


def examine(fileno: int) -> Sight:
    """Say what there is to see, once a look was not empty."""
    if _RDHUP:
        poller = select.poll()
        poller.register(fileno, select.POLLIN | _RDHUP)
        if any(flags & _GONE for _, flags in poller.poll(0)):
            return Sight.DEAD
    return peek(fileno)


def peek(fileno: int) -> Sight:
    """Look at the next byte without taking it: the end of the stream shows as emptiness."""
    try:
        with _borrowed(fileno) as sock:
            # Not by setblocking: that flag belongs to the open file, which the driver shares.
            if not _DONTWAIT and not select.select([sock], [], [], 0)[0]:
                return Sight.QUIET
            return Sight.UNREAD if sock.recv(1, socket.MSG_PEEK | _DONTWAIT) else Sight.DEAD
    except BlockingIOError:
        return Sight.QUIET
    except OSError:
        return Sight.DEAD


def cut(fileno: int) -> None:
    """Shut a connection down without a word, from any thread; whoever reads from it sees its end."""
    with suppress(OSError), _borrowed(fileno) as sock:
        sock.shutdown(socket.SHUT_RDWR)


def sever(fileno: int) -> None:
    """Detach this process from a socket that its parent goes on using, without closing the number.

    The number now leads to the null device: whatever the driver writes or closes later reaches
    nobody, and no new socket can get the number while the driver still believes it owns it.
    """
    with suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, fileno)
        os.close(null)


class Farewell:
    """Keeps a socket over its driver's close, to see the server let go.

    PostgreSQL, for one, leaves the socket open until its backend has really exited (see
    ``socket_close`` in its ``pqcomm.c``); only then does the server no longer count it.
    """

    __slots__ = ("sock",)

    def __init__(self, fileno: int | None) -> None:
        """Duplicate the descriptor, before the driver closes its own."""
        self.sock: socket.socket | None = None
        if fileno is not None:
            with suppress(OSError):
                sock = borrow(fileno)
                if sock.type == socket.SOCK_STREAM:
                    self.sock = sock
                else:
                    sock.close()

    def part(self) -> None:
        """Say that nothing more will be sent; after the driver's close."""
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)

    def wait(self, seconds: float) -> None:
        """Block until the peer has closed, at most `seconds`, however much it still has to say."""
        deadline = monotonic() + seconds
        with suppress(OSError):  # and TimeoutError, which is one
            while self.sock is not None and (left := deadline - monotonic()) > 0:
                self.sock.settimeout(left)
                if not self.sock.recv(65536):
                    return

    def end(self) -> None:
        """Let the socket go."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def borrow(fileno: int) -> socket.socket:
    """Open the same socket under another number, which stays ours when the driver closes its own.

    Raises:
        OSError: it is no socket, or is closed.
    """
    twin = socket.dup(fileno)
    try:
        return socket.socket(fileno=twin)
    except OSError:
        socket.close(twin)
        raise


class _borrowed:  # noqa: N801 - a verb: with _borrowed(fileno) as sock
    """A duplicate that is closed again; the driver's own descriptor and its mode stay as they are."""

    __slots__ = ("fileno", "sock")

    def __init__(self, fileno: int) -> None:
        self.fileno = fileno

    def __enter__(self) -> socket.socket:
        self.sock = borrow(self.fileno)
        return self.sock

    def __exit__(self, *_: object) -> None:
        self.sock.close()
