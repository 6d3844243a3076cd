"""Promise 1: never more than `max_open` connections, as the server counts them, whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import Any

import pytest

import cenote
from cenote.drivers import async_connector_for, connector_for
from tests.postgres.conftest import Place, stopped
from tests.postgres.sampler import Sampler
from tests.postgres.worlds import WORLDS, World, ask, done, entered, in_worlds, pid_of, query

USERS = 16
OPERATIONS = 40
FAILING = 0.15  # of the dials
LIMITS = (4, 2, 7, 1, 5, 3)
PASSING = (cenote.ConnectError, cenote.PoolTimeout)


class Unreliable:
    """A connector like the one it stands for, whose dials fail at random."""

    def __init__(self, connector: Any, random: Random) -> None:
        self._connector = connector
        self._random = random

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connector, name)

    def _draw(self) -> None:
        if self._random.random() < FAILING:
            raise ConnectionRefusedError("refused at random")


class UnreliableThreads(Unreliable):
    """... for threads."""

    def connect(self, timeout: float) -> Any:
        """Connect, or not."""
        self._draw()
        return self._connector.connect(timeout)

    def close(self, connection: Any) -> None:
        """Close it."""
        self._connector.close(connection)


class UnreliableTasks(Unreliable):
    """... for tasks."""

    async def connect(self, timeout: float) -> Any:
        """Connect, or not."""
        self._draw()
        return await self._connector.connect(timeout)

    async def close(self, connection: Any) -> None:
        """Close it."""
        await self._connector.close(connection)


def unreliable(world: World, place: Place, random: Random) -> Any:
    """Make the connector of a world, and make it fail."""
    if world.blocking:
        return UnreliableThreads(connector_for(place.url(world)), random)
    return UnreliableTasks(async_connector_for(place.url(world)), random)


class Abuse:
    """What users, operators and networks do to a pool, drawn at random from one seed."""

    def __init__(self, world: World, place: Place, pool: Any, sampler: Sampler, seed: int) -> None:
        self.world = world
        self.place = place
        self.pool = pool
        self.sampler = sampler
        self.random = Random(seed)
        self.kinds = ["query", "slow", "discard", "error", "open", "kill self"]
        self.kinds += [] if world.blocking else ["cancel", "cancel"]

    async def user(self) -> None:
        """Use the pool, well or badly; only what was to be expected may go wrong."""
        for _ in range(OPERATIONS):
            kind = self.random.choice(self.kinds)
            await (self.cancelled() if kind == "cancel" else self.attempt(kind))

    async def cancelled(self) -> None:
        """Begin to use one connection, and be cancelled somewhere on the way."""
        task = asyncio.create_task(self.attempt("slow"))
        for _ in range(self.random.randrange(100)):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def attempt(self, kind: str) -> None:
        """Use one connection; what was asked for may go wrong."""
        try:
            await self.once(kind)
        except PASSING:
            return
        except Exception as error:
            if not is_expected(error):
                raise

    async def once(self, kind: str) -> None:
        """Use one connection."""
        lease = await done(self.pool.acquire())
        connection = lease.connection
        try:
            if kind == "open":
                await ask(connection, "begin")
            if kind == "error":
                await ask(connection, "select 1/0")
            if kind == "kill self":
                await ask(connection, "select pg_terminate_backend(pg_backend_pid())")
            if kind == "slow":
                await ask(connection, "select pg_sleep(0.002)")
            assert await ask(connection, "select 1") == [(1,)]
        finally:
            if kind == "discard":
                lease.discard()
            else:
                await done(lease.release())

    async def operator(self) -> None:
        """Resize, kill and limit, as often as there are limits to try."""
        with self.place.server.admin() as admin:
            for _ in range(3):
                for limit in LIMITS:
                    self.sampler.resize(limit)
                    await self.world.aside(
                        admin.execute,
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where application_name = %s and random() < 0.4",
                        (self.place.name,),
                    )
                    # A use between two acts, so that they fall among those of the others.
                    await self.attempt("query")


# The last is how asyncpg says that a connection with which it is waiting for nothing was ended.
EXPECTED = ("terminat", "closed", "lost", "reset", "shutdown", "division by zero", "another operation (2)")


def is_expected(error: Exception) -> bool:
    """Whether an error says that the server ended the connection, or what the statement was made for."""
    text = f"{type(error).__name__} {error}".lower()
    return any(words in text for words in EXPECTED)


@in_worlds(WORLDS)
@pytest.mark.filterwarnings("ignore:pool .* rolled back:RuntimeWarning")
async def test_the_server_never_counts_more_than_max_open_whatever_happens(
    world: World, place: Place
) -> None:
    random = Random(4711)
    pool = world.pool(unreliable(world, place, random), name="abused", max_open=LIMITS[0], timeout="60s")
    async with entered(pool):
        with Sampler(place, pool) as sampler:
            abuse = Abuse(world, place, pool, sampler, seed=42)
            await world.crowd(*(abuse.user() for _ in range(USERS)), abuse.operator())
        assert sampler.excesses == []
        assert sampler.samples > 50
        assert sampler.most > 1
        stats = pool.stats()
        assert (stats.in_use, stats.waiting, stats.timeout_count) == (0, 0, 0)
        assert stats.connect_errors > 0


@in_worlds(WORLDS)
async def test_a_place_is_free_only_when_the_server_has_let_go(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        lease = await done(pool.acquire())
        with stopped(await pid_of(lease.connection)):
            lease.discard()
            with pytest.raises(cenote.PoolTimeout, match="closing 1"):
                await done(pool.acquire("200ms"))
            assert place.backends() == 1
        await query(pool)
        assert place.backends() == 1
