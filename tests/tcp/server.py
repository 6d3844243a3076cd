"""A server of lines in threads: it answers each line with the same line, and misbehaves when told.

A line that begins with one of these words is a command::

    bye       answer and close, both in one segment: whoever has read the answer can see the end
    twice     answer twice, in one segment
    half      answer with the first half of the line and no end, then say nothing more
    mute      say nothing at all
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cenote.testing import SAFETY

_MORE = getattr(socket, "MSG_MORE", 0)  # hold the bytes back, so that what follows goes with them


class LineServer:
    """Listens on a port of 127.0.0.1, or on a Unix path.

    Args:
        path: of a Unix socket, instead of a port.
        tls: how to speak TLS, if at all.
        hangs_up: asked after each answer; true closes the connection together with it.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        path: Path | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        hangs_up: Callable[[], bool] | None = None,
    ) -> None:
        self.path = path
        self._tls = tls
        self._hangs_up = hangs_up
        self._changed = threading.Condition()
        self._open: dict[socket.socket, None] = {}
        self.accepted = 0
        self.peak = 0
        self.asked = 0
        self.silent = False
        """Set to answer nobody any more, as a peer whose packets are lost."""
        self._listening = True
        if path is None:
            self._listener = socket.create_server((self.host, 0), backlog=512)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(512)
        self._acceptor = threading.Thread(target=self._accept, name="line-server", daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The address, without parameters."""
        if self.path is not None:
            return f"unix://{self.path}"
        return f"{'tcp' if self._tls is None else 'tls'}://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ends(self) -> list[socket.socket]:
        """The server's ends of the open connections, the oldest first."""
        with self._changed:
            return list(self._open)

    def wait_for(self, count: int) -> None:
        """Return when so many connections are open here."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._open) == count, SAFETY), len(self._open)

    def wait_for_requests(self, count: int) -> None:
        """Return when so many lines have come in."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked >= count, SAFETY), self.asked

    def say(self, words: bytes) -> None:
        """Say something on every connection that nobody asked for."""
        for end in self.ends():
            end.sendall(words)

    def hang_up(self, ends: Iterable[socket.socket] | None = None) -> None:
        """Close connections, all if none are named."""
        for end in self.ends() if ends is None else ends:
            self._forget(end)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all and stop listening."""
        self._listening = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(SAFETY)
        self._listener.close()
        self.hang_up()
        self.wait_for(0)

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                if not self._listening:
                    end.close()
                    return
                self.accepted += 1
                self._open[end] = None
                self.peak = max(self.peak, len(self._open))
                self._changed.notify_all()
            threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        secured = end
        try:
            if self._tls is not None:
                secured = self._tls.wrap_socket(end, server_side=True)
                with self._changed:
                    self._open[secured] = self._open.pop(end)
            self._answer(secured)
        except OSError:
            pass
        finally:
            self._forget(secured)
            self._forget(end)
            secured.close()

    def _forget(self, end: socket.socket) -> None:
        """Count a connection no more, before its client can see that it ends."""
        with self._changed:
            self._open.pop(end, None)
            self._changed.notify_all()

    def _answer(self, end: socket.socket) -> None:
        rest = b""
        while chunk := end.recv(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                with self._changed:
                    self.asked += 1
                    self._changed.notify_all()
                if self.silent:
                    continue
                if line.startswith(b"twice"):
                    end.sendall(line + b"\n" + line + b"\n")
                elif line.startswith(b"half"):
                    end.sendall(line[: len(line) // 2])
                elif line.startswith(b"bye") or (self._hangs_up is not None and self._hangs_up()):
                    self._forget(end)
                    _answer_and_close(end, line + b"\n")
                    return
                elif not line.startswith(b"mute"):
                    end.sendall(line + b"\n")


def _answer_and_close(end: socket.socket, answer: bytes) -> None:
    """Send the answer, TLS's goodbye if there is TLS, and the end of the stream, all in one segment."""
    if isinstance(end, ssl.SSLSocket):
        if hasattr(socket, "TCP_CORK"):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # until the end of the stream
        end.sendall(answer)
        end.settimeout(0)
        with suppress(ssl.SSLWantReadError):  # the goodbye was sent, and the client's is not waited for
            end.unwrap()
    else:
        end.send(answer, _MORE)
    end.shutdown(socket.SHUT_WR)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key, and with it the certificate of 127.0.0.1 and of lines.example."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lines"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:lines.example"]
    subprocess.run(
        [*command.split(), *names, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    return key, certificate


def ask(connection: socket.socket, line: str) -> str:
    """Send a line and read one line, byte for byte what the server answers."""
    connection.sendall(f"{line}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        answer += chunk
    return answer.decode().removesuffix("\n")


async def ask_async(connection: Any, line: str) -> str:
    """Do the same in asyncio."""
    reader, writer = connection
    writer.write(f"{line}\n".encode())
    answer: bytes = await reader.readuntil(b"\n")
    return answer.decode().removesuffix("\n")


def see(connection: socket.socket) -> None:
    """Return when there is something to see on a socket: bytes, or its end."""
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN | select.POLLRDHUP)
    assert poller.poll(SAFETY * 1000)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(SAFETY):
        while not condition():  # noqa: ASYNC110 - what is waited for is the loop's own doing, and sets no event
            await asyncio.sleep(0)
