"""Leases that are dropped: told, taken back, and never at the price of a deadlock."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import subprocess
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

import cenote
from cenote import AsyncPool, Pool, _steps
from cenote._core import Slot
from cenote._waiters import ThreadWaiter
from cenote.testing import AsyncScriptedConnector, FakeConnection, ScriptedConnector
from tests.faces.conftest import Make
from tests.faces.worlds import Tasks, Threads, world_of
from tests.patience import SAFETY, goes

DROPPED = "dropped without release"


def lost(world: Any) -> None:
    """Acquire and forget."""
    lease = world.acquire()
    world.calls.clear()  # which remember their results
    del lease
    gc.collect()


def test_a_dropped_lease_is_told_with_its_site_and_its_place_is_free_again(make: Make) -> None:
    world = make(max_open=1)
    lost(world)
    with pytest.warns(ResourceWarning, match=f"acquired at {re.escape(world.site)}.*{DROPPED}"):
        world.upkeep()
    assert world.connector.connections[0].closed
    assert world.stats.in_use == 0
    assert world.stats.discarded == 1
    assert world.cycle() == 2


def test_upkeep_finds_a_dropped_lease_and_a_waiter_is_served() -> None:
    told = threading.Event()
    with Pool(ScriptedConnector(), max_open=1) as pool, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *_, **__: told.set()
        lease = pool.acquire()
        served: list[int] = []

        def wait() -> None:
            with pool.connection() as connection:
                served.append(connection.number)

        waiter = threading.Thread(target=wait, daemon=True)
        with in_request(pool) as asked:
            waiter.start()
            asked.wait()
        del lease
        assert told.wait(SAFETY)
        waiter.join(SAFETY)
        assert served == [2]


@contextmanager
def in_request(pool: Any) -> Iterator[threading.Event]:
    """Know when a request was made."""
    asked, plain = threading.Event(), type(pool._core)

    def request(self: Any, *args: Any) -> Any:
        asked.set()
        return plain.request(self, *args)

    pool._core.__class__ = type("Core", (plain,), {"__slots__": (), "request": request})
    yield asked
    pool._core.__class__ = plain


def test_a_lease_in_a_cycle_is_found_by_the_collector(make: Make) -> None:
    world = make(max_open=1)
    cycle: dict[str, Any] = {"lease": world.acquire()}
    cycle["self"] = cycle
    world.calls.clear()
    del cycle
    gc.collect()
    with pytest.warns(ResourceWarning, match=DROPPED):
        world.upkeep()
    assert world.stats.in_use == 0


def test_a_lease_that_was_given_back_is_dropped_in_silence(make: Make) -> None:
    world = make()
    world.cycle()
    world.calls.clear()
    gc.collect()
    world.upkeep()
    assert world.stats.discarded == 0
    assert world.stats.idle == 1


def test_warnings_that_are_errors_do_not_stop_upkeep(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = make(max_open=1)
    with warnings.catch_warnings(), caplog.at_level(logging.ERROR, "cenote"):
        warnings.simplefilter("error")
        lost(world)
        world.upkeep()
    assert world.stats.in_use == 0
    assert DROPPED in caplog.text
    assert world.cycle() == 2


def test_a_finalizer_may_run_while_the_lock_is_held(make: Make) -> None:
    world = make(max_open=2)
    leases = [world.acquire()]
    world.calls.clear()

    def drop() -> None:
        with world.pool._core.lock:
            leases.clear()
            gc.collect()

    world.inside(drop)
    with pytest.warns(ResourceWarning, match=DROPPED):
        world.upkeep()
    assert world.stats.in_use == 0


@pytest.mark.parametrize("methods", [["request"], ["release", "pass_on"], ["settle"], ["dialed"]], ids=str)
def test_a_finalizer_may_run_in_the_middle_of_a_transition(make: Make, methods: list[str]) -> None:
    world = make(max_open=2)
    leases = [world.acquire()]
    world.calls.clear()
    in_transitions(world, methods, leases.clear)
    with pytest.warns(ResourceWarning, match=DROPPED):
        all_transitions(world)
    assert leases == []
    assert world.stats.in_use == 0


class Session:
    """What users make of a lease: an object that gives it back when it is collected."""

    def __init__(self, end: Callable[[], Any]) -> None:
        self.end = end

    def __del__(self) -> None:
        self.end()


@pytest.mark.parametrize("methods", [["request"], ["release", "pass_on"], ["settle"], ["dialed"]], ids=str)
@pytest.mark.parametrize("end", ["release", "discard"])
def test_a_finalizer_may_give_a_lease_back_in_the_middle_of_a_transition(
    make: Make, methods: list[str], end: str
) -> None:
    world = make(max_open=2)
    lease = world.acquire()
    world.calls.clear()
    # Nobody can await in a finalizer: there a lease is discarded, or closed with its suspended block.
    sessions = [Session(lease.discard if isinstance(world, Tasks) else getattr(lease, end))]
    in_transitions(world, methods, sessions.clear)
    all_transitions(world)
    assert sessions == []
    world.settle()
    assert world.stats.in_use == 0
    assert world.pool._core.budget.put_off == deque()


def test_what_a_finalizer_wanted_is_done_by_upkeep_if_nothing_else_happens(make: Make) -> None:
    world = make(max_open=1)
    sessions = [Session(world.acquire().discard)]
    world.calls.clear()

    def drop() -> None:
        with world.pool._core.lock:
            sessions.clear()
            gc.collect()

    world.inside(drop)
    assert world.stats.in_use == 1
    world.upkeep()
    assert world.stats.in_use == 0


def test_there_may_be_very_many_of_them_at_once() -> None:
    with Pool(ScriptedConnector(), max_open=1) as pool:
        lease = pool.acquire()
        with pool._core.lock:
            for _ in range(2_000):  # each looks at its end whether more was put off
                _steps.put_off(pool, partial(_steps._under_lock, pool, pool._core.settle))
            lease.discard()
        _steps.catch_up(pool)
        assert pool.stats().in_use == 0


@pytest.mark.parametrize("use", [Pool.acquire, partial(Pool.resize, max_open=3)], ids=["acquire", "resize"])
def test_a_finalizer_that_wants_too_much_in_the_middle_of_a_transition_is_refused(
    use: Callable[[Pool[Any]], object],
) -> None:
    errors: list[cenote.Error] = []

    def ask() -> None:
        with pytest.raises(cenote.Error, match="a finalizer") as caught:
            use(world.pool)
        errors.append(caught.value)

    with world_of(Threads, max_open=2) as world:
        in_transitions(world, ["dialed"], ask)
        world.release(world.acquire())
        assert world.pool.options.max_open == 2
    assert len(errors) == 1


def test_a_finalizer_that_closes_the_pool_in_the_middle_of_a_transition_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = Pool(ScriptedConnector(), max_open=1)
    lease = pool.acquire()
    with pool._core.lock, monkeypatch.context() as amid:
        amid.setattr(ThreadWaiter, "wait", None)
        pool.close()
        assert not pool.closed  # what is put off is done by whoever is next
    lease.release()
    pool.close()
    assert pool.stats().open_connections == 0


def all_transitions(world: Any) -> None:
    lease = world.acquire()
    waiting = world.begin_acquire()
    world.settle()
    world.release(lease)
    world.release(waiting.result())
    world.upkeep()


def in_transitions(world: Any, methods: list[str], action: Callable[[], Any]) -> None:
    """Have something happen inside all transitions of some kinds, under the lock."""
    plain = type(world.pool._core)

    def interrupted(method: str) -> Callable[..., Any]:
        def transition(self: Any, *args: Any, **options: Any) -> Any:
            action()
            gc.collect()
            return getattr(plain, method)(self, *args, **options)

        return transition

    namespace = {"__slots__": ()} | {method: interrupted(method) for method in methods}
    world.pool._core.__class__ = type("Core", (plain,), namespace)


IN_A_PROCESS_OF_ITS_OWN = """
import gc, weakref
from cenote import Pool, _crew
from cenote.testing import EventLog, ScriptedConnector
_crew.IDLE_SECONDS = 600  # who has dialed must let go though it lives on
{body}
for _ in range(10_000):  # upkeep may hold it for the moment in which it looks whether anything is due
    gc.collect()
    if gone() is None:
        break
