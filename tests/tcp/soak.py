"""Requests by many callers through few connections, while the server closes connections between requests.

It does so in two ways. Together with an answer: then the end is there when the answer has been read. And on
connections that nobody uses: for that all callers pause between two requests, so that no request can be under
way when the end is sent; nobody can promise anything for one that crosses an end on the wire.

Run it at length with ``python -m tests.tcp.soak``: by threads and by tasks, plain and with TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import select
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, NamedTuple, Self

from cenote import AsyncPool, Pool, Stats
from cenote.testing import SAFETY
from tests.tcp.server import LineServer, ask, ask_async, make_certificate

CONNECTIONS = 8
ROUND = 2_000
"""So many requests between two pauses."""


class Report(NamedTuple):
    """What came of it."""

    right: int
    errors: list[str]
    hung_up_with_an_answer: int
    hung_up_while_idle: int
    peak: int
    connections: int
    given_up: int
    """Closed by the pool: ended by the server, or under suspicion since two others were."""


class Secured(NamedTuple):
    """How the server speaks TLS, and whom its clients trust."""

    context: ssl.SSLContext
    certificate: Path

    @classmethod
    def with_files(cls, key: Path, certificate: Path) -> Self:
        """Load them."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        return cls(context, certificate)


class Chance:
    """Closes a share of the connections, always the same ones in the order of asking."""

    def __init__(self, seed: int, share: float) -> None:
        self._random = Random(seed)
        self._share = share
        self._lock = threading.Lock()
        self.count = 0

    def __call__(self) -> bool:
        with self._lock:
            hit = self._random.random() < self._share
            self.count += hit
            return hit


def hang_up_idle(pool: Any, server: LineServer, random: Random) -> int:
    """Close some connections from the server's side, and return when their ends have arrived here."""
    ends = random.sample(server.ends(), k=min(random.randint(1, CONNECTIONS), len(server.ends())))
    ports = {end.getpeername()[1] for end in ends}
    watched = []
    for slot in [slot for lane in pool._core.lanes.values() for slot in lane.idle]:
        connection = slot.connection
        sock = connection[1].get_extra_info("socket") if isinstance(connection, tuple) else connection
        if sock.getsockname()[1] in ports:
            watched.append(sock.fileno())
    server.hang_up(ends)
    for number in watched:
        poller = select.poll()
        poller.register(number, select.POLLRDHUP)  # the end alone: TLS may have something else to read
        assert poller.poll(SAFETY * 1000)
    return len(watched)


def serve(chance: Chance, tls: Secured | None) -> tuple[LineServer, str]:
    """Start the server, and return it with the URL of a pool."""
    if tls is None:
        server = LineServer(hangs_up=chance)
        return server, server.url
    server = LineServer(hangs_up=chance, tls=tls.context)
    return server, f"{server.url}?ssl_ca={tls.certificate}"


def in_threads(
    requests: int, callers: int, seed: int, share: float = 0.01, tls: Secured | None = None
) -> Report:
    """Let threads do it."""
    chance, random, errors = Chance(seed, share), Random(seed), list[str]()
    right = [0] * callers
    idle = 0

    def caller(number: int, pool: Pool[socket.socket], barrier: threading.Barrier, rounds: list[int]) -> None:
        for size in rounds:
            for nth in range(number, size, callers):
                try:
                    with pool.connection() as connection:
                        right[number] += ask(connection, f"{number} {nth}") == f"{number} {nth}"
                except Exception as error:  # noqa: BLE001 - any is one too many
                    errors.append(repr(error))
            barrier.wait()  # all have ended their round
            barrier.wait()  # the server has closed what it wanted to

    server, url = serve(chance, tls)
    with server, Pool(url, max_open=CONNECTIONS, timeout=SAFETY) as pool:
        rounds = sizes(requests)
        barrier = threading.Barrier(callers + 1)
        threads = [
            threading.Thread(target=caller, args=(number, pool, barrier, rounds), daemon=True)
            for number in range(callers)
        ]
        for thread in threads:
            thread.start()
        for _ in rounds:
            barrier.wait()
            idle += hang_up_idle(pool, server, random)
            barrier.wait()
        for thread in threads:
            thread.join()
        return Report(
            sum(right), errors, chance.count, idle, server.peak, server.accepted, given_up(pool.stats())
        )


async def in_tasks(
    requests: int, callers: int, seed: int, share: float = 0.01, tls: Secured | None = None
) -> Report:
    """Let tasks do it."""
    chance, random, errors = Chance(seed, share), Random(seed), list[str]()
    right = idle = 0

    async def caller(number: int, size: int) -> None:
        nonlocal right
        for nth in range(number, size, callers):
            try:
                async with pool.connection() as connection:
                    answer = await ask_async(connection, f"{number} {nth}")
                right += answer == f"{number} {nth}"
            except Exception as error:  # noqa: BLE001 - any is one too many
                errors.append(repr(error))

    server, url = serve(chance, tls)
    with server:
        async with AsyncPool(url, max_open=CONNECTIONS, timeout=SAFETY) as pool:
            for size in sizes(requests):
                await asyncio.gather(*(caller(number, size) for number in range(callers)))
                idle += hang_up_idle(pool, server, random)
        return Report(right, errors, chance.count, idle, server.peak, server.accepted, given_up(pool.stats()))


def given_up(stats: Stats) -> int:
    """So many the pool did not keep."""
    return stats.dead_on_acquire + stats.dead_on_keepalive + stats.discarded


def sizes(requests: int) -> list[int]:
    """Divide the requests into rounds."""
    full, rest = divmod(requests, ROUND)
    return [ROUND] * full + [rest] * bool(rest)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run at length and print what came of it; 1 if anything was not as it should be."""
    command = argparse.ArgumentParser(
        prog="python -m tests.tcp.soak", description="Many requests, no errors."
    )
    command.add_argument("--requests", type=int, default=100_000, metavar="N", help="in each run")
    kinds = command.add_mutually_exclusive_group()
    kinds.add_argument("--plain", action="store_true", help="without TLS only")
    kinds.add_argument("--tls", action="store_true", help="with TLS only")
    choices = command.parse_args(arguments)
    failed = False
    with ExitStack() as stack:
        securities: list[Secured | None] = [] if choices.tls else [None]
        if not choices.plain:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            securities.append(Secured.with_files(*make_certificate(folder)))
        for tls in securities:
            for callers in (32, 1_000):
                failed |= not show(choices.requests, callers, tls)
    return failed


def show(requests: int, callers: int, tls: Secured | None) -> bool:
    """Make one run, by threads if the callers are few, and print a line; say whether all was well."""
    started = monotonic()
    if callers < 1_000:
        report = in_threads(requests, callers, seed=1, tls=tls)
    else:
        report = asyncio.run(in_tasks(requests, callers, seed=2, tls=tls))
    print(  # noqa: T201 - a command prints
        f"{callers:,} {'threads' if callers < 1_000 else 'tasks'}{' with TLS' if tls else ''}: "
        f"{report.right:,} of {requests:,} requests answered rightly, {len(report.errors)} errors, "
        f"{report.connections:,} connections made, {monotonic() - started:.1f} s; "
        f"the server closed {report.hung_up_with_an_answer:,} with an answer and "
        f"{report.hung_up_while_idle:,} while idle, and never had more than {report.peak}",
        flush=True,
    )
    for error in sorted(set(report.errors)):
        print(f"  {error}")  # noqa: T201 - as above
    return not report.errors and report.right == requests and report.peak <= CONNECTIONS


if __name__ == "__main__":
    sys.exit(main())
