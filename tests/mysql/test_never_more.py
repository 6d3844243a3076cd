"""Never more than `max_open` connections as the server counts them, and nothing left running there."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import Any

import pytest

import cenote
from tests.mysql.conftest import Place
from tests.mysql.worlds import TASK_WORLDS, WORLDS, World, ask, done, entered, id_of, in_worlds, query
from tests.postgres.sampler import Watcher
from tests.servers.mariadb import ALIVE

MOST = 4
USERS = 12
OPERATIONS = 25
FAILING = ("error", "kill self")  # only these may raise something


class Sampler(Watcher):
    """Counts a test's connections in the server's list of processes, over and over."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.samples: list[int] = []

    def _look(self, admin: Any) -> None:
        self.samples.append(len(self._place.server._see(admin, self._place.user, ALIVE)))


class Abuse:
    """What users do to a pool, drawn at random from one seed."""

    def __init__(self, world: World, pool: Any) -> None:
        self.world = world
        self.pool = pool
        self.random = Random(42)
        self.kinds = ["query", "slow", "discard", "error", "open", "kill self"]

    async def user(self) -> None:
        for _ in range(OPERATIONS):
            kind = self.random.choice(self.kinds)
            try:
                await self.once(kind)
            except Exception as error:
                if kind not in FAILING or isinstance(error, (cenote.Error, AssertionError)):
                    raise

    async def once(self, kind: str) -> None:
        lease = await done(self.pool.acquire())
        connection = lease.connection
        try:
            if kind == "open":
                await ask(connection, "begin")
            if kind == "error":
                await ask(connection, "select nothing from nowhere")
            if kind == "kill self":
                with suppress(Exception):  # it may still be told so; what it asks for next fails
                    await ask(connection, f"kill connection {await id_of(connection)}")
            if kind == "slow":
                await ask(connection, "select sleep(0.002)")
            assert await ask(connection, "select 1") == [(1,)]
        finally:
            if kind == "discard":
                lease.discard()
            else:
                await done(lease.release())


@in_worlds(WORLDS)
@pytest.mark.filterwarnings("ignore:pool .* rolled back:RuntimeWarning")
async def test_the_server_never_counts_more_than_max_open_whatever_users_do(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=MOST, timeout="60s")) as pool:
        with Sampler(place) as sampler:
            abuse = Abuse(world, pool)
            await world.crowd(*(abuse.user() for _ in range(USERS)))
        assert max(sampler.samples) <= MOST
        assert max(sampler.samples) > 1
        assert (pool.stats().in_use, pool.stats().waiting) == (0, 0)
        await query(pool, 10)


@in_worlds(TASK_WORLDS)
async def test_a_cancelled_statement_ends_on_the_server_and_its_connection_goes(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:

        async def use() -> None:
            async with entered(pool.connection()) as connection:
                await ask(connection, "select sleep(3600)")

        for _ in range(3):
            task = asyncio.create_task(use())
            await world.aside(place.wait_for, 1, "command = 'Query'")
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await query(pool)  # has to wait until the server has let the first one go
            assert place.count() == 1
            assert place.count("command = 'Query'") == 0


@in_worlds(TASK_WORLDS)
async def test_cancelled_at_any_point_a_statement_never_gives_its_answer_to_the_next_user(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=2)) as pool:

        async def use(number: int) -> None:
            async with entered(pool.connection()) as connection:
                assert await ask(connection, f"select {number}") == [(number,)]
                assert await ask(connection, f"select {number}, repeat('x', 70000)") == [
                    (number, "x" * 70000)
                ]

        for turn in range(60):
            task = asyncio.create_task(use(turn))
            for _ in range(turn // 2):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await use(1000 + turn)
