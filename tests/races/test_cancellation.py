"""Cancel acquire and release at every await, both while it is blocked and in the moment it gets its answer.

A scenario prepares a pool, begins one operation and drives it step by step with every operation of the
connector held; at the k-th suspension the operation is cancelled. Whatever k is: afterwards no place is
taken, nobody waits, and the pool serves as many callers at once as before.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cenote import AsyncPool, Pool, _steps
from cenote._waiters import ThreadWaiter
from cenote.options import OptionsDict
from cenote.testing import (
    AsyncScriptedConnector,
    EventLog,
    FakeClock,
    FakeConnection,
    HookName,
    ScriptedConnector,
)
from tests.patience import SAFETY

APool = AsyncPool[FakeConnection]
PLACES = 2


@dataclass
class Scenario:
    """What is cancelled, and in which state of the pool."""

    name: str
    operation: Callable[[Stage], Awaitable[Any]]
    hooks: tuple[HookName, ...] = ()
    options: OptionsDict = field(default_factory=OptionsDict)
    idle: int = 0  # connections that are idle before
    dead: bool = False
    taken: int = 0  # connections that are in others' hands
    least: int = 1  # suspensions that there must be


class Stage:
    """One run of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.connector = AsyncScriptedConnector(*scenario.hooks)
        self.clock = FakeClock()
        options: OptionsDict = {"max_open": PLACES, **scenario.options}
        self.pool: APool = AsyncPool(self.connector, clock=self.clock, **options)
        self.others: list[Any] = []
        self.suspensions = 0

    async def prepare(self, scenario: Scenario) -> None:
        leases = [await self.pool.acquire() for _ in range(max(scenario.idle, scenario.taken))]
        self.others = leases[: scenario.taken]
        for lease in leases[scenario.taken :]:
            await lease.release()
        if scenario.dead:
            for connection in self.connector.connections:
                connection.alive = False
        self.clock.advance(1)
        for control in self.connector.controls:
            control.hold()

    async def step(self) -> None:
        """Let the longest blocked operation go on; if there is none, let another caller give back."""
        for control in self.connector.controls:
            if control.blocked:
                control.step()
                return
        assert self.others, "it waits for nothing"
        await self.others.pop().release()

    async def counted(self, operation: Awaitable[Any]) -> Any:
        return await _Counted(self, operation)

    async def check(self) -> None:
        """See that everything is there again."""
        for control in self.connector.controls:
            control.release()
        for lease in self.others:
            await lease.release()
        await quiet()
        stats = self.pool.stats()
        assert (stats.in_use, stats.waiting, stats.connecting, stats.closing) == (0, 0, 0, 0)
        leases = [await self.pool.acquire(0.5) for _ in range(PLACES)]
        assert len({lease.connection.number for lease in leases}) == PLACES
        assert not any(lease.connection.closed for lease in leases)
        for lease in leases:
            await lease.release()
        assert self.connector.peak <= PLACES
        await self.pool.close()
        assert self.connector.open == 0


class _Counted:
    """An awaitable that counts the suspensions of another."""

    def __init__(self, stage: Stage, operation: Awaitable[Any]) -> None:
        self.stage = stage
        self.operation = operation

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self.operation.__await__()
        try:
            future = next(inner)
            while True:
                self.stage.suspensions += 1
                try:
                    got = yield future
                except BaseException as error:  # noqa: BLE001 - passed on
                    future = inner.throw(error)
                else:
                    future = inner.send(got)
        except StopIteration as end:
            return end.value


async def quiet() -> None:
    """Let everything run that can."""
    for _ in range(12):
        await asyncio.sleep(0)


# ── operations ─────────────────────────────────────────────────────────────────────────────────────


async def acquire(stage: Stage) -> None:
    lease = await stage.pool.acquire()
    for control in stage.connector.controls:
        control.release()
    await lease.release()


async def block(stage: Stage) -> None:
    async with stage.pool.connection():
        pass


async def dirty_block(stage: Stage) -> None:
    async with stage.pool.connection() as connection:
        connection.in_transaction = True


async def transaction(stage: Stage) -> None:
    async with stage.pool.transaction():
        pass


async def failed_transaction(stage: Stage) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with stage.pool.transaction():
            raise ValueError("mine")


async def ping(stage: Stage) -> None:
    await stage.pool.ping()


SCENARIOS = [
    Scenario("a dial", acquire),
    Scenario("a dial for a block", block),
    Scenario("the queue", acquire, idle=2, taken=2),
    Scenario("the queue, for a block", block, idle=2, taken=2),
    Scenario("the queue beside a dial", acquire, taken=1),
    Scenario("a ping", acquire, ("ping",), {"ping_after": 0}, idle=1),
    Scenario("a ping after the queue", block, ("ping",), {"ping_after": 0}, idle=2, taken=2),
    Scenario("an idle one that is dead", acquire, ("is_alive",), idle=1, dead=True),
    Scenario("two idle ones that are dead", block, ("is_alive",), idle=2, dead=True),
    Scenario("a ping that fails", block, ("ping",), {"ping_after": 0}, idle=2, dead=True, least=3),
    Scenario("a rollback", dirty_block, ("in_transaction", "rollback"), idle=1),
    Scenario("a rollback without in_transaction", block, ("rollback",), idle=1),
    Scenario("a reset", block, ("reset",), {"reset": "session"}, idle=1),
    Scenario("rollback and reset", block, ("rollback", "reset"), {"reset": "session"}, idle=1, least=2),
    Scenario("a transaction", transaction, ("transaction", "in_transaction", "rollback")),
    Scenario("its rollback", failed_transaction, ("transaction", "in_transaction", "rollback"), idle=1),
    Scenario("ping()", ping, ("ping",), idle=1),
]


