"""How a thread and how a task wait in the queue, take a hand-off, and are woken.

The queue itself is the core's (`Lane.waiters`); a hand-off is accepted or refused there, under
the lock. `wake` may come late, or for news that its waiter has found by itself, so `wait` says
only that there may be news: the caller looks at `slot` and `refusal`.
"""

from __future__ import annotations

import asyncio
from _thread import TIMEOUT_MAX, allocate_lock, get_ident
from asyncio import _get_running_loop  # None instead of an error
from collections import OrderedDict
from contextlib import suppress
from time import monotonic

from ._core import Lane, Slot, Waiter

NEWS, NO_NEWS = True, False

FIRST_WAIT = 0.05
"""Seconds after which a waiter is checked for waiting on itself; most have been served by then."""

RING_APART = 0.002
"""Seconds between two looks at who has waited that long: in a crowd they come one after the other."""


class ThreadWaiter(Waiter):
    """Waits on a raw lock of its own, so that exactly the right thread wakes."""

    def __init__(self, lane: Lane, found: Slot | None, now: float) -> None:
        """Close the gate."""
        self.lane, self.slot, self.queued_at = lane, found, now
        self._gate = allocate_lock()
        self._gate.acquire()

    def wake(self) -> None:
        """Open the gate; once is enough."""
        try:  # suppress() would cost more than all the rest of a hand-off
            self._gate.release()
        except RuntimeError:  # it is open already
            pass

    def wait(self) -> bool:
        """Block until woken or out of patience; false for the latter."""
        return self._gate.acquire(timeout=min(self.patience, TIMEOUT_MAX))


class Home:
    """What the asyncio face keeps for each loop: whether it runs here, and one timer for first waits.

    All first waits are equally long, so they end in the order they began. A timer of its own for each
    would be set and cancelled a thousand times for each that goes off.
    """

    __slots__ = ("_ringing", "_tells", "began", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set no timer yet."""
        self.loop = loop
        self._tells = hasattr(loop, "_thread_id")
        # Ordered: its oldest is found at once, however many have left before it.
        self.began: OrderedDict[TaskWaiter, float] = OrderedDict()
        self._ringing = False

    def is_here(self) -> bool:
        """Whether this loop is running in this thread.

        asyncio's loops know the thread they run in. To ask for the running loop instead, as others
        need, makes a system call before Python 3.12, which would be a sixth of an acquire.
        """
        if self._tells:
            here: bool = self.loop._thread_id == get_ident()  # type: ignore[attr-defined] # asked above
            return here
        return _get_running_loop() is self.loop

    def add(self, waiter: TaskWaiter) -> None:
        """Let `waiter` know when `FIRST_WAIT` seconds have passed, unless it is gone from `began` by then."""
        self.began[waiter] = monotonic()
        if not self._ringing:
            self._ringing = True
            self.loop.call_later(FIRST_WAIT, self._ring)

    def _ring(self) -> None:
        late = monotonic() - FIRST_WAIT
        while self.began:
            waiter, began = next(iter(self.began.items()))
            if began > late:
                self.loop.call_later(max(began - late, RING_APART), self._ring)
                return
            waiter.arrive(NO_NEWS)
        self._ringing = False


class TaskWaiter(Waiter):
    """Waits on a future of its loop; wakes directly from that loop, thread-safely from elsewhere."""

    def __init__(self, lane: Lane, found: Slot | None, now: float, home: Home) -> None:
        """Make the future under the running loop."""
        self.lane, self.slot, self.queued_at = lane, found, now
        self._home = home
        self._future: asyncio.Future[bool] = home.loop.create_future()

    def accepts(self) -> bool:
        """Refuse once the task is cancelled, though it has not run yet to leave the queue."""
        return not self._future.cancelled()

    def wake(self) -> None:
        """Let the task run."""
        if self._home.is_here():
            self.arrive(NEWS)
        else:
            with suppress(RuntimeError):  # the loop is closed and its task with it
                self._home.loop.call_soon_threadsafe(self.arrive, NEWS)

    def arrive(self, news: bool) -> None:  # noqa: FBT001 - a callback's only argument
        """Settle the future, under its loop."""
        self._home.began.pop(self, None)
        if not self._future.done():
            self._future.set_result(news)

    def wait(self) -> asyncio.Future[bool]:
        """Give the future that is settled when there is news or patience runs out: false for the latter."""
        if self._future.done():  # by an earlier wait; late news of that one finds this one
            self._future = self._home.loop.create_future()
        if self.patience == FIRST_WAIT:
            self._home.add(self)
        elif self.patience < TIMEOUT_MAX:
            timer = self._home.loop.call_later(self.patience, self.arrive, NO_NEWS)
            self._future.add_done_callback(lambda _: timer.cancel())
        return self._future
