"""Timeouts against hand-offs, and everything at once: nothing is lost, the server never counts too many."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from cenote import AsyncPool, ConnectError, Pool, PoolClosed, PoolTimeout
from cenote._core import State
from cenote.testing import AsyncScriptedConnector, FakeConnection, ScriptedConnector
from tests.patience import SAFETY

TIMEOUTS = 100_000


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads interrupt each other wherever they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def together(workers: int, work: Callable[[random.Random], None]) -> None:
    """Run the same work in several threads, each with a seed of its own, and hear of every error."""
    errors: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            work(random.Random(seed))
        except BaseException as error:  # noqa: BLE001 - raised at the end
            errors.append(error)

    threads = [threading.Thread(target=run, args=(seed,), daemon=True) for seed in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def assert_whole(pool: Pool[FakeConnection] | AsyncPool[FakeConnection]) -> None:
    """Nothing is in anybody's hands, and nobody waits."""
    core = pool._core
    assert core.queued == 0
    assert not any(lane.waiters for lane in core.lanes.values())
    assert all(slot.state is State.OPEN for slot in core.slots)
    idle = {slot for lane in core.lanes.values() for slot in lane.idle}
    assert idle == set(core.slots)
    assert all(slot.hold is not None for slot in core.slots)
    assert pool.stats().in_use == 0


@pytest.mark.parametrize("listener", [None, lambda event: None], ids=["quiet", "with a listener"])
def test_a_hundred_thousand_timeouts_race_with_hand_offs(hasty: None, listener: Any) -> None:
    goal = TIMEOUTS * 4 // 5 if listener is None else TIMEOUTS // 5
    pool = Pool(ScriptedConnector(), max_open=2, listener=listener)
    timed_out, served = count(), count()
    limits = [0.0, 1e-6, 1e-5, 2e-5, 5e-5, 1e-4]
    done = threading.Event()

    def work(chance: random.Random) -> None:
        while not done.is_set():
            try:
                with pool.connection(chance.choice(limits)):
                    next(served)
            except PoolTimeout:
                if next(timed_out) >= goal:
                    done.set()

    with pool.connection():  # so that there is always something to wait for
        together(6, work)
    assert_whole(pool)
    stats = pool.stats()
    assert stats.timeout_count == next(timed_out)
    assert stats.acquire_count == next(served) + 1
    assert stats.wait_time.count == stats.acquire_count + stats.timeout_count or stats.wait_count > 0
    leases = [pool.acquire(SAFETY) for _ in range(2)]
    for lease in leases:
        lease.release()
    pool.close()


def mistreat(connection: FakeConnection, chance: random.Random) -> None:
    """Now and then leave a connection broken, dying, or perhaps in a transaction."""
    assert not connection.closed
    dice = chance.random()
    if dice < 0.05:
        connection.broken = True
    elif dice < 0.1:
        connection.alive = False  # dies when it is idle
    elif dice < 0.15:
        connection.in_transaction = None


def test_threads_do_everything_at_once(hasty: None) -> None:
    connector = ScriptedConnector("is_alive", "in_transaction", "rollback", "is_broken")
    pool = Pool(connector, max_open=4, max_connecting=2)
    served = count()

    def disturb(dice: float) -> None:
        if dice > 0.98:
            pool.resize(max_open=2 + int(dice * 1000) % 3)
        elif dice > 0.97:
            connector.connecting.fail(ConnectionRefusedError())
        elif dice > 0.96:
            pool.acquire(SAFETY).discard()

    def work(chance: random.Random) -> None:
        for _ in range(1500):
            with (
                suppress(PoolTimeout, ConnectError),
                pool.connection(chance.choice([0, 1e-3, SAFETY, SAFETY])) as connection,
            ):
                next(served)
                mistreat(connection, chance)
            with suppress(ConnectError):
                disturb(chance.random())

    together(6, work)
    connector.connecting.succeed()
    pool.resize(max_open=4)
    leases = [pool.acquire(SAFETY) for _ in range(4)]
    assert len({lease.connection.number for lease in leases}) == 4
    for lease in leases:
        lease.release()
    assert connector.peak <= 4
    assert next(served) > 1000
    pool.close()
    assert connector.open == 0


