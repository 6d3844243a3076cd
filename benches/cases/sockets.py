"""Plain sockets: requests of a line by a crowd through 8 connections, beside a connection for each request.

The peer is what one writes without a pool: connect, ask, close. It speaks to a few ports in turn, and under
asyncio has at most as many connections at once as the pool: more would wait in line at the server's door,
some for a second. With TLS its context is made once, as ours is, and each connection shakes hands in full.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from typing import Any

from benches.echo import HOST, start, start_tls
from benches.load import run_tasks, run_threads
from benches.measure import Compare, Figures, Metric
from benches.ours import tasks_pool, threads_pool
from benches.settings import Case, Settings, Sides

RATE = "requests"
THREADS = 32
TASKS = 1_000
SIZE = 8
SLICE = 2.0
LINE = b"a line of forty bytes, all of them the same\n"

OURS, PEER, HAND = "cenote", "a connection per request", "by hand, 8 with a connection each"


def begin(stack: ExitStack, tls: bool) -> tuple[str, list[int], ssl.SSLContext | None]:
    """Start the server; return the pool's URL, and what the peer needs."""
    if not tls:
        ports = start(stack)
        return f"tcp://{HOST}:{ports[0]}", ports, None
    ports, certificate = start_tls(stack)
    context = ssl.create_default_context(cafile=str(certificate))
    return f"tls://{HOST}:{ports[0]}?ssl_ca={certificate}", ports, context


# ── threads ─────────────────────────────────────────────────────────────────────────────────────


def ask(sock: socket.socket) -> None:
    """Send a line and read one."""
    sock.sendall(LINE)
    answer = sock.recv(4096)
    while not answer.endswith(b"\n"):
        chunk = sock.recv(4096)
        if not chunk:
            raise ConnectionError
        answer += chunk


def dial(port: int, context: ssl.SSLContext | None) -> socket.socket:
    """Open a connection as ours are."""
    sock = socket.create_connection((HOST, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock if context is None else context.wrap_socket(sock, server_hostname=HOST)


def threads(settings: Settings, stack: ExitStack, *, tls: bool) -> Sides:
    """The sides that block."""
    url, ports, context = begin(stack, tls)
    pool = threads_pool(stack, url, SIZE)
    turn = cycle(ports)
    held = [stack.enter_context(dial(ports[0], context)) for _ in range(SIZE)]

    def pooled() -> None:
        with pool.connection() as sock:
            ask(sock)

    def alone() -> None:
        with dial(next(turn), context) as sock:
            ask(sock)

    seconds = settings.slice(SLICE)

    def measured(turns: list[Callable[[], None]]) -> Figures:
        return {RATE: run_threads(turns, seconds).per_second}

    return {
        OURS: partial(measured, [pooled] * THREADS),
        PEER: partial(measured, [alone] * THREADS),
        HAND: partial(measured, [partial(ask, sock) for sock in held]),
    }


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────


async def ask_async(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a line and read one."""
    writer.write(LINE)
    await reader.readuntil(b"\n")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close as asyncio's documentation says."""
    writer.close()
    await writer.wait_closed()


def tasks(settings: Settings, stack: ExitStack, *, tls: bool) -> Sides:
    """The sides that await."""
    url, ports, context = begin(stack, tls)
    runner = stack.enter_context(asyncio.Runner())
    pool: Any = tasks_pool(stack, runner, url, SIZE)
    turn = cycle(ports)
    few = asyncio.Semaphore(SIZE)
    dial = partial(asyncio.open_connection, HOST, ssl=context)
    held = [runner.run(dial(port=ports[0])) for _ in range(SIZE)]
    for _, writer in held:
        stack.callback(lambda writer=writer: runner.run(hang_up(writer)))

    async def pooled() -> None:
        async with pool.connection() as (reader, writer):
            await ask_async(reader, writer)

    async def alone() -> None:
        async with few:
            reader, writer = await dial(port=next(turn))
            await ask_async(reader, writer)
            await hang_up(writer)

    seconds = settings.slice(SLICE)

    def measured(turns: list[Any]) -> Figures:
        return {RATE: runner.run(run_tasks(turns, seconds)).per_second}

    return {
        OURS: partial(measured, [pooled] * TASKS),
        PEER: partial(measured, [alone] * TASKS),
        HAND: partial(measured, [partial(ask_async, *pair) for pair in held]),
    }


def case(key: str, who: str, prepare: Any, *, tls: bool, at_least: float) -> Case:
    """Word a case."""
    return Case(
        key=f"{key}-tls" if tls else key,
        title=f"{who} on 8 connections, a line there and back{' by TLS' if tls else ''}",
        metrics=[Metric(RATE, "/s", [Compare(OURS, PEER, at_least=at_least), Compare(OURS, HAND)])],
        rounds=5,
        prepare=partial(prepare, tls=tls),
    )


CASES = (
    case("sockets-threads", "32 threads", threads, tls=False, at_least=1.5),
    case("sockets-tasks", "1,000 tasks", tasks, tls=False, at_least=2),
    case("sockets-threads", "32 threads", threads, tls=True, at_least=5),
    case("sockets-tasks", "1,000 tasks", tasks, tls=True, at_least=5),
)
