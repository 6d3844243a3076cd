"""Requests by many callers through few connections, while the server closes connections between requests.

It does so in two ways. Together with an answer: then the end is there when the answer has been read. And on
connections that nobody uses: for that all callers pause between two requests, so that no request can be under
way when the end is sent; nobody can promise anything for one that crosses an end on the wire.

Run it at length with ``python -m tests.tcp.soak``.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import threading
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import Any, NamedTuple

from cenote import AsyncPool, Pool
from cenote.testing import SAFETY
from tests.tcp.server import LineServer, ask, ask_async

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
        poller.register(number, select.POLLIN | select.POLLRDHUP)
        assert poller.poll(SAFETY * 1000)
    return len(watched)


def in_threads(requests: int, callers: int, seed: int, share: float = 0.01) -> Report:
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

    with (
        LineServer(hangs_up=chance) as server,
        Pool(server.url, max_open=CONNECTIONS, timeout=SAFETY) as pool,
    ):
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
        return Report(sum(right), errors, chance.count, idle, server.peak)


async def in_tasks(requests: int, callers: int, seed: int, share: float = 0.01) -> Report:
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

    with LineServer(hangs_up=chance) as server:
        async with AsyncPool(server.url, max_open=CONNECTIONS, timeout=SAFETY) as pool:
            for size in sizes(requests):
                await asyncio.gather(*(caller(number, size) for number in range(callers)))
                idle += hang_up_idle(pool, server, random)
        return Report(right, errors, chance.count, idle, server.peak)


def sizes(requests: int) -> list[int]:
    """Divide the requests into rounds."""
    full, rest = divmod(requests, ROUND)
    return [ROUND] * full + [rest] * bool(rest)


def main(requests: int = 100_000) -> int:
    """Run at length and print what came of it."""
    runs: list[tuple[str, Callable[[], Report]]] = [
        ("32 threads", lambda: in_threads(requests, 32, seed=1)),
        ("1,000 tasks", lambda: asyncio.run(in_tasks(requests, 1_000, seed=2))),
    ]
    failed = False
    for name, run in runs:
        started = monotonic()
        report = run()
        failed |= bool(report.errors) or report.right != requests or report.peak > CONNECTIONS
        print(  # noqa: T201 - a command prints
            f"{name}: {report.right:,} of {requests:,} answered rightly, {len(report.errors)} errors; "
            f"the server closed {report.hung_up_with_an_answer:,} with an answer and "
            f"{report.hung_up_while_idle:,} while idle, and never had more than {report.peak}; "
            f"{monotonic() - started:.1f} s"
        )
        for error in sorted(set(report.errors)):
            print(f"  {error}")  # noqa: T201 - as above
    return failed


if __name__ == "__main__":
    sys.exit(main())
