"""How a task waits for a connection of the drop-in pool, and what a crowd of them costs.

`AsyncPool` wakes each of its callers early, to see whether he waits for himself. What is held without a
with block may have been handed on, so here that can be said at the deadline alone, and a caller waits in one
piece. For most deadlines, which are far, one timer serves all: nearly all of a thousand would be cancelled.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from .._async_lease import AwaitedLease
from .._asyncio import AsyncPool
from .._core import Slot
from ..errors import Error
from .errors import translated

FAR = 0.1
"""Seconds: a nearer deadline gets a timer of its own."""


class Timer:
    """Looks every now and then for those whose deadline has come near."""

    __slots__ = ("_loop", "_ringing", "callers")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set nothing yet."""
        self._loop = loop
        self._ringing = False
        self.callers: dict[Caller, None] = {}

    def add(self, caller: Caller) -> None:
        """Look after one more."""
        self.callers[caller] = None
        if not self._ringing:
            self._ringing = True
            self._loop.call_later(FAR / 2, self._ring)

    def _ring(self) -> None:
        near = monotonic() + FAR
        for caller in tuple(self.callers):
            if caller.until <= near or caller.is_through():
                del self.callers[caller]
                caller.set_timer()
        self._ringing = bool(self.callers)
        if self._ringing:
            self._loop.call_later(FAR / 2, self._ring)


_timers: WeakKeyDictionary[asyncio.AbstractEventLoop, Timer] = WeakKeyDictionary()


class Caller(AwaitedLease[Any]):
    """A caller in the queue, who waits until there is news or the deadline has passed."""

    __slots__ = ("_timer", "until")

    until: float
    _timer: Timer | None

    def wait_first(self) -> asyncio.Future[bool]:
        """Wait for news, or the deadline: the first wait is the only one."""
        return self.wait()

    def wait(self) -> asyncio.Future[bool]:
        """Wait for news, or the deadline."""
        if self.patience <= FAR:
            return super().wait()
        self.until = monotonic() + self.patience
        loop: asyncio.AbstractEventLoop = self.lane.face.loop
        self.future = future = loop.create_future()
        self._timer = _timers.get(loop)
        if self._timer is None:
            self._timer = _timers[loop] = Timer(loop)
        self._timer.add(self)
        return future

    def arrive(self, news: bool) -> None:  # noqa: FBT001 - a callback's only argument
        """Settle the future, under its loop."""
        if self._timer is not None:
            self._timer.callers.pop(self, None)
        super().arrive(news)

    def is_through(self) -> bool:
        """Whether nobody waits any more: served, or cancelled."""
        return self.future is None or self.future.done()

    def set_timer(self) -> None:
        """Give it a timer of its own."""
        if self.future is not None and not self.future.done():
            left = max(self.until - monotonic(), 0.0)
            timer = self.lane.face.loop.call_later(left, self.arrive, False)  # noqa: FBT003 - no news
            self.future.add_done_callback(lambda _: timer.cancel())


async def waited(inner: AsyncPool[Any]) -> Slot:
    """Acquire what was no hit."""
    caller = Caller()
    caller._hold = caller._timeout = caller._timer = caller._code = None
    caller._pool = inner
    caller._owner = caller._instruction = 0
    try:
        await caller.__aenter__()
    except Error as error:
        raise translated(error) from error.__cause__
    hold, caller._hold = caller._hold, None
    assert hold is not None
    slot: Slot = hold.slot
    slot.hold = hold
    return slot
