"""How a thread and how a task wait in the queue, take a hand-off, and are woken.

The queue itself is the core's (`Lane.waiters`); a hand-off is accepted or refused there, under
the lock. `wake` may come late, or for news that its waiter has found by itself, so `wait` says
only that there may be news: the caller looks at `slot` and `refusal`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from _thread import TIMEOUT_MAX, LockType, allocate_lock, get_ident
from asyncio import _get_running_loop  # None instead of an error
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from itertools import takewhile
from sys import get_asyncgen_hooks
from typing import Any

from ._core import Lane, Waiter

NEWS, NO_NEWS = True, False

FIRST_WAIT = 0.05
"""Seconds after which a waiter is checked for waiting on itself; most have been served by then."""


AT_ONCE = 2
"""Woken threads that may be on their way at once; one or three get less done (decision 0019)."""


class Turnstile:
    """Lets the threads that were woken go on a few at a time: the next one when one before it runs again.

    Whoever wakes wants the interpreter's lock. While he waits for it, each thread that gives it away for the
    moment of a system call loses it to him, and has to wait in its turn. Let in all at once, those who were
    woken and those who work are busy with nothing else. See docs/decisions/0019-two-threads-at-a-time.md.

    It takes no lock, since a finalizer may come here at any time. Now and then one more goes on than should,
    or one less until somebody stops waiting by himself. But somebody always does while somebody is in line:
    whoever stops waiting lets the next one in.
    """

    __slots__ = ("_line", "_places")

    def __init__(self, most: int = AT_ONCE) -> None:
        """Begin with nobody."""
        self._line: deque[ThreadWaiter] = deque()
        # Of those who may be on their way and are not. One more than there are is none.
        self._places: deque[None] = deque([None] * most, maxlen=most)

    # Who comes joins the line and then looks for a place; who gives one back looks at the line then.

    def admit(self, waiter: ThreadWaiter) -> None:
        """Let a waiter go on when it is his turn."""
        self._line.append(waiter)
        if self._places:
            self._let_in()

    def advance(self) -> None:
        """Let in the next one, since somebody runs."""
        self._places.append(None)
        if self._line:
            self._let_in()

    def _let_in(self) -> None:
        line, places = self._line, self._places
        while line and places:
            try:
                places.pop()
            except IndexError:  # whoever has it looks at the line when he gives it back
                return
            try:
                gate = line.popleft().gate
            except IndexError:  # another thread was faster
                gate = None
            try:  # suppress() would cost more than all the rest of a hand-off
                if gate is not None:
                    gate.release()
                    continue
            except RuntimeError:  # it is open already
                pass
            places.append(None)


def entrance() -> Turnstile | None:
    """Choose how woken threads go on; where they have one core, only one runs in any case: None, at once."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = (os.cpu_count() or 1) if affinity is None else len(affinity(0))
    return Turnstile() if cores > 1 else None


class ThreadWaiter(Waiter):
    """Waits on a raw lock of its own, so that exactly the right thread wakes."""

    __slots__ = (*Waiter.FIELDS, "_news", "gate")
    # A hand-off's is made where it is asked for, by hand: a constructor in Python would be felt there.
    __init__ = object.__init__
    gate: LockType | None  # of the wait under way: closed until somebody lets him in
    _news: bool  # since his last wait

    @classmethod
    def of(cls, lane: Lane) -> ThreadWaiter:
        """Make one where it does not matter what that takes."""
        waiter: ThreadWaiter = cls()
        Waiter.__init__(waiter, lane)
        waiter.gate = None
        waiter._news = False
        return waiter

    def wake(self) -> None:
        """Let the thread go on: at once, or when the one that was woken before it does."""
        self._news = True
        turnstile: Turnstile | None = self.lane.face
        if turnstile is not None:
            turnstile.admit(self)
            return
        gate = self.gate
        if gate is not None:
            try:  # as in the turnstile
                gate.release()
            except RuntimeError:
                pass

    def wait(self, most: float = TIMEOUT_MAX) -> bool:
        """Block until woken, or out of patience, or for so many seconds; false if there was no news."""
        patience = self.patience
        seconds = patience if patience < most else most  # noqa: FURB136 - min() takes longer than all the rest
        gate = allocate_lock()
        gate.acquire()
        self.gate = gate
        try:
            # Asked after he can be let in: who brought news before passed him over.
            return self._news or gate.acquire(True, seconds)  # noqa: FBT003 - by keyword it takes longer
        finally:
            self.gate = None  # before he lets in the next: whoever opened it had a place for him
            self._news = False  # and then the caller looks what it was
            turnstile: Turnstile | None = self.lane.face
            if turnstile is not None:
                turnstile.advance()


