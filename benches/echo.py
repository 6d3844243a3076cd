"""A server of lines in a process of its own: it sends back what it gets.

Run as a program it listens on a few ports, prints them, and ends when its input does. Its own process, so
that the sides measured share no interpreter lock with it; a few ports, because a side that opens a connection
for every request uses up the addresses that are left for one port.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from benches import cores

HOST = "127.0.0.1"
PORTS = 4
BACKLOG = 1024


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def start(stack: ExitStack) -> list[int]:
    """Start it without TLS, and return its ports."""
    return _start(stack)


def start_tls(stack: ExitStack) -> tuple[list[int], Path]:
    """Start it with TLS, and return its ports and the certificate to trust."""
    from tests.tcp.server import make_certificate

    key, certificate = make_certificate(Path(stack.enter_context(TemporaryDirectory())))
    return _start(stack, key, certificate), certificate


def _start(stack: ExitStack, *files: Path) -> list[int]:
    with cores.of_the_servers():
        process = subprocess.Popen(
            [sys.executable, "-m", "benches.echo", *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    stack.callback(process.wait)
    stack.callback(process.stdin.close)
    with process.stdout:
        return [int(word) for word in process.stdout.readline().split()]


async def serve(files: list[str]) -> None:
    context = None
    if files:
        key, certificate = files
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Echo, HOST, 0, ssl=context, backlog=BACKLOG) for _ in range(PORTS)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1:]))
