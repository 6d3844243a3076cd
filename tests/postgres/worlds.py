"""Threads and asyncio as one: a test is written once, as a coroutine, and each world runs it its own way.

In the worlds of tasks a loop runs it. In the worlds of threads nothing it awaits ever suspends, because the
pool and the driver block instead; so a plain thread drives it from beginning to end.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import uvloop

import cenote
from tests.drivers.cases import ask, done

__all__ = [
    "ASYNCPG",
    "TASK_WORLDS",
    "THREAD_WORLDS",
    "WORLDS",
    "World",
    "ask",
    "done",
    "drive",
    "entered",
    "fill",
    "in_worlds",
    "pid_of",
    "query",
]

T = TypeVar("T")
Script = Coroutine[Any, Any, T]

HANG = 60.0  # seconds after which a thread that should have ended is called lost


@dataclass(frozen=True)
class World:
    """One driver in one of the two worlds."""

    name: str
    scheme: str
    pool: Callable[..., Any]
    blocking: bool
    make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop

    def __str__(self) -> str:
        return self.name

    def run(self, script: Script[T]) -> T:
        """Run a coroutine to its end."""
        if self.blocking:
            return drive(script)
        with asyncio.Runner(loop_factory=self.make_loop) as runner:
            return runner.run(script)

    async def crowd(self, *users: Script[T]) -> list[T]:
        """Run all of them at once, each in a thread or a task of its own; raise the first error."""
        if not self.blocking:
            return await asyncio.gather(*users)
        outcomes: list[T | BaseException | None] = [None] * len(users)

        def work(number: int) -> None:
            try:
                outcomes[number] = drive(users[number])
            except BaseException as error:  # noqa: BLE001 - raised again below, in the test
                outcomes[number] = error

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(users))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
            assert not thread.is_alive(), "a user of the pool hangs"
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return outcomes  # type: ignore[return-value]  # no errors are left in it

    async def aside(self, function: Callable[..., T], *args: Any) -> T:
        """Call what blocks and is no part of the pool, without stopping the loop."""
        return function(*args) if self.blocking else await asyncio.to_thread(function, *args)


THREAD_WORLDS = [
    World("psycopg", "postgresql", cenote.Pool, blocking=True),
    World("psycopg2", "postgresql+psycopg2", cenote.Pool, blocking=True),
]
TASK_WORLDS = [
    World("psycopg-async", "postgresql", cenote.AsyncPool, blocking=False),
    World("asyncpg", "postgresql+asyncpg", cenote.AsyncPool, blocking=False),
    World(
        "asyncpg-uvloop",
        "postgresql+asyncpg",
        cenote.AsyncPool,
        blocking=False,
        make_loop=uvloop.new_event_loop,
    ),
]
WORLDS = [*THREAD_WORLDS, *TASK_WORLDS]
ASYNCPG = [world for world in TASK_WORLDS if "asyncpg" in world.scheme]


def in_worlds(worlds: list[World]) -> Callable[[Callable[..., Script[None]]], Callable[..., None]]:
    """Run a test, a coroutine function with an argument `world`, once in each of them."""

    def decorate(test: Callable[..., Script[None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(world: World, **fixtures: Any) -> None:
            world.run(test(world=world, **fixtures))

        once_in_each: Callable[..., None] = pytest.mark.parametrize("world", worlds, ids=str)(run)
        return once_in_each

    return decorate


def drive(script: Script[T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        script.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    script.close()
    raise AssertionError("something waited for a loop in a world of threads")


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Enter a block that may be an async one: a pool, a lease, a transaction."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def pid_of(connection: Any) -> int:
    """Return the number of the server process behind a connection."""
    pid: int = (await ask(connection, "select pg_backend_pid()"))[0][0]
    return pid


async def query(pool: Any, times: int = 1) -> None:
    """Ask the server so many times through the pool."""
    for number in range(times):
        async with entered(pool.connection()) as connection:
            assert await ask(connection, f"select {number}") == [(number,)]


async def fill(pool: Any, count: int, number_of: Callable[[Any], Awaitable[int]] = pid_of) -> list[int]:
    """Leave so many idle connections, all of which have been used; return the server's numbers of them."""
    leases = [await done(pool.acquire()) for _ in range(count)]
    numbers = [await number_of(lease.connection) for lease in leases]
    for lease in leases:
        await done(lease.release())
    assert pool.stats().idle == count
    return numbers
