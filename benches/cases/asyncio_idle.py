"""asyncio, no contention: the floor with a fake connection, the peers on live ones."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import ExitStack

from benches import loops, ours, peers
from benches.fakes import AsyncFakeConnector, FakeConnection
from benches.measure import Compare, Metric, PerTurn
from benches.settings import Case, Settings, Sides

WHAT = "acquire + release"
SIZE = 4
SLICE = 0.08


def bare_semaphore(runner: asyncio.Runner, size: int) -> loops.Loop:
    """Build the floor: a semaphore around a deque; a pool that promises nothing."""
    idle = deque(FakeConnection() for _ in range(size))
    semaphore = asyncio.Semaphore(size)

    async def turns_of(turns: int) -> None:
        for _ in range(turns):
            async with semaphore:
                connection = idle.pop()
                idle.append(connection)

    return lambda turns: runner.run(turns_of(turns))


def prepare(settings: Settings, stack: ExitStack) -> Sides:
    """One pool per side, all on one loop."""
    database = settings.database
    runner = stack.enter_context(asyncio.Runner())
    fake = ours.tasks_pool(stack, runner, AsyncFakeConnector(), SIZE)
    on_psycopg = ours.tasks_pool(stack, runner, database.url("psycopg"), SIZE)
    on_asyncpg = ours.tasks_pool(stack, runner, database.url("asyncpg"), SIZE)
    psycopg_pool = peers.psycopg_tasks(stack, runner, database.dsn, SIZE)
    asyncpg_bare = peers.asyncpg_pool(stack, runner, database.dsn, SIZE, reset=False)
    asyncpg_pool = peers.asyncpg_pool(stack, runner, database.dsn, SIZE, reset=True)
    forms = {
        "cenote, fake connection": loops.async_with_block(runner, fake.connection),
        "asyncio.Semaphore + deque": bare_semaphore(runner, SIZE),
        "cenote on psycopg": loops.async_with_block(runner, on_psycopg.connection),
        "psycopg AsyncConnectionPool": loops.async_with_block(runner, psycopg_pool.connection),
        "psycopg getconn/putconn": loops.async_get_and_put(
            runner, psycopg_pool.getconn, psycopg_pool.putconn
        ),
        "cenote on asyncpg": loops.async_with_block(runner, on_asyncpg.connection),
        "asyncpg pool, no reset": loops.async_with_block(runner, asyncpg_bare.acquire),
        "asyncpg pool": loops.async_with_block(runner, asyncpg_pool.acquire),
    }
    return {name: PerTurn(WHAT, loop, settings.slice(SLICE)) for name, loop in forms.items()}


CASE = Case(
    key="asyncio",
    title="asyncio, uncontended",
    metrics=[
        Metric(
            WHAT,
            "µs",
            [
                Compare("cenote, fake connection", "asyncio.Semaphore + deque", at_most=2),
                # The peers look at nothing on acquire, so the bar is for the pool without its look, too.
                Compare("cenote, fake connection", "psycopg AsyncConnectionPool", at_least=6),
                Compare("cenote, fake connection", "asyncpg pool, no reset", at_least=15),
                Compare("cenote on psycopg", "psycopg AsyncConnectionPool"),
                Compare("cenote on psycopg", "psycopg getconn/putconn"),
                Compare("cenote on asyncpg", "asyncpg pool, no reset"),
                Compare("cenote on asyncpg", "asyncpg pool"),
            ],
        )
    ],
    rounds=15,
    prepare=prepare,
)
