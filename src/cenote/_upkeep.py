"""Who calls the core when time has passed: one thread for all threaded pools, a timer for each of the others.

Both sleep until the earliest thing due and not a moment more: with nothing due the thread blocks
on a lock without a deadline, and a loop has no timer. Neither keeps a pool alive, and what the
thread does for one pool costs the same beside a thousand others.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import threading
import weakref
from _thread import TIMEOUT_MAX, allocate_lock
from contextlib import AbstractContextManager, nullcontext, suppress
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from . import _report, _sockets, _steps

if TYPE_CHECKING:
    from ._pool import PoolBase


AFTER_FAILURE = 1.0
"""Seconds until upkeep looks at a pool again that it failed for."""

MANY_ALARMS = 256
"""So many alarms, or plans, are kept before those that are over are swept out."""

Plan = tuple[float, int, "weakref.ref[PoolBase[Any]]"]
"""When to look at a pool, and a number by which the pool's latest plan is known."""


def turn(pool: PoolBase[Any]) -> float:
    """Do what is due for one pool and say when to come again; infinity if nothing will be due."""
    core = pool._core
    _steps.catch_up(pool)
    now = pool._clock()
    with core.lock:
        # Some times are only known as "look again by then", so what was planned counts too.
        todo = core.tick(now) if min(core.due(now), core.planned) <= now else None
        again = core.plan(now)
    if todo is not None:
        _steps.carry_out(pool, todo)
    return again - now


def _turn_safely(pool: PoolBase[Any]) -> float:
    """Do the same, whatever happens: one pool's trouble must not end the upkeep of the others."""
    try:
        return turn(pool)
    except Exception:  # noqa: BLE001 - it is logged
        _report.log.exception("pool %r: upkeep failed", pool.name)
        return AFTER_FAILURE


class Thread:
    """The daemon thread, its alarm clock and its plans.

    It looks at the pools that were woken and at those whose time has come, and after a nudge at
    all. Whoever wakes it notes why first and opens the gate afterwards; it passes the gate first
    and takes the notes afterwards. So nothing is lost that comes while it is at work.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._gate = allocate_lock()
        self._gate.acquire()
        self._lock = threading.RLock()  # a finalizer that talks to its server may come in between
        self._started = False
        self._pools: weakref.WeakSet[PoolBase[Any]] = weakref.WeakSet()
        self._nudged = True  # nothing has been looked at yet
        self._woken: dict[weakref.ref[PoolBase[Any]], None] = {}
        # Both are the thread's own, so no lock: a heap, and for each pool the number of the plan that holds.
        self._plans: list[Plan] = []
        self._latest: weakref.WeakKeyDictionary[PoolBase[Any], int] = weakref.WeakKeyDictionary()
        self._alarms: list[tuple[float, int, Bell]] = []
        self._order = count()
        self._sweep_at = MANY_ALARMS
        self._planned = 0.0

    def register(self, pool: PoolBase[Any]) -> None:
        """Look after one more pool."""
        with self._lock:
            self._pools.add(pool)
            if not self._started:
                self._start()

    def _start(self) -> None:
        self._started = True
        threading.Thread(target=self._run, name="cenote-upkeep", daemon=True).start()

    def wake(self, pool: PoolBase[Any]) -> None:
        """Have one pool looked at again."""
        self._woken[weakref.ref(pool)] = None
        self._open_gate()

    def nudge(self) -> None:
        """Have all pools looked at again. Finalizers call this: it never waits for a lock."""
        self._nudged = True
        self._open_gate()

    def _open_gate(self) -> None:
        with suppress(RuntimeError):  # it is open already
            self._gate.release()

    def set(self, alarm: Bell) -> None:
        """Have an alarm go off in time."""
        with self._lock:
            if not self._started:
                self._start()
            if len(self._alarms) >= self._sweep_at:
                # Most are over long before their time, and would lie here until then.
                self._alarms = [entry for entry in self._alarms if entry[2].live]
                heapify(self._alarms)
                self._sweep_at = max(2 * len(self._alarms), MANY_ALARMS)
            heappush(self._alarms, (alarm.at, next(self._order), alarm))
        if alarm.at < self._planned:
            self._open_gate()

    def pools(self) -> list[PoolBase[Any]]:
        """The pools that are still there."""
        with self._lock:
            return list(self._pools)

    def _run(self) -> None:
        while True:
            self._planned = float("inf")  # an alarm that is set from here on wakes us
            left = min(self._ring(), self._look())
            self._planned = monotonic() + left
            self._gate.acquire(timeout=max(left, 0.0))

    def _look(self) -> float:
        """Turn each pool that is to be looked at, once, and say how long until the next one is."""
        for pool in self._due():
            self._plan(pool, _turn_safely(pool))
        while self._plans:
            if self._pool_of(self._plans[0]) is not None:
                return self._plans[0][0] - monotonic()
            heappop(self._plans)
        return TIMEOUT_MAX

    def _due(self) -> list[PoolBase[Any]]:
        """Take the notes of who was woken, and the plans whose time has come. Before any pool is turned."""
        found: list[PoolBase[Any] | None] = []
        for reference in list(self._woken):
            del self._woken[reference]
            found.append(reference())
        now = monotonic()
        while self._plans and self._plans[0][0] <= now:
            found.append(self._pool_of(heappop(self._plans)))
        if self._nudged:  # and not both at once: a nudge in between would be lost
            self._nudged = False
            found += self.pools()
        return [pool for pool in dict.fromkeys(found) if pool is not None]

    def _plan(self, pool: PoolBase[Any], left: float) -> None:
        """Look at a pool again in so many seconds, and no longer when it was planned before."""
        if left >= TIMEOUT_MAX:
            self._latest.pop(pool, None)
            return
        self._latest[pool] = order = next(self._order)
        heappush(self._plans, (monotonic() + left, order, weakref.ref(pool)))
        if len(self._plans) >= 2 * len(self._latest) + MANY_ALARMS:
            self._plans = [plan for plan in self._plans if self._pool_of(plan) is not None]
            heapify(self._plans)

    def _pool_of(self, plan: Plan) -> PoolBase[Any] | None:
        """The pool of a plan that still holds."""
        _, order, reference = plan
        pool = reference()
        return pool if pool is not None and self._latest.get(pool) == order else None

    def _ring(self) -> float:
        now = monotonic()
        while True:
            with self._lock:
                if not self._alarms:
                    return TIMEOUT_MAX
                at, _, alarm = self._alarms[0]
                if alarm.live and at > now:
                    return at - now
                heappop(self._alarms)
            try:
                alarm.ring()
            except Exception:  # noqa: BLE001 - it is logged, and must not end the upkeep of all pools
                _report.log.exception("an alarm failed")


class Bell(Protocol):
    """What the thread rings when its time has come, unless it is no longer live."""

    at: float
    live: bool

    def ring(self) -> None:
        """Do what is due, quickly: the upkeep of all pools waits meanwhile."""


CUT_AT_THE_END = "the answer came as the connection was cut off"


class Alarm(AbstractContextManager[None]):
    """Cuts a connection off if the block is not done in time: any driver's blocking call then returns.

    Raises:
        TimeoutError: it was cut off as the block ended well. Whoever asked must not take it for alive.
    """

    __slots__ = ("at", "live", "lock", "sock")

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        """Aim at a socket, under a number of its own: the driver's may be closed and given away meanwhile."""
        self.at = monotonic() + seconds
        self.sock = sock
        self.live = True
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        _thread.set(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.lock:
            is_cut = not self.live
            self.live = False
            self.sock.close()
        if is_cut and error is None:
            raise TimeoutError(CUT_AT_THE_END)

    def ring(self) -> None:
        """Cut, unless the block is done."""
        with self.lock:
            if self.live:
                self.live = False
                with suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)