print("gone" if gone() is None else "there")
"""


@pytest.mark.parametrize(
    "body",
    [
        (
            "pool = Pool(ScriptedConnector(), listener=EventLog())\nwith pool.connection():\n    pass\n"
            "gone = weakref.ref(pool)\ndel pool"
        ),
        (
            "pool = Pool(ScriptedConnector())\nlease = pool.acquire()\ngone = weakref.ref(pool)\ndel pool\n"
            "gc.collect()\nassert gone() is not None\ndel lease"
        ),
    ],
    ids=["idle connections", "a lease out"],
)
def test_a_dropped_pool_goes_with_its_connections(body: str) -> None:
    # What hundreds of other tests left behind would keep upkeep busy with pools, and collections long.
    command = [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN.format(body=body)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "gone\n"


async def test_a_dropped_async_pool_goes_with_its_idle_connections() -> None:
    pool = AsyncPool(AsyncScriptedConnector())
    async with pool.connection():
        pass
    for _ in range(3):
        await asyncio.sleep(0)
    gone = weakref.ref(pool)
    del pool
    assert goes(gone)


# ── what is never awaited takes nothing ────────────────────────────────────────────────────────────


async def test_an_acquire_cancelled_before_its_first_step_takes_nothing() -> None:
    async with AsyncPool(AsyncScriptedConnector(), max_open=1) as pool:
        async with pool.connection():
            pass
        task = asyncio.create_task(pool.acquire())
        task.cancel()
        await asyncio.wait([task])
        gc.collect()
        assert pool.stats().idle == 1
        assert pool.stats().in_use == 0
        assert pool.stats().discarded == 0


async def test_a_suspicious_connection_is_not_lost_with_a_block_that_is_never_entered() -> None:
    connector = AsyncScriptedConnector("is_alive")
    async with AsyncPool(connector, max_open=1) as pool:
        async with pool.connection():
            pass
        connector.connections[0].alive = False
        pool.connection()
        gc.collect()
        assert pool.stats().in_use == 0
        async with pool.connection() as connection:
            assert connection.number == 2


def test_a_suspicious_connection_is_not_lost_with_a_bad_timeout() -> None:
    connector = ScriptedConnector("is_alive")
    with Pool(connector, max_open=1) as pool:
        with pool.connection():
            pass
        connector.connections[0].alive = False
        with pytest.raises(ValueError, match="timeout"):
            pool.connection("soon")
        assert pool.stats().in_use == 0
        with pool.connection() as connection:
            assert connection.number == 2


def test_a_hold_reports_only_while_somebody_has_it() -> None:
    pool: Pool[FakeConnection] = Pool(ScriptedConnector())
    with pool.connection():
        pass
    (slot,) = pool._core.slots
    assert isinstance(slot, Slot)
    slot.hold = None  # as if leased, and the lease dropped
    with pytest.warns(ResourceWarning, match=DROPPED):
        _upkeep_once(pool, slot)
    assert pool.stats().in_use == 0


def _upkeep_once(pool: Pool[FakeConnection], slot: Slot) -> None:
    del pool._core.lanes[None].idle[slot]
    pool._core.drop(slot)
    pool._core.lanes[None].idle.clear()
    pool.resize(max_open=3)
