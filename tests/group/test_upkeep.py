"""Upkeep of many pools: it costs what is due, and stays where a pool is used."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from cenote import AsyncPool, AsyncPoolGroup, Pool, PoolGroup, _upkeep
from cenote._core import upkeep as core_upkeep
from cenote._pool import PoolBase
from cenote.testing import AsyncScriptedConnector, EventLog, ScriptedConnector
from tests.patience import SAFETY
from tests.tcp.server import until


class Turns:
    """Counts how often upkeep turns each pool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.meanwhile: Callable[[PoolBase[Any]], object] = id
        """Called after each turn, on upkeep's own thread."""
        self._changed = threading.Condition()
        self._count: Counter[PoolBase[Any]] = Counter()
        self._turn = _upkeep.turn
        self._fence = Pool(ScriptedConnector())
        monkeypatch.setattr(_upkeep, "turn", self._counted)

    def _counted(self, pool: PoolBase[Any]) -> float:
        left = self._turn(pool)
        self.meanwhile(pool)
        with self._changed:
            self._count[pool] += 1
            self._changed.notify_all()
        return left

    def of(self, pool: PoolBase[Any]) -> int:
        with self._changed:
            return self._count[pool]

    def wait(self, pool: PoolBase[Any], count: int) -> None:
        """Return when a pool has been turned so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._count[pool] >= count, SAFETY)

    def settle(self) -> None:
        """Return when upkeep has done all that it was woken for."""
        gc.collect()  # a lease that another test has lost would make upkeep look at all pools
        # The first turn may be of a round that had begun before. The next round is complete: it is over when
        # the one after it has come to the fence.
        for _ in range(3):
            before = self.of(self._fence)
            _upkeep.wake(self._fence)
            self.wait(self._fence, before + 1)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    return Turns(monkeypatch)


def test_a_dial_turns_the_upkeep_of_its_own_pool_and_of_no_other(turns: Turns) -> None:
    # What is planned for a dial must not come due in the middle, however slow the machine is.
    with PoolGroup(max_total=100, connect_timeout=SAFETY) as group:
        pools = [group.pool(ScriptedConnector()) for _ in range(50)]
        for pool in pools:
            with pool.connection():
                pass
        turns.settle()
        for pool in pools:  # its first turn may have come in the middle of its dial
            _upkeep.wake(pool)
        turns.settle()
        before = [turns.of(pool) for pool in pools]
        with pools[0].connection(), pools[0].connection():
            turns.settle()
        assert pools[0].stats().connect_count == 2
        first, *others = [turns.of(pool) - count for pool, count in zip(pools, before, strict=True)]
        assert first >= 1
        assert others == [0] * 49


def test_a_lost_lease_has_all_pools_looked_at(turns: Turns) -> None:
    with Pool(ScriptedConnector(), max_open=1) as pool, Pool(ScriptedConnector()) as other:
        with other.connection():
            lease = pool.acquire()
        turns.settle()
        before = turns.of(other)
        with pytest.warns(ResourceWarning):  # noqa: PT031 - upkeep warns, some time after the lease is gone
            del lease
            turns.settle()
        assert turns.of(other) > before
        assert pool.stats().in_use == 0


def test_a_wake_that_comes_while_upkeep_is_at_work_is_not_lost(turns: Turns) -> None:
    with Pool(ScriptedConnector()) as pool, Pool(ScriptedConnector()) as other:
        for one in (pool, other):
            with one.connection():
                pass
        turns.settle()
        before, before_other = turns.of(pool), turns.of(other)

        def wake_both(turned: PoolBase[Any]) -> None:
            if turned is pool and turns.of(pool) == before:
                _upkeep.wake(other)
                _upkeep.wake(pool)  # whose turn this is: it may have looked too early

        turns.meanwhile = wake_both
        _upkeep.wake(pool)
        turns.wait(pool, before + 2)
        turns.wait(other, before_other + 1)


def test_a_pool_is_turned_at_its_time_while_others_are_woken(turns: Turns) -> None:
    log = EventLog()
    with (
        Pool(ScriptedConnector()) as busy,
        Pool(ScriptedConnector(), listener=log, max_idle_time=0.02) as quiet,
    ):
        with busy.connection(), quiet.connection():
            pass

        def wake_again(turned: PoolBase[Any]) -> None:
            if turned is busy and not log.of("closing"):
                _upkeep.wake(busy)

        turns.meanwhile = wake_again
        _upkeep.wake(busy)
        assert log.wait("closing")[0].reason == "max_idle_time"


def test_a_plan_that_was_changed_is_forgotten() -> None:
    thread = _upkeep.Thread()  # it never runs
    pools = [Pool(ScriptedConnector()) for _ in range(3)]
    for pool in pools:
        with pool.connection():
            pass
    for _ in range(2000):
        for pool in pools:
            thread.wake(pool)
        thread._look()
    assert len(thread._plans) < 2 * len(pools) + _upkeep.MANY_ALARMS
    assert sum(thread._pool_of(plan) is not None for plan in thread._plans) == len(pools)
    for pool in pools:
        pool.close()
        thread.wake(pool)
    assert thread._look() > 1e9  # nothing is planned for what is closed


# ── asyncio: the timer of a pool in a group ──────────────────────────────────────────────────────


@contextmanager
def elsewhere(main: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[Callable[[], None]]:
    """Run a loop in another thread, and give a function that waits for its end."""
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        yield thread.join
    finally:
        thread.join()


async def use(pool: AsyncPool[Any]) -> None:
    async with pool.connection():
        pass


async def passed(gate: threading.Event) -> None:
    """Wait in a task until a thread opens the gate."""
    assert await asyncio.to_thread(gate.wait, SAFETY)


async def test_a_pool_that_got_its_place_from_another_loop_keeps_its_upkeep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        core_upkeep, "OVERDUE_GRACE", 0.0
    )  # nothing else is due so late that it covers the rest
    log = EventLog()
    options: Any = {"max_idle_time": "200ms", "connect_timeout": "100ms", "timeout": SAFETY}
    group = AsyncPoolGroup(max_total=1, listener=log, **options)
    a, b = (group.pool(AsyncScriptedConnector()) for _ in range(2))
    lent, wanted = threading.Event(), threading.Event()

    async def lend() -> None:
        lease = await a.acquire()
        lent.set()
        await passed(wanted)
        await lease.release()  # closes it, and when that is done hands its place on

    with elsewhere(lend) as ended:
        await passed(lent)
        using = asyncio.ensure_future(use(b))
        await until(lambda: b.stats().waiting)
        wanted.set()
        await using
        await asyncio.to_thread(ended)
    assert b._timer._loop is asyncio.get_running_loop()
    await log.arrival("closing", 2)
    assert log.reasons("closing") == ["moved", "max_idle_time"]
    await group.close()


async def test_a_pool_whose_loop_is_found_closed_by_another_pool_keeps_its_upkeep() -> None:
    group = AsyncPoolGroup(max_total=2, timeout=SAFETY)
    a, b = (group.pool(AsyncScriptedConnector()) for _ in range(2))
    dialed, touched = threading.Event(), threading.Event()

    async def dial() -> None:
        await use(b)  # so that its upkeep is on this loop, which is about to end
        dialed.set()
        await passed(touched)

    with ExitStack() as stack:
        hold = await b.acquire()
        for _ in range(3):  # the dial has woken upkeep, which is on this loop for now
            await asyncio.sleep(0)
        ended = stack.enter_context(elsewhere(dial))
        await passed(dialed)
        await hold.release()  # the warmer of the two: the other will be closed first
        touched.set()
        await asyncio.to_thread(ended)
    assert b._timer._loop is not asyncio.get_running_loop()
    with elsewhere(lambda: use(a)) as ended:
        await asyncio.to_thread(ended)
    assert len(b._core.lanes) == 1
    assert b._timer._loop is asyncio.get_running_loop()
    assert b._timer._handle is not None
    await group.close()
