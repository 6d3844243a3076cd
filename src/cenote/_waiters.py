"""How a thread and how a task wait in the queue, take a hand-off, and are woken.

The queue itself is the core's (`Lane.waiters`); a hand-off is accepted or refused there, under
the lock. `wake` may come late, or for news that its waiter has found by itself, so `wait` says
only that there may be news: the caller looks at `slot` and `refusal`.
"""

from __future__ import annotations

import asyncio
from _thread import TIMEOUT_MAX, allocate_lock
from contextlib import suppress

from ._core import Lane, Waiter


class ThreadWaiter(Waiter):
    """Waits on a raw lock of its own, so that exactly the right thread wakes."""

    __slots__ = ("_gate",)

    def __init__(self, lane: Lane, stack: frozenset[int] = frozenset()) -> None:
        """Close the gate."""
        super().__init__(lane, stack)
        self._gate = allocate_lock()
        self._gate.acquire()

    def wake(self) -> None:
        """Open the gate; once is enough."""
        with suppress(RuntimeError):  # it is open already
            self._gate.release()

    def wait(self, seconds: float) -> bool:
        """Block until woken or `seconds` have passed; false for the latter."""
        return self._gate.acquire(timeout=min(seconds, TIMEOUT_MAX))


class Patience:
    """The deadlines of all tasks that wait under one loop, with one timer between them.

    A timer for each wait would be set and cancelled a thousand times for each that goes off. This
    one goes off no later than the earliest deadline; finding nobody late it is set anew.
    """

    __slots__ = ("_at", "_deadlines", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set no timer yet."""
        self._loop = loop
        self._deadlines: dict[TaskWaiter, float] = {}
        self._at = float("inf")
        self._handle: asyncio.TimerHandle | None = None

    def watch(self, waiter: TaskWaiter, seconds: float) -> None:
        """Let `waiter` know when `seconds` have passed."""
        deadline = self._loop.time() + seconds
        self._deadlines[waiter] = deadline
        if deadline < self._at:
            self._set(deadline)

    def unwatch(self, waiter: TaskWaiter) -> None:
        """Forget `waiter`."""
        del self._deadlines[waiter]

    def _set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._at = at
        self._handle = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._at, self._handle = float("inf"), None
        now = self._loop.time()
        for waiter, deadline in self._deadlines.items():
            if deadline <= now:
                waiter.arrive(False)
        later = [deadline for deadline in self._deadlines.values() if deadline > now]
        if later:
            self._set(min(later))


class TaskWaiter(Waiter):
    """Waits on a future of its loop; wakes directly from that loop, thread-safely from elsewhere."""

    __slots__ = ("_future", "_loop", "_patience")

    def __init__(
        self,
        lane: Lane,
        loop: asyncio.AbstractEventLoop,
        patience: Patience,
        stack: frozenset[int] = frozenset(),
    ) -> None:
        """Make the future under the running loop."""
        super().__init__(lane, stack)
        self._loop = loop
        self._patience = patience
        self._future = loop.create_future()

    def accepts(self) -> bool:
        """Refuse once the task is cancelled or its time is up, though it has not run yet to leave the queue."""
        return not self._future.done()

    def rearm(self) -> None:
        """Make another future: the first one has had its news."""
        if self._future.done():
            self._future = self._loop.create_future()

    def wake(self) -> None:
        """Let the task run."""
        if asyncio._get_running_loop() is self._loop:
            self.arrive(True)
        else:
            with suppress(RuntimeError):  # the loop is closed and its task with it
                self._loop.call_soon_threadsafe(self.arrive, True)

    def arrive(self, news: bool) -> None:  # noqa: FBT001 - a callback's only argument
        """Settle the future, under its loop."""
        if not self._future.done():
            self._future.set_result(news)

    async def wait(self, seconds: float) -> bool:
        """Suspend until woken or `seconds` have passed; false for the latter."""
        self.rearm()
        if seconds >= TIMEOUT_MAX:
            return await self._future
        self._patience.watch(self, seconds)
        try:
            return await self._future
        finally:
            self._patience.unwatch(self)
