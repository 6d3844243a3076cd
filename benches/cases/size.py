"""What size costs: the same work in a small pool and in a very large one. It should be the same.

The core is measured bare where the faces would hide it: joining and leaving the queue, and upkeep.
Beyond 1 the ratios show the processor's caches, and whatever is not independent of the size.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle
from time import perf_counter

from benches import loops, ours
from benches.fakes import FakeConnector
from benches.measure import Compare, Figures, Metric, PerTurn
from benches.settings import Case, Settings, Sides
from cenote._core import Act, Core, Todo, Waiter
from cenote.options import Options

ACQUIRE = "acquire + release"
CANCEL = "cancel a waiter (and queue it again)"
LIFETIME = "upkeep, 10 past max_lifetime"
IDLE_TIME = "upkeep, 10 past max_idle_time"

EXPIRING = 10
TICKS = 100
SLICE = 0.08
LITTLE_MORE = 2.0
"""Bar for what must not grow with the size: room for caches and a heap; a scan would cost 100 times more."""


class Caller(Waiter):
    """One who waits, and is not told of anything."""


def crowded(size: int) -> loops.Loop:
    """Cancel waiters in random order from a queue of `size`; for each another one joins at the end."""
    core = Core(Options(max_open=1))
    with core.lock:
        lane = core.lane(None)
        holder = Caller(lane)
        carry_out(core, core.request(holder, 0.0), 0.0)
        waiters = [Caller(lane) for _ in range(size)]
        for waiter in waiters:
            core.request(waiter, 0.0)
    random.Random(size).shuffle(waiters)
    victims = cycle(range(size))

    def loop(turns: int) -> None:
        with core.lock:
            for victim, _ in zip(victims, range(turns), strict=False):
                core.abandon(waiters[victim], 1.0, timed_out=False)
                waiters[victim] = waiter = Caller(lane)
                core.request(waiter, 1.0)

    return loop


def carry_out(core: Core, todo: Todo, now: float) -> None:
    """Do what a face would do, at once: say goodbye to some connections, dial others. Needs the lock."""
    left = deque(todo)
    while left:
        act, subject = left.popleft()
        if act is Act.CLOSE:
            left += core.farewelled(subject, now)
        elif act is Act.DIAL:
            left += core.dialed(subject, object(), now)


class Churn:
    """A pool of `size` idle connections in which ten expire, and ten new ones come, every second."""

    def __init__(self, what: str, size: int) -> None:
        self.what = what
        self.size = size
        self.now = 0.0
        age = size / EXPIRING
        self.options = Options(
            max_open=size,
            max_connecting=EXPIRING,
            max_lifetime=age if what == LIFETIME else None,
            max_idle_time=age if what == IDLE_TIME else None,
        )
        self.core = Core(self.options, random=lambda: 0.0)
        with self.core.lock:
            self.core.lane(None)
            for target in range(EXPIRING, size + 1, EXPIRING):
                self.now += 1.0
                self.refill(target)

    def __call__(self) -> Figures:
        """Time the ticks of one round, in microseconds each, without the closing and dialing they ask for."""
        took = 0.0
        with self.core.lock:
            for _ in range(TICKS):
                self.now += 1.0
                began = perf_counter()
                todo = self.core.tick(self.now)
                self.core.plan(self.now)
                took += perf_counter() - began
                assert sum(act is Act.CLOSE for act, _ in todo) == EXPIRING
                carry_out(self.core, todo, self.now)
                self.refill(self.size)
        return {self.what: took / TICKS * 1e6}

    def refill(self, target: int) -> None:
        """Bring the idle ones to `target` by min_idle, which is lifted again: it would hold up expiry."""
        wanted = self.options.replace(min_idle=target)
        carry_out(self.core, self.core.resize(wanted, self.now), self.now)
        carry_out(self.core, self.core.resize(self.options, self.now), self.now)
        assert self.core.idle() == target


def prepare(settings: Settings, stack: ExitStack) -> Sides:
    """Build each thing twice, small and large."""
    sides: dict[str, Callable[[], Figures]] = {}
    for size in (10, 10_000):
        pool = ours.threads_pool(stack, FakeConnector(), size)
        loop = loops.with_block(pool.connection)
        sides[f"{size:,} idle"] = PerTurn(ACQUIRE, loop, settings.slice(SLICE))
    for size in (100, 100_000):
        sides[f"{size:,} waiting"] = PerTurn(CANCEL, crowded(size), settings.slice(SLICE))
    for size in (100, 10_000):
        sides[f"{size:,} open, old"] = Churn(LIFETIME, size)
        sides[f"{size:,} open, idle"] = Churn(IDLE_TIME, size)
    return sides


CASE = Case(
    key="size",
    title="large pools and queues beside small ones",
    metrics=[
        Metric(ACQUIRE, "µs", [Compare("10,000 idle", "10 idle", at_most=1.2)]),
        Metric(CANCEL, "µs", [Compare("100,000 waiting", "100 waiting", at_most=LITTLE_MORE)]),
        Metric(LIFETIME, "µs", [Compare("10,000 open, old", "100 open, old", at_most=LITTLE_MORE)]),
        Metric(IDLE_TIME, "µs", [Compare("10,000 open, idle", "100 open, idle", at_most=LITTLE_MORE)]),
    ],
    rounds=9,
    prepare=prepare,
)
