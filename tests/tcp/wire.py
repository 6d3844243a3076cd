"""A wire that can be pulled out: every packet between two ends on this machine is lost, and nobody is told.

A socket may refuse packets that may have come a long way (``IP_MINTTL``): the kernel drops them before TCP
has seen them. Asked for packets with more hops left than any begins with, it drops all. So nothing is
answered, nothing acknowledged, and neither end learns that the other has gone, as when a machine lost its
power or a firewall forgot a connection. It needs no privileges.

Both ends have to be in this process: between a pool and a server of its own stands a proxy.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cenote._sockets import borrow

IP_MINTTL = 21  # linux/in.h; the socket module does not have it
_NONE, _ALL = 255, 0  # packets begin with 64


@contextmanager
def pulled(port: int, *, and_new_ones: bool = False) -> Iterator[int]:
    """Lose all packets, in both directions, of the connections of this process from or to a port.

    Connections that are opened in the block are spared, as by a firewall that lost its table, unless
    `and_new_ones`: then nobody gets through to the port any more. What is still open after the block has its
    wire back, and the kernel sends again what was lost.

    Returns:
        how many ends of connections were pulled.
    """
    ends = 0
    for sock, listens in _found(port):
        if and_new_ones or not listens:
            sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, _NONE)
        ends += not listens
    try:
        yield ends
    finally:
        for sock, _ in _found(port):
            sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, _ALL)


def unacknowledged(fileno: int) -> int:
    """How many bytes were sent of which the other end's kernel has not said that it has them."""
    answer = fcntl.ioctl(fileno, termios.TIOCOUTQ, struct.pack("i", 0))
    count: int = struct.unpack("i", answer)[0]
    return count


def _found(port: int) -> Iterator[tuple[socket.socket, bool]]:
    """Lend each socket of this process that has the port at one end; say of each whether it listens."""
    seen: set[int] = set()  # drivers duplicate theirs
    for entry in tuple(Path("/proc/self/fd").iterdir()):
        with suppress(OSError), borrow(int(entry.name)) as sock:  # no socket, or closed just now
            number = os.fstat(sock.fileno()).st_ino
            if number not in seen and sock.family == socket.AF_INET and port in _ports(sock):
                seen.add(number)
                yield sock, bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _ports(sock: socket.socket) -> list[int]:
    ports = [sock.getsockname()[1]]
    with suppress(OSError):  # it is not connected
        ports.append(sock.getpeername()[1])
    return ports
