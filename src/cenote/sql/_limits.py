"""Deadlines that reach the server: who watches a statement, and what happens when its time is over.

At the deadline the server is asked, from elsewhere, to stop the statement, which then ends with the
server's own error. If nothing has come back after a short grace, the connection is cut off, so that
the caller gets its timeout whatever state the server is in.

A cancel request that comes late must not hit the next statement. So a limit that went off is ended
only when the request is done, and unless the statement's own error says that it was this one that
was stopped, the connection is closed.
"""

from __future__ import annotations

import asyncio
import enum
import threading
from _thread import allocate_lock
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from cenote import _crew, _report, _steps, _upkeep

if TYPE_CHECKING:
    from cenote._core import Slot
    from cenote._pool import PoolBase

GRACE = 0.05
"""Seconds that a server has to stop a statement, before the connection is cut off."""

Cancel = Callable[[Any], Any]


class Outcome(enum.Enum):
    """How a limited statement ended."""

    IN_TIME = enum.auto()  # nobody was asked to do anything
    CANCELLED = enum.auto()  # the server was asked, and has heard it
    CUT = enum.auto()  # nobody knows what the server has heard


class ThreadLimit:
    """Watches a statement that blocks a thread; an alarm of the upkeep thread."""

    __slots__ = (
        "_asked",
        "_cancel",
        "_cut",
        "_gate",
        "_lock",
        "_pool",
        "_slot",
        "_until",
        "at",
        "live",
        "outcome",
    )

    def __init__(self, pool: PoolBase[Any], slot: Slot, seconds: float, cancel: Cancel | None) -> None:
        """Start the watch."""
        self._pool, self._slot, self._cancel = pool, slot, cancel
        self._lock = threading.Lock()
        self._gate = allocate_lock()
        self._gate.acquire()
        self._asked = self._cut = False
        self.outcome: Outcome = Outcome.IN_TIME
        self.live: bool = True
        self.at: float = monotonic() + seconds
        self._until = self.at + GRACE
        _upkeep.set_alarm(self)

    def ring(self) -> None:
        """At the deadline ask the server, after the grace cut. The upkeep thread calls this."""
        with self._lock:
            if not self.live:
                return
            ask = self.outcome is Outcome.IN_TIME and self._cancel is not None
            self.outcome = Outcome.CUT
            if ask:
                self.at = self._until
            else:
                # Under the lock: once `end` has been here the connection is somebody else's. And again, as
                # long as it lasts: SQLite forgets it if its statement was about to begin.
                self._cut = True
                _steps.terminate(self._pool, self._slot)
                self.at = monotonic() + GRACE
        _upkeep.set_alarm(self)
        if ask:
            _crew.submit(self._ask)

    def _ask(self) -> None:
        assert self._cancel is not None
        try:
            self._cancel(self._slot.connection)
            self._asked = True
        except Exception:  # noqa: BLE001 - whatever a driver raises here, the connection will be closed
            _report.log.debug("pool %r: could not cancel a statement", self._pool.name, exc_info=True)
        self._gate.release()

    def end(self) -> Outcome:
        """Stop watching; if the server was asked, wait for that to be done, as long as the grace lasts."""
        with self._lock:
            self.live = False
            if self.outcome is Outcome.IN_TIME:
                return self.outcome
        if self._cancel is not None:
            heard = self._gate.acquire(timeout=max(self._until - monotonic(), 0.0)) and self._asked
            self.outcome = Outcome.CANCELLED if heard and not self._cut else Outcome.CUT
        return self.outcome


class TaskLimit:
    """Watches a statement that a task awaits."""

    __slots__ = (
        "_asked",
        "_cancel",
        "_cut",
        "_handle",
        "_loop",
        "_pool",
        "_slot",
        "_task",
        "_until",
        "outcome",
    )

    def __init__(self, pool: PoolBase[Any], slot: Slot, seconds: float, cancel: Cancel | None) -> None:
        """Start the watch, on the running loop."""
        self._pool, self._slot, self._cancel = pool, slot, cancel
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._asked = self._cut = False
        self.outcome: Outcome = Outcome.IN_TIME
        self._until = self._loop.time() + seconds + GRACE
        self._handle = self._loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self.outcome = Outcome.CUT
        if self._cancel is None:
            self._cut_off()
            return
        self._task = self._loop.create_task(self._ask(self._cancel), name="cenote-cancel")
        self._handle = self._loop.call_at(self._until, self._cut_off)

    def _cut_off(self) -> None:
        self._cut = True
        _steps.terminate(self._pool, self._slot)

    async def _ask(self, cancel: Cancel) -> None:
        try:
            await cancel(self._slot.connection)
            self._asked = True
        except Exception:  # noqa: BLE001 - whatever a driver raises here, the connection will be closed
            _report.log.debug("pool %r: could not cancel a statement", self._pool.name, exc_info=True)

    async def end(self) -> Outcome:
        """Stop watching; if the server was asked, wait for that to be done, as long as the grace lasts."""
        self._handle.cancel()
        if self._task is not None:
            left = max(self._until - self._loop.time(), 0.0)
            await asyncio.wait({self._task}, timeout=left)
            self.outcome = Outcome.CANCELLED if self._asked and not self._cut else Outcome.CUT
        return self.outcome


class Later(Protocol):
    """Something that will happen at a time, unless cancelled."""

    def cancel(self) -> None:
        """Let it not happen."""


class ThreadLater:
    """Runs a job on the crew in some seconds."""

    __slots__ = ("_job", "at", "live")

    def __init__(self, seconds: float, job: Callable[[], object]) -> None:
        """Set the alarm."""
        self._job = job
        self.live: bool = True
        self.at: float = monotonic() + seconds
        _upkeep.set_alarm(self)

    def ring(self) -> None:
        """Begin, elsewhere: the upkeep thread calls this."""
        if self.live:
            self.live = False
            _crew.submit(self._job)

    def cancel(self) -> None:
        """Let it not happen."""
        self.live = False
