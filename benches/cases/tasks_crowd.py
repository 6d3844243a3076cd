"""1,000 tasks on 10 connections, each held for one turn of the loop: acquires per second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from benches import ours, peers
from benches.fakes import AsyncFakeConnector
from benches.load import run_tasks
from benches.measure import Compare, Figures, Metric
from benches.settings import Case, Settings, Sides

WHAT = "acquires"
TASKS = 1_000
SIZE = 10
SLICE = 1.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """One side's round: all tasks enter, yield once and leave until time is up."""

    runner: asyncio.Runner
    enter: Callable[[], AbstractAsyncContextManager[Any]]
    seconds: float

    def __call__(self) -> Figures:
        """Run one round."""
        return {WHAT: self.runner.run(run_tasks([self._turn] * TASKS, self.seconds)).per_second}

    async def _turn(self) -> None:
        async with self.enter():
            await asyncio.sleep(0)


def prepare(settings: Settings, stack: ExitStack) -> Sides:
    """One pool per side, all on one loop, all connections open."""
    database = settings.database
    runner = stack.enter_context(asyncio.Runner())
    semaphore = asyncio.Semaphore(SIZE)
    forms: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
        "cenote, fake connection": ours.tasks_pool(stack, runner, AsyncFakeConnector(), SIZE).connection,
        "asyncio.Semaphore": lambda: semaphore,
        "cenote on psycopg": ours.tasks_pool(stack, runner, database.url("psycopg"), SIZE).connection,
        "psycopg AsyncConnectionPool": peers.psycopg_tasks(stack, runner, database.dsn, SIZE).connection,
        "cenote on asyncpg": ours.tasks_pool(stack, runner, database.url("asyncpg"), SIZE).connection,
        "asyncpg pool, no reset": peers.asyncpg_pool(stack, runner, database.dsn, SIZE, reset=False).acquire,
        "asyncpg pool": peers.asyncpg_pool(stack, runner, database.dsn, SIZE, reset=True).acquire,
    }
    return {name: Crowd(runner, enter, settings.slice(SLICE)) for name, enter in forms.items()}


CASE = Case(
    key="tasks-crowd",
    title="1,000 tasks on 10 connections",
    metrics=[
        Metric(
            WHAT,
            "/s",
            [
                Compare("cenote on psycopg", "psycopg AsyncConnectionPool", at_least=5),
                Compare("cenote on asyncpg", "asyncpg pool", at_least=5),
                Compare("cenote on asyncpg", "asyncpg pool, no reset"),
                Compare("cenote, fake connection", "asyncio.Semaphore"),
            ],
        )
    ],
    rounds=5,
    prepare=prepare,
)
