"""32 tasks, 10 connections, INSERT by asyncpg under uvloop: how much of the driver's speed is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg
import uvloop

from benches import ours, peers
from benches.bare import TaskQueue
from benches.database import Database
from benches.load import AsyncTurn, run_tasks
from benches.measure import Compare, Figures, Metric
from benches.settings import Case, Settings, Sides

WHAT = "INSERTs"
TASKS = 32
SIZE = 10
SLICE = 1.5
NOTE = "a note of ordinary length"
INSERT = "insert into bench (worker, note) values ($1, $2)"


@dataclass(frozen=True, slots=True)
class Inserting:
    """One side's round, into an empty table."""

    runner: asyncio.Runner
    turns: Sequence[AsyncTurn]
    database: Database
    seconds: float

    def __call__(self) -> Figures:
        """Run one round."""
        self.database.empty_table()
        return {WHAT: self.runner.run(run_tasks(self.turns, self.seconds)).per_second}


def by_hand(connection: asyncpg.Connection, worker: int) -> AsyncTurn:
    """Insert by a connection of one's own: what the driver and the server can do."""

    async def turn() -> None:
        await connection.execute(INSERT, worker, NOTE)

    return turn


def by_pool(enter: Callable[[], AbstractAsyncContextManager[Any]], worker: int) -> AsyncTurn:
    """Take a connection for every row in an ``async with`` block."""

    async def turn() -> None:
        async with enter() as connection:
            await connection.execute(INSERT, worker, NOTE)

    return turn


def prepare(settings: Settings, stack: ExitStack) -> Sides:
    """One crew of tasks per side, all on one loop."""
    database = settings.database
    runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
    pool = ours.tasks_pool(stack, runner, database.url("asyncpg"), SIZE)
    lenient = peers.asyncpg_pool(stack, runner, database.dsn, SIZE, reset=False)
    resetting = peers.asyncpg_pool(stack, runner, database.dsn, SIZE, reset=True)
    connections = [peers.asyncpg_connection(stack, runner, database.dsn) for _ in range(SIZE)]
    bare = TaskQueue(connections, runner.get_loop())
    crews = {
        "cenote": [by_pool(pool.connection, worker) for worker in range(TASKS)],
        "10 tasks by hand": [by_hand(connection, worker) for worker, connection in enumerate(connections)],
        "a bare queue": [by_pool(bare.connection, worker) for worker in range(TASKS)],
        "asyncpg pool, no reset": [by_pool(lenient.acquire, worker) for worker in range(TASKS)],
        "asyncpg pool": [by_pool(resetting.acquire, worker) for worker in range(TASKS)],
    }
    return {name: Inserting(runner, crew, database, settings.slice(SLICE)) for name, crew in crews.items()}


CASE = Case(
    key="tasks-insert",
    title="32 tasks, 10 connections, INSERT by asyncpg under uvloop",
    metrics=[
        Metric(
            WHAT,
            "/s",
            [
                Compare("cenote", "10 tasks by hand", at_least=0.85, aim="≥ 0.95"),
                Compare("cenote", "asyncpg pool, no reset", at_least=1.5),
                Compare("cenote", "asyncpg pool", at_least=2.4),
                Compare("a bare queue", "10 tasks by hand"),
                Compare("a bare queue", "asyncpg pool, no reset"),
                Compare("a bare queue", "asyncpg pool"),
                Compare("10 tasks by hand", "asyncpg pool, no reset"),
                Compare("10 tasks by hand", "asyncpg pool"),
            ],
        )
    ],
    rounds=5,
    prepare=prepare,
)