def sign_of(loop: asyncio.AbstractEventLoop) -> Callable[[], bool]:
    """Make the question whether `loop` is running in this thread; each acquire asks it.

    To ask for the running loop makes a system call before Python 3.12, a sixth of an acquire. But asyncio's
    loops know their thread, and uvloop's set, while they run and for their thread alone, a hook of their own.
    """
    known: Any = loop
    if sys.version_info >= (3, 12):
        return lambda: _get_running_loop() is loop
    if hasattr(loop, "_thread_id"):
        return lambda: known._thread_id == get_ident()
    hook = getattr(loop, "_asyncgen_firstiter_hook", None)
    return lambda: get_asyncgen_hooks()[0] == hook or _get_running_loop() is loop


class Home:
    """What the asyncio face keeps for each loop: whether it runs here, and one timer for all first waits.

    A timer of its own for each wait would be set and cancelled a thousand times for each that goes off.
    """

    __slots__ = ("_lock", "_seen", "_told", "_waiters", "is_here", "loop", "ringing")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, lane: Lane, lock: AbstractContextManager[object]
    ) -> None:
        """Set no timer yet."""
        self.loop = loop
        self.is_here = sign_of(loop)
        self._waiters = lane.waiters
        self._lock = lock
        self.ringing = False
        # Tickets: of the newest waiter at the last ring, and of the newest that was told.
        self._seen = self._told = 0

    def ring(self) -> None:
        """Begin to tell each waiter of this loop when its first wait is over, unless it has left by then."""
        self.ringing = True
        self.loop.call_later(FIRST_WAIT / 2, self._ring)

    def _ring(self) -> None:
        # Whoever is met a second time has waited for one interval at least and two at most. The queue is
        # read from its end, where those are who have not been told: each is looked at twice, in any crowd.
        with self._lock:
            untold = list(takewhile(lambda waiter: waiter.ticket > self._told, reversed(self._waiters)))
        late = [waiter for waiter in reversed(untold) if waiter.ticket <= self._seen]
        self._told = self._seen
        self.ringing = len(untold) > len(late)
        if self.ringing:
            self._seen = untold[0].ticket
            self.ring()
        for waiter in late:
            assert isinstance(waiter, TaskWaiter)
            waiter.arrive(NO_NEWS)


class TaskWaiter(Waiter):
    """Waits on a future of its loop; wakes directly from that loop, thread-safely from elsewhere."""

    __slots__ = ()

    future: asyncio.Future[bool] | None  # of the last wait

    def wake(self) -> None:
        """Let the task run."""
        home: Home = self.lane.face
        is_here = home.is_here  # calling the attribute itself would look it up as a method first
        if is_here():
            future = self.future
            if future is not None:
                try:  # `arrive` once more: to ask before whether it is done takes longer than to find out
                    future.set_result(NEWS)
                except asyncio.InvalidStateError:
                    pass
        else:
            with suppress(RuntimeError):  # the loop is closed and its task with it
                home.loop.call_soon_threadsafe(self.arrive, NEWS)

    def arrive(self, news: bool) -> None:  # noqa: FBT001 - a callback's only argument
        """Settle the future, under its loop. Late news of an earlier wait finds the present one."""
        future = self.future
        if future is not None and not future.done():
            future.set_result(news)

    def wait_first(self) -> asyncio.Future[bool]:
        """Give the future that is settled when there is news, or after `FIRST_WAIT`: false for the latter."""
        if self.patience < FIRST_WAIT:
            return self.wait()
        home: Home = self.lane.face
        if not home.ringing:
            home.ring()
        self.future = future = home.loop.create_future()
        return future

    def wait(self) -> asyncio.Future[bool]:
        """Give the future that is settled when there is news or patience runs out: false for the latter."""
        home: Home = self.lane.face
        self.future = future = home.loop.create_future()
        if self.patience < TIMEOUT_MAX:
            timer = home.loop.call_later(self.patience, self.arrive, NO_NEWS)
            future.add_done_callback(lambda _: timer.cancel())
        return future


class TaskEnder(TaskWaiter):
    """Waits for the end of a pool."""

    __slots__ = Waiter.FIELDS