def test_nobody_who_waits_without_a_deadline_is_forgotten(hasty: None) -> None:
    connector = ScriptedConnector("is_broken")
    pool = Pool(connector, max_open=2, timeout=None)

    def work(chance: random.Random) -> None:
        for _ in range(600):
            with pool.connection() as connection:
                connection.broken = chance.random() < 0.3

    together(8, work)
    assert connector.peak <= 2
    assert pool.stats().acquire_count == 8 * 600
    pool.close()


def test_threads_that_wait_at_close_are_all_refused(hasty: None) -> None:
    for _ in range(50):
        refused_at_close()


def refused_at_close() -> None:
    pool = Pool(ScriptedConnector(), max_open=1, timeout=None)
    refused = count()
    started = threading.Barrier(5)

    def work(chance: random.Random) -> None:
        started.wait()
        with suppress(PoolClosed):
            while True:
                with pool.connection():
                    pass
        next(refused)

    def close() -> None:
        started.wait()
        pool.close()

    closer = threading.Thread(target=close, daemon=True)
    closer.start()
    together(4, work)
    closer.join()
    assert next(refused) == 4
    assert pool.stats().open_connections == 0


async def steps(number: int) -> None:
    """Let other tasks run so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(4))
async def test_tasks_do_everything_at_once(seed: int) -> None:
    connector = AsyncScriptedConnector("is_alive", "in_transaction", "rollback", "is_broken", "ping")
    pool = AsyncPool(connector, max_open=4, max_connecting=2)
    chance = random.Random(seed)
    served = count()

    async def use() -> None:
        async with pool.connection(chance.choice([0, 1e-3, SAFETY, SAFETY])) as connection:
            next(served)
            await steps(chance.randrange(4))
            mistreat(connection, chance)

    def disturb(task: asyncio.Task[None]) -> None:
        dice = chance.random()
        if dice < 0.2:
            task.cancel()
        elif dice < 0.25:
            pool.resize(max_open=chance.choice([2, 3, 4]))
        elif dice < 0.252:
            connector.connecting.fail(ConnectionRefusedError())
        elif dice < 0.28:
            connector.rolling_back.fail(ConnectionResetError())

    async def work() -> None:
        for _ in range(100):
            task = asyncio.create_task(use())
            await steps(chance.randrange(6))
            disturb(task)
            with suppress(PoolTimeout, ConnectError, asyncio.CancelledError):
                await task

    await asyncio.gather(*(work() for _ in range(20)))
    for control in connector.controls:
        control.succeed()
    pool.resize(max_open=4)
    assert pool.stats().waiting == 0
    await fill(pool, 4)
    assert connector.peak <= 4
    assert next(served) > 500
    await pool.close()
    assert connector.open == 0


async def fill(pool: AsyncPool[FakeConnection], places: int) -> None:
    """See that every place can be taken at once."""
    leases = [await pool.acquire(SAFETY) for _ in range(places)]
    assert len({lease.connection.number for lease in leases}) == places
    for lease in leases:
        await lease.release()


def test_loops_in_threads_do_everything_at_once(hasty: None) -> None:
    connector = AsyncScriptedConnector("is_broken", "terminate")
    pool = AsyncPool(connector, max_open=3)
    served = count()

    async def use(chance: random.Random) -> None:
        try:
            async with pool.connection(chance.choice([0, 1e-3, SAFETY])) as connection:
                next(served)
                await asyncio.sleep(0)
                connection.broken = chance.random() < 0.1
        except PoolTimeout:
            pass

    async def work(chance: random.Random) -> None:
        for _ in range(60):
            tasks = [asyncio.create_task(use(chance)) for _ in range(4)]
            await asyncio.sleep(0)
            if chance.random() < 0.3:
                tasks[0].cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.result()

    together(3, lambda chance: asyncio.run(work(chance)))
    assert connector.peak <= 3
    assert next(served) > 300

    async def after() -> None:
        await fill(pool, 3)
        await pool.close()

    asyncio.run(after())
    assert pool.stats().open_connections == 0
