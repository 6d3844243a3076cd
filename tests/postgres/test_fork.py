"""A forked child goes on with the same pool object and its own connections; the parent notices nothing."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from tests.postgres.conftest import Place
from tests.postgres.worlds import WORLDS, World, ask, done, entered, fill, in_worlds, pid_of, query

HANG = 60  # seconds after which a child that should have ended is ended


def in_child(world: World, script: Callable[[], Coroutine[Any, Any, list[int]]]) -> list[int]:
    """Fork, run a script in the child, and return the numbers it found."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Newer Pythons warn of a fork while there are threads; that is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(HANG)
            numbers = world.run(script())
            os.write(writing, " ".join(map(str, numbers)).encode())
            status = 0
        except BaseException:  # noqa: BLE001 - the child must end here, whatever happens
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as answer:
        numbers = [int(word) for word in answer.read().split()]
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed"
    return numbers


@in_worlds(WORLDS)
async def test_parent_and_child_use_one_pool_with_connections_of_their_own(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=3)) as pool:
        parents = await fill(pool, 3)

        async def child() -> list[int]:
            await query(pool, 5)
            pids = await fill(pool, 2)
            await done(pool.close())
            return pids

        children = await world.aside(in_child, world, child)
        assert len(children) == 2
        assert not set(parents) & set(children)
        await query(pool, 5)
        assert sorted(await fill(pool, 3)) == sorted(parents)
        assert pool.stats().dead_on_acquire == 0


@in_worlds(WORLDS)
async def test_a_connection_in_use_at_the_fork_stays_the_parents(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=1)) as pool, entered(pool.connection()) as connection:
        pid = await pid_of(connection)
        await ask(connection, "begin")

        async def child() -> list[int]:
            async with entered(pool.connection()) as own:
                pid = await pid_of(own)
            await done(pool.close())
            return [pid]

        assert await world.aside(in_child, world, child) != [pid]
        assert await pid_of(connection) == pid
        await ask(connection, "commit")
