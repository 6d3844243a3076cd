"""A TCP proxy that counts round trips, can hang like a peer out of reach, and can cut everything off.

It knows no protocol, so it serves any database. A round trip begins when the client speaks for the first
time, or speaks after the server did. What a client sends is counted before it is passed on, and that a server
spoke is noted before it is passed on: whoever has an answer in hand finds its question counted.

Connecting takes round trips like any other, and a driver's goodbye counts as one: connect before `mark`, and
read the figures before closing.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from tests.servers.home import free_port

CHUNK = 65_536
JOIN_SECONDS = 60.0  # more than a thread takes to see that its socket was shut
ANSWERED = -1  # no mark: the server has spoken last, or nobody has


def at_address(url: str, host: str, port: int) -> str:
    """Return a server's URL with another host and port; role, password, database and parameters stay."""
    parts = urlsplit(url)
    who, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{who}{at}{host}:{port}").geturl()


class CountingProxy:
    """Listens on a port of its own and passes every connection on to one server.

    A client whose server refuses the connection sees an end of file. So does one whose server resets it.

    Args:
        target_host: where the server listens.
        target_port: the same.
    """

    host = "127.0.0.1"

    def __init__(self, target_host: str, target_port: int) -> None:
        self.port = free_port(self.host)
        self._target = (target_host, target_port)
        self._listener = socket.create_server((self.host, self.port), backlog=512)
        self._changed = threading.Condition()  # guards all below; never held while bytes are sent
        self._frozen = False
        self._links: set[_Link] = set()
        self._accepted = 0
        self._mark = 0
        self._round_trips = 0
        self._bytes = 0
        self._acceptor = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        """It listens already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Cut all and stop listening."""
        self.close()

    @property
    def connections(self) -> int:
        """How many were accepted since the start."""
        with self._changed:
            return self._accepted

    def url(self, url: str) -> str:
        """Rewrite the server's URL so that it leads through here."""
        return at_address(url, self.host, self.port)

    def mark(self) -> None:
        """Start a fresh count of round trips and bytes; what a client sends next is a round trip."""
        with self._changed:
            self._mark += 1
            self._round_trips = self._bytes = 0

    def round_trips(self) -> int:
        """How often, since the mark and on all connections, a client spoke first or after its server."""
        with self._changed:
            return self._round_trips

    def bytes_to_server(self) -> int:
        """How many bytes the clients have sent since the mark."""
        with self._changed:
            return self._bytes

    def freeze(self) -> None:
        """Pass nothing on from now: connections stay open, new ones too, and nobody gets an answer.

        Goodbyes and ends of file are held back as well. What clients send is counted when it arrives here.
        """
        with self._changed:
            self._frozen = True

    def thaw(self) -> None:
        """Pass on what was held back, and all that follows."""
        with self._changed:
            self._frozen = False
            self._changed.notify_all()

    def cut(self) -> None:
        """Close all connections, on both sides; new ones are accepted. What was held back is lost."""
        with self._changed:
            links = tuple(self._links)
            for link in links:
                link.cut = True
            self._changed.notify_all()
        for link in links:
            link.shut()

    def close(self) -> None:
        """Cut all, stop listening, and wait for the threads. A second call does nothing."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(JOIN_SECONDS)
        self._listener.close()
        with self._changed:
            links = tuple(self._links)
        self.cut()
        for link in links:
            link.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._accepted += 1
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            link = _Link(self, client, server)
            with self._changed:
                self._links.add(link)
            link.start()


class _Link:
    """One connection: two sockets, and a thread for each direction."""

    def __init__(self, proxy: CountingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._changed = proxy._changed
        self._sockets = (client, server)
        self._asked = ANSWERED  # else the mark under which the client spoke last
        self.cut = False
        self._running = 2
        self._threads = [
            threading.Thread(target=self._run, args=(client, server, self._note_request), daemon=True),
            threading.Thread(target=self._run, args=(server, client, self._note_answer), daemon=True),
        ]
        for end in self._sockets:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        """Begin to pass bytes on."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for both threads."""
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def shut(self) -> None:
        """Say to both sides, and to our own threads, that this is the end."""
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _run(self, source: socket.socket, drain: socket.socket, note: Callable[[int], bool]) -> None:
        try:
            self._pass_on(source, drain, note)
        except OSError:  # one side is gone for good, so the other has nobody to speak to
            self.shut()
        with self._changed:
            self._running -= 1
            if self._running:
                return
            self._proxy._links.discard(self)
        for end in self._sockets:
            end.close()

    def _pass_on(self, source: socket.socket, drain: socket.socket, note: Callable[[int], bool]) -> None:
        while chunk := source.recv(CHUNK):
            if not note(len(chunk)):
                return
            drain.sendall(chunk)
        if note(0):
            drain.shutdown(socket.SHUT_WR)  # the other direction may have more to say

    def _note_request(self, size: int) -> bool:
        with self._changed:
            if size and self._asked != self._proxy._mark:
                self._asked = self._proxy._mark
                self._proxy._round_trips += 1
            self._proxy._bytes += size
            return self._may_pass()

    def _note_answer(self, size: int) -> bool:
        with self._changed:
            passes = self._may_pass()
            if size:
                self._asked = ANSWERED
            return passes

    def _may_pass(self) -> bool:
        """Wait, with the lock given back, while the proxy is frozen; say whether there is still a link."""
        self._changed.wait_for(lambda: self.cut or not self._proxy._frozen)
        return not self.cut
