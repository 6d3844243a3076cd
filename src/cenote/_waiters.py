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


class TaskWaiter(Waiter):
    """Waits on a future of its loop; wakes directly from that loop, thread-safely from elsewhere."""

    __slots__ = ("_future", "_loop")

    def __init__(
        self, lane: Lane, loop: asyncio.AbstractEventLoop, stack: frozenset[int] = frozenset()
    ) -> None:
        """Make the future under the running loop."""
        super().__init__(lane, stack)
        self._loop = loop
        self._future = loop.create_future()

    def accepts(self) -> bool:
        """Refuse once the task is cancelled or its time is up, though it has not run yet to leave the queue."""
        return not self._future.done()

    def wake(self) -> None:
        """Let the task run."""
        if asyncio._get_running_loop() is self._loop:
            self._arrive(True)
        else:
            with suppress(RuntimeError):  # the loop is closed and its task with it
                self._loop.call_soon_threadsafe(self._arrive, True)

    async def wait(self, seconds: float) -> bool:
        """Suspend until woken or `seconds` have passed; false for the latter."""
        timer = None
        if seconds < TIMEOUT_MAX:
            timer = self._loop.call_later(seconds, self._arrive, False)
        try:
            return await self._future
        finally:
            self._future = self._loop.create_future()  # for a second wait, if what it gets is dead
            if timer is not None:
                timer.cancel()

    def _arrive(self, news: bool) -> None:  # noqa: FBT001 - a callback's only argument
        if not self._future.done():
            self._future.set_result(news)