_thread = Thread()


def wake(pool: PoolBase[Any]) -> None:
    """Have upkeep look at a threaded pool, for the first time or again."""
    if pool not in _thread._pools:
        _thread.register(pool)
    _thread.wake(pool)


def nudge() -> None:
    """Have upkeep look at all the pools it knows. For finalizers."""
    _thread.nudge()


def set_alarm(bell: Bell) -> None:
    """Have a bell rung in time."""
    _thread.set(bell)


def alarm(fileno: int | None, seconds: float) -> AbstractContextManager[None]:
    """Bound a blocking call on a connection by cutting its socket off; without a socket there is no bound."""
    if fileno is not None:
        with suppress(OSError):
            return Alarm(_sockets.borrow(fileno), seconds)
    return nullcontext()


def _renew() -> None:
    # Nothing is due in a child before a pool dials; it registers then, when its parent's core is gone.
    global _thread  # noqa: PLW0603 - threads do not survive a fork, nor may their locks
    _thread = Thread()


@atexit.register
def _say_goodbye() -> None:
    """Close what is idle when the process ends, so that servers need not find out by themselves."""
    for pool in _thread.pools():
        with suppress(Exception):
            pool.close(timeout=0)  # type: ignore[attr-defined] # only threaded pools register here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


class LoopTimer:
    """The upkeep of one `AsyncPool`: a plain timer on one of its loops, so nothing pends when it ends.

    It follows the work: a loop that is stopped or busy without end must not keep it from the others.
    """

    def __init__(self, pool: PoolBase[Any]) -> None:
        """Set nothing yet."""
        self._pool = weakref.ref(pool)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after the pool from `loop`, which is running in this thread."""
        if loop is not self._loop:
            # Only its own loop may cancel the timer that is set; it finds out by itself.
            self._loop, self._handle = loop, None
        elif self._handle is not None:
            self._handle.cancel()
            self._handle = None
        pool = self._pool()
        if pool is not None:
            left = _turn_safely(pool)
            if left < TIMEOUT_MAX:
                self._handle = loop.call_later(max(left, 0.0), self._ring, loop)

    def leave(self, closed: asyncio.AbstractEventLoop) -> None:
        """Move from a loop that is closed to the one running here, or to another that uses the pool."""
        if self._loop is closed:
            self._loop = self._handle = None
            here = self._here()
            if here is not None:
                self.set(here)
            else:
                self.wake()

    def wake(self) -> None:
        """Look again soon, from the loop running here if it uses the pool. Finalizers call this, anywhere."""
        here = self._here()
        for loop in (self._loop, *self._loops()) if here is None else (here,):
            if loop is not None:
                with suppress(
                    RuntimeError
                ):  # it is closed; when all are, the next to use the pool takes over
                    loop.call_soon_threadsafe(self.set, loop)
                    return

    def _loops(self) -> tuple[Any, ...]:
        """The loops that use the pool."""
        pool = self._pool()
        return () if pool is None else tuple(pool._core.lanes)

    def _here(self) -> asyncio.AbstractEventLoop | None:
        """The loop running here if it uses the pool.

        Any other one may end at any time, and nobody would notice: work for one pool of a group
        is handed on by another, in whichever loop that is used.
        """
        running = asyncio._get_running_loop()
        return running if running in self._loops() else None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self._loop:
            self._handle = None
            self.set(loop)
