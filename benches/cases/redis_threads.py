"""Redis under threads: what an acquire costs, and 64 threads on 8 connections beside redis-py's own pools."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import redis

import cenote.redis
from benches import cores
from benches.load import run_threads
from benches.measure import Compare, Figures, Metric, PerTurn
from benches.settings import Case, Settings, Sides

ACQUIRE = "get_connection + release"
RATE, UNFAIR = "commands", "busiest / least served thread"
THREADS = 64
SIZE = 8
SLICE = 0.08
CROWD_SLICE = 3.0

OURS, BLOCKING, PLAIN = "cenote.redis", "redis-py BlockingConnectionPool", "redis-py ConnectionPool"


def start_redis(stack: ExitStack) -> str:
    """Start a private server, and return its URL."""
    from tests.servers.redis import RedisServer

    with cores.of_the_servers():
        return stack.enter_context(RedisServer()).url()


def pools(stack: ExitStack) -> dict[str, Any]:
    """One pool per side, all connections open."""
    url = start_redis(stack)
    sides: dict[str, Any] = {
        OURS: cenote.redis.ConnectionPool.from_url(url, max_open=SIZE, timeout=60),
        BLOCKING: redis.BlockingConnectionPool.from_url(url, max_connections=SIZE, timeout=60),
        PLAIN: redis.ConnectionPool.from_url(url, max_connections=SIZE),
    }
    for pool in sides.values():
        stack.callback(pool.disconnect)
        for connection in [pool.get_connection() for _ in range(SIZE)]:
            pool.release(connection)
    return sides


def turns_of(pool: Any) -> Callable[[int], None]:
    """Take a connection and bring it back."""

    def loop(turns: int) -> None:
        take, release = pool.get_connection, pool.release
        for _ in range(turns):
            release(take())

    return loop


def prepare_acquire(settings: Settings, stack: ExitStack) -> Sides:
    """Nobody else is there."""
    sides = pools(stack).items()
    return {name: PerTurn(ACQUIRE, turns_of(pool), settings.slice(SLICE)) for name, pool in sides}


@dataclass(slots=True)
class Crowd:
    """One side's round: all threads give one command after the other until time is up."""

    client: Any
    seconds: float

    def __call__(self) -> Figures:
        """Run one round."""
        load = run_threads([self._turn] * THREADS, self.seconds)
        return {RATE: load.per_second, UNFAIR: load.unfairness}

    def _turn(self) -> None:
        self.client.get("bench")


def prepare_crowd(settings: Settings, stack: ExitStack) -> Sides:
    """The sides that wait for a connection."""
    made = pools(stack)
    seconds = settings.slice(CROWD_SLICE)
    return {name: Crowd(redis.Redis(connection_pool=made[name]), seconds) for name in (OURS, BLOCKING)}


ACQUIRE_CASE = Case(
    key="redis-acquire",
    title="redis-py's pool interface in threads, uncontended, liveness checked",
    metrics=[
        Metric(ACQUIRE, "µs", [Compare(OURS, BLOCKING, at_least=5), Compare(OURS, PLAIN, at_least=5)]),
    ],
    rounds=15,
    prepare=prepare_acquire,
)
CROWD_CASE = Case(
    key="redis-threads",
    title="64 threads on 8 connections, GET through redis-py's client",
    metrics=[
        Metric(RATE, "/s", [Compare(OURS, BLOCKING, at_least=1.4)]),
        Metric(UNFAIR, "times", [Compare(OURS, None, at_most=1.1), Compare(OURS, BLOCKING)]),
    ],
    rounds=5,
    prepare=prepare_crowd,
)
CASES = (ACQUIRE_CASE, CROWD_CASE)
