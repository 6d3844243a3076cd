"""Redis under asyncio: what an acquire costs, and 1,000 tasks on 10 connections, beside redis-py's pools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import redis.asyncio

import cenote.redis
from benches.cases.redis_threads import start_redis
from benches.load import run_tasks
from benches.measure import Compare, Figures, Metric, PerTurn
from benches.settings import Case, Settings, Sides

ACQUIRE = "get_connection + release"
RATE = "commands"
TASKS = 1_000
SIZE = 10
SLICE = 0.08
CROWD_SLICE = 2.0

OURS, BLOCKING, PLAIN = "cenote.redis", "redis-py BlockingConnectionPool", "redis-py ConnectionPool"


def pools(stack: ExitStack, runner: asyncio.Runner) -> dict[str, Any]:
    """One pool per side, all on one loop, all connections open."""
    url = start_redis(stack)
    sides: dict[str, Any] = {
        OURS: cenote.redis.AsyncConnectionPool.from_url(url, max_open=SIZE, timeout=60),
        BLOCKING: redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=SIZE, timeout=60),
        PLAIN: redis.asyncio.ConnectionPool.from_url(url, max_connections=SIZE),
    }

    async def fill(pool: Any) -> None:
        for connection in [await pool.get_connection() for _ in range(SIZE)]:
            await pool.release(connection)

    for pool in sides.values():
        stack.callback(lambda pool=pool: runner.run(pool.aclose()))
        runner.run(fill(pool))
    return sides


def turns_of(runner: asyncio.Runner, pool: Any) -> Callable[[int], None]:
    """Take a connection and bring it back."""

    async def loop(turns: int) -> None:
        take, release = pool.get_connection, pool.release
        for _ in range(turns):
            await release(await take())

    return lambda turns: runner.run(loop(turns))


def prepare_acquire(settings: Settings, stack: ExitStack) -> Sides:
    """Nobody else is there."""
    runner = stack.enter_context(asyncio.Runner())
    sides = pools(stack, runner).items()
    return {name: PerTurn(ACQUIRE, turns_of(runner, pool), settings.slice(SLICE)) for name, pool in sides}


@dataclass(frozen=True, slots=True)
class Crowd:
    """One side's round: all tasks give one command after the other until time is up."""

    runner: asyncio.Runner
    client: Any
    seconds: float

    def __call__(self) -> Figures:
        """Run one round."""
        return {RATE: self.runner.run(run_tasks([self._turn] * TASKS, self.seconds)).per_second}

    async def _turn(self) -> None:
        await self.client.get("bench")


def prepare_crowd(settings: Settings, stack: ExitStack) -> Sides:
    """The sides that wait for a connection."""
    runner = stack.enter_context(asyncio.Runner())
    made = pools(stack, runner)
    return {
        name: Crowd(runner, redis.asyncio.Redis(connection_pool=made[name]), settings.slice(CROWD_SLICE))
        for name in (OURS, BLOCKING)
    }


ACQUIRE_CASE = Case(
    key="redis-acquire-tasks",
    title="redis-py's pool interface in asyncio, uncontended, liveness checked",
    metrics=[
        Metric(ACQUIRE, "µs", [Compare(OURS, BLOCKING, at_least=5), Compare(OURS, PLAIN)]),
    ],
    rounds=15,
    prepare=prepare_acquire,
)
CROWD_CASE = Case(
    key="redis-tasks",
    title="1,000 tasks on 10 connections, GET through redis-py's client",
    metrics=[Metric(RATE, "/s", [Compare(OURS, BLOCKING, at_least=1.3)])],
    rounds=5,
    prepare=prepare_crowd,
)
CASES = (ACQUIRE_CASE, CROWD_CASE)
