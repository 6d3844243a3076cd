"""Real sockets with a peer that does as told, and the connectors to them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.patience import SAFETY


class Peer:
    """The other ends of socketpairs, in the order in which they were connected."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def pair(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.settimeout(SAFETY)
        self.ends.append(theirs)
        return ours

    def close(self) -> None:
        for end in self.ends:
            end.close()


class SocketConnector:
    """Connections are plain sockets. `ping` sends a byte and waits for one; `close` says bye."""

    def __init__(self, peer: Peer, on_close: Callable[[socket.socket], Any] | None = None) -> None:
        self.peer = peer
        self.on_close = on_close
        self.pings = 0

    def connect(self, timeout: float) -> socket.socket:
        return self.peer.pair()

    def fileno(self, connection: socket.socket) -> int | None:
        return connection.fileno() if connection.fileno() >= 0 else None

    def ping(self, connection: socket.socket) -> None:
        self.pings += 1
        connection.settimeout(None)  # a driver that waits for ever
        connection.sendall(b"?")
        while (answer := connection.recv(1)) != b"!":
            if not answer:
                raise ConnectionResetError("end of stream")

    def close(self, connection: socket.socket) -> None:
        if self.on_close is not None:
            self.on_close(connection)
        connection.close()


class AsyncSocketConnector:
    """The same for tasks."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.pings = 0

    async def connect(self, timeout: float) -> socket.socket:
        ours = self.peer.pair()
        ours.setblocking(False)
        return ours

    def fileno(self, connection: socket.socket) -> int | None:
        return connection.fileno() if connection.fileno() >= 0 else None

    async def ping(self, connection: socket.socket) -> None:
        self.pings += 1
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, b"?")
        while (answer := await loop.sock_recv(connection, 1)) != b"!":
            if not answer:
                raise ConnectionResetError("end of stream")

    async def close(self, connection: socket.socket) -> None:
        connection.close()


class Answering:
    """A thread that answers pings at one end."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        try:
            while self.end.recv(1):
                self.end.sendall(b"!")
        except OSError:
            pass