@pytest.mark.filterwarnings("ignore:pool .* rolled back:RuntimeWarning")
@pytest.mark.parametrize("late", [False, True], ids=["while blocked", "at its answer"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_cancelling_at_any_await_loses_nothing(scenario: Scenario, late: bool) -> None:
    reached = 0
    while asyncio.run(cancelled_at(scenario, reached + 1, late=late)):
        reached += 1
    assert reached >= scenario.least


async def cancelled_at(scenario: Scenario, suspension: int, *, late: bool) -> bool:
    """Run a scenario and cancel it at one suspension; false if it has not so many."""
    stage = Stage(scenario)
    await stage.prepare(scenario)
    task = asyncio.ensure_future(stage.counted(scenario.operation(stage)))
    cancelled = False
    while True:
        await quiet()
        if task.done():
            break
        if stage.suspensions < suspension:
            await stage.step()
            continue
        assert not cancelled, "a cancelled operation does not wait"
        cancelled = True
        if late:
            await stage.step()
        task.cancel()
    if not cancelled:
        task.result()
    await stage.check()
    return cancelled


@pytest.mark.parametrize("answers", range(4))
def test_a_cancelled_waiter_passes_its_turn_on(answers: int) -> None:
    """The connection comes back, its heir is cancelled before it runs, and the next in line gets it."""

    async def main() -> None:
        pool: APool = AsyncPool(AsyncScriptedConnector(), max_open=1)
        lease = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(answers + 1)]
        await quiet()
        await lease.release()
        for task in waiting[:answers]:
            task.cancel()
        last = await waiting[-1]
        assert last.connection.number == 1
        await last.release()
        assert pool.stats().in_use == 0
        await pool.close()

    asyncio.run(main())


@pytest.mark.parametrize("jobs", ["dial", "close", "keepalive"])
def test_a_job_that_is_cancelled_frees_its_place(jobs: str) -> None:
    async def main() -> None:
        connector, clock = AsyncScriptedConnector("ping", "terminate"), FakeClock()
        pool: APool = AsyncPool(connector, max_open=1, keepalive=1, max_idle_time=None, clock=clock)
        if jobs == "dial":
            connector.connecting.hold()
            waiting = asyncio.create_task(pool.acquire(60))
        else:
            lease = await pool.acquire()
            connector.closing.hold()
            connector.pinging.hold()
            if jobs == "close":
                lease.discard()
            else:
                await lease.release()
                clock.advance(2)
                pool._wake_upkeep()
        await quiet()
        assert len(pool._jobs) == 1
        for control in connector.controls:
            control.succeed()
        for job in tuple(pool._jobs):
            job.cancel()
        await quiet()
        if jobs == "close":
            assert connector.connections[0].log == ["close", "terminate"]
        for control in connector.controls:
            control.release()
        if jobs == "dial":
            clock.advance(1)
            pool._wake_upkeep()
            await (await waiting).release()
        await quiet()
        lease = await pool.acquire()
        await lease.release()
        assert pool.stats().in_use == 0
        assert pool.stats().open_connections == 1
        await pool.close()

    asyncio.run(main())


@pytest.mark.parametrize("suspension", [1, 2])
def test_a_cancelled_close_leaves_the_pool_closed_and_can_be_repeated(suspension: int) -> None:
    async def main() -> None:
        pool: APool = AsyncPool(AsyncScriptedConnector())
        lease = await pool.acquire()
        for _ in range(suspension):
            closing = asyncio.create_task(pool.close())
            await quiet()
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()
        await lease.release()
        await pool.close()
        assert pool.closed
        assert pool.stats().open_connections == 0

    asyncio.run(main())


# ── threads ────────────────────────────────────────────────────────────────────────────────────────


def test_an_interrupt_of_a_waiting_thread_leaks_nothing() -> None:
    log = EventLog()
    pool = Pool(ScriptedConnector(), max_open=1, listener=log)
    lease = pool.acquire()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        log.wait("queued", 2)
        signal.pthread_kill(main, signal.SIGINT)
        for waiter in tuple(pool._lane.waiters):
            waiter.wake()  # a signal in the last moment before a thread blocks is seen when it wakes

    other = threading.Thread(target=interrupt, daemon=True)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        pool.connection()
    other.join(SAFETY)
    assert pool.stats().waiting == 0
    assert log.reasons("gave_up") == ["cancelled"]
    lease.release()
    with pool.connection() as connection:
        assert connection.number == 1
    pool.close()


@pytest.mark.parametrize("granted", [False, True], ids=["in the queue", "with a connection in hand"])
def test_an_interrupt_thrown_into_the_steps_leaks_nothing(granted: bool) -> None:
    pool = Pool(ScriptedConnector(), max_open=1)
    lease = pool.acquire()
    waiter = ThreadWaiter.of(pool._lane)
    waiter.queued_at = started = pool._clock()
    assert _steps.ask(pool, waiter, 60)
    steps = _steps.acquire(pool, waiter, started)
    next(steps)
    if granted:
        lease.release()
        assert waiter.slot is not None
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt())
    lease.release()
    assert pool.stats().waiting == 0
    assert pool.stats().in_use == 0
    with pool.connection(0) as connection:
        assert connection.number == 1
    pool.close()


def test_an_interrupt_of_a_closing_thread_leaves_the_pool_closed() -> None:
    log = EventLog()
    pool = Pool(ScriptedConnector(), listener=log)
    lease = pool.acquire()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        log.wait("shut")
        signal.pthread_kill(main, signal.SIGINT)
        for ender in tuple(pool._core.enders):
            ender.wake()  # as above

    other = threading.Thread(target=interrupt, daemon=True)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        pool.close(60)
    other.join(SAFETY)
    lease.release()
    pool.close()
    assert pool.stats().open_connections == 0
