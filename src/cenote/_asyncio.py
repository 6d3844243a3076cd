"""`AsyncPool`: the face for asyncio. It takes hits without suspending and awaits in all other jobs.

Connections belong to the event loop that made them, so the core keeps a lane for each loop and
one limit for all. Loops may run in different threads; jobs are carried to the loop they belong to.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop  # the C function: None instead of an error, and no Python frame
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import suppress
from sys import _getframe
from time import monotonic
from types import CodeType, TracebackType
from typing import Any, Unpack, overload

from . import _explain, _steps, _upkeep
from ._async_lease import DONE, AsyncTransaction, AwaitedLease
from ._async_lease import AsyncLease as AsyncLease  # noqa: PLC0414 - part of this module's face
from ._async_lease import run as run  # noqa: PLC0414 - as above
from ._core import Budget, Lane, Slot
from ._pool import C, Forever, PoolBase, reference
from ._sockets import Farewell
from ._waiters import Home, TaskEnder
from .connector import AsyncConnector
from .durations import Duration, seconds
from .errors import ConfigError
from .events import Listener
from .options import Options, OptionsDict

CUT_GRACE = 0.05
"""Seconds in which a driver has to notice that its connection was cut off; then its hook is cancelled."""

Loop = asyncio.AbstractEventLoop


class AsyncPool(PoolBase[C]):
    """A pool of connections for asyncio: bounded, first come first served, self-healing.

    It may be made before any loop runs, and used under several loops, in several threads, within
    one `max_open`. Connections of a closed loop are dropped. An async context manager that closes itself.

    Args:
        target: a URL, an `AsyncConnector`, a coroutine function that returns a connection, or `Options`.
        listener: called with each `Event`, outside the lock, in the thread that caused it. It must not raise.
        clock: monotonic seconds; for tests.
        **options: see `Options`.

    Raises:
        ConfigError: the target or an option makes no sense. Nothing was opened.
        TypeError: there is no such option.
    """

    _asynchronous = True
    _done = DONE
    _lane: Lane | None  # of the only loop that has asked; None if there are others
    _jobs: set[asyncio.Task[None]]
    _timer: _upkeep.LoopTimer

    @overload
    def __init__(
        self: AsyncPool[Any],
        target: str | Options,
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Unpack[OptionsDict],
    ) -> None: ...

    @overload
    def __init__(
        self,
        target: AsyncConnector[C] | Callable[[], Awaitable[C]],
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Unpack[OptionsDict],
    ) -> None: ...

    def __init__(
        self,
        target: str | Options | AsyncConnector[C] | Callable[[], Awaitable[C]],
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Unpack[OptionsDict],
    ) -> None:
        """Understand target and options; open nothing."""
        super().__init__(target, listener, clock, **options)

    # ── acquire and release ─────────────────────────────────────────────────────────────────────

    def connection(self, timeout: Duration | None = None) -> AsyncLease[C]:
        """Lend a connection to an async with block: ``async with pool.connection() as conn``.

        What the block leaves open in a transaction is rolled back, with a `RuntimeWarning` that
        names the site. Cancelling while it waits costs nothing and nobody.

        Args:
            timeout: for waiting, dialing and checking together; the pool's `timeout` if None.

        Raises:
            PoolTimeout: the deadline passed; `.phase` says where.
            PoolFull: the queue has no room, or ``on_full="reject"``.
            PoolClosed: the pool is closed, or was closed while waiting.
            ConnectError: no connection could be opened and none is in use that might come back.
            SelfDeadlock: this task holds all there is in with blocks of its own.
        """
        frame = _getframe(1)
        if self._core.calm:
            slot = self._take()
            if slot is not None:
                slot.owner = id(frame)
                slot.code = frame.f_code
                slot.instruction = frame.f_lasti
                lease: AsyncLease[C] = AsyncLease()
                lease._hold = slot.hold
                slot.hold = None
                return lease
        late: AwaitedLease[C] = AwaitedLease()
        late._hold = None
        late._pool = self
        late._timeout = timeout
        late._owner = id(frame)
        late._code = frame.f_code
        late._instruction = frame.f_lasti
        return late

    def acquire(self, timeout: Duration | None = None) -> Coroutine[Any, Any, AsyncLease[C]]:
        """Lend a connection until `AsyncLease.release`; to be awaited. Prefer `connection`, which it is like.

        A lease may be handed to another task, so `SelfDeadlock` is raised only at the deadline.
        """
        frame = _getframe(1)
        return self._lend(timeout, frame.f_code, frame.f_lasti)

    async def _lend(self, timeout: Duration | None, code: CodeType, instruction: int) -> AsyncLease[C]:
        # Nothing is taken before this runs: a task may be cancelled before its first step.
        lease = self.connection(timeout)
        await lease.__aenter__()
        lease._mark(self._actor(), code, instruction)
        return lease

    def transaction(self, timeout: Duration | None = None) -> AsyncTransaction[C]:
        """Lend a connection to an async with block in a transaction: commit on success, roll back on error.

        Raises:
            ConfigError: the connector has no transactions.
            PoolTimeout, PoolFull, PoolClosed, ConnectError, SelfDeadlock: see `connection`.
        """
        if self._hooks.transaction is None:
            message = f"pool {self.name!r}: its connector has no transaction(); use connection()"
            raise ConfigError(message)
        lease = self.connection(timeout)
        frame = _getframe(1)
        lease._mark(id(frame), frame.f_code, frame.f_lasti)
        return AsyncTransaction(lease, self._hooks.transaction)

    def _take(self) -> Slot | None:
        """Take an idle connection into which nothing is to be looked, in calm; None if there is none."""
        core = self._core
        lane = self._lane
        if lane is None or not lane.face.is_here():
            lane = core.lanes.get(_get_running_loop())
            if lane is None:
                return None
        clock = self._clock  # calling the attribute itself would look it up as a method first
        slot = core.take(lane, clock())
        if slot is not None and slot.watch is not None and slot.watch(0):
            _steps.put_back(self, slot)  # to look may take waiting, which is done where it can be awaited
            return None
        return slot

    # ── loops ───────────────────────────────────────────────────────────────────────────────────

    def _here(self) -> Lane:
        """Find the lane of the running loop, or make it."""
        self._sweep()
        loop = asyncio.get_running_loop()
        lane = self._core.lanes.get(loop) or self._enter(loop)
        # Under the lock, so that no lane comes in between: where there are several, each acquire sweeps.
        with self._core.lock:
            self._lane = lane if len(self._core.lanes) == 1 else None
        return lane

    def _enter(self, loop: Loop | None) -> Lane:
        """Make the lane of a loop that uses the pool for the first time."""
        if loop is None:
            message = "an AsyncPool is used under a running event loop; use Pool in plain threads"
            raise RuntimeError(message)
        self._sweep()
        with self._core.lock:
            self._lane = None
            lane = self._core.lane(loop)
        lane.face = Home(loop, lane, self._core.lock)
        self._timer.set(loop)
        return lane

    def _sweep(self) -> None:
        """Drop what belongs to loops that are closed, in all pools that share the budget."""
        for pool in tuple(self._core.budget.holders.values()):
            if isinstance(pool, AsyncPool) and pool is not self:
                pool._sweep_own()
        self._sweep_own()

    def _sweep_own(self) -> None:
        core = self._core
        for loop in [loop for loop in tuple(core.lanes) if loop.is_closed()]:  # type: ignore[attr-defined] # a lane's affinity is its loop here
            with core.lock:
                todo = core.forget(loop, self._clock()) if loop in core.lanes else None
            if todo is not None:
                _steps.carry_out(self, todo)
            for job in [job for job in tuple(self._jobs) if job.get_loop() is loop]:
                self._abandon(job)
            self._timer.leave(loop)  # type: ignore[arg-type] # as above

    # ── the whole pool ──────────────────────────────────────────────────────────────────────────

    async def ping(self, timeout: Duration | None = None) -> None:
        """Verify that the server can be reached and answers, by one round trip.

        Raises:
            ConnectError: it cannot be reached, refuses us, or does not answer.
            PoolTimeout, PoolFull, PoolClosed, SelfDeadlock: see `connection`.
        """
        deadline = self._deadline(timeout, self._clock())
        lease = self.connection(timeout)
        await lease.__aenter__()
        assert lease._hold is not None
        try:
            await run(_steps.ping(self, lease._hold.slot, deadline))
        except BaseException:
            lease.discard()
            raise
        await lease.release()

    async def close(self, timeout: Duration = 5.0) -> None:
        """Close the pool: idle connections at once, leases when they come back; waiters get `PoolClosed`.

        Waits for the leases; what has not come back after `timeout` is cut off. Harmless when done before.
        """
        loop = asyncio.get_running_loop()
        self._sweep()
        lane = Lane(loop)
        lane.face = Home(loop, lane, self._core.lock)
        ender = TaskEnder(lane)
        await run(_steps.shut(self, ender, seconds(timeout, option="timeout")))
        jobs = [job for job in tuple(self._jobs) if job.get_loop() is loop]
        if jobs:
            await asyncio.wait(jobs, timeout=0)

    async def __aenter__(self) -> AsyncPool[C]:
        """Use the pool as its own context manager."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    # ── what jobs ask for ───────────────────────────────────────────────────────────────────────

    def _actor(self) -> Hashable:
        return reference(asyncio.current_task() or self)

    def _claims(self) -> frozenset[Hashable]:
        self._sweep()  # one that has waited for a while may wait for a loop that will never run again
        # A task that is started eagerly runs on the stack of another, which does not wait for it.
        coroutine = getattr(asyncio.current_task(), "get_coro", lambda: None)()
        return _explain.claims(self._core, self._actor(), getattr(coroutine, "cr_frame", None))

    async def _connect(self, seconds: float) -> C:
        async with asyncio.timeout(seconds):
            connection: C = await self._connector.connect(seconds)
        return connection

    async def _talk(self, hook: Callable[[C], Any], slot: Slot, seconds: float) -> Any:
        if seconds == Forever:
            return await hook(slot.connection)
        # Cut off rather than cancelled: psycopg would ask a silent server to cancel, and wait five seconds.
        is_cut = False

        def cut() -> None:
            nonlocal is_cut
            is_cut = True
            _steps.terminate(self, slot)

        alarm = asyncio.get_running_loop().call_later(seconds, cut)
        try:
            async with asyncio.timeout(seconds + CUT_GRACE):
                result = await hook(slot.connection)
        finally:
            alarm.cancel()
        if is_cut:
            raise TimeoutError(_upkeep.CUT_AT_THE_END)
        return result

    async def _farewell(self, farewell: Farewell, seconds: float) -> None:
        sock = farewell.sock
        if sock is None or seconds <= 0:
            return
        sock.setblocking(False)  # noqa: FBT003 - its only parameter
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # and TimeoutError, which is one
            async with asyncio.timeout(seconds):
                while await loop.sock_recv(sock, 65536):
                    pass

    def _spawn(self, job: Callable[[Any, Slot], _steps.Steps[None]], slot: Slot) -> None:
        loop = slot.lane.affinity
        assert isinstance(loop, Loop)
        if _get_running_loop() is loop:
            self._start(job, slot)
            return
        try:
            loop.call_soon_threadsafe(self._start, job, slot)
        except RuntimeError:  # the loop is closed, and with it all that it could do for this slot
            self._sweep()

    def _start(self, job: Callable[[Any, Slot], _steps.Steps[None]], slot: Slot) -> None:
        """Begin a job now and let a task go on: a task cancelled before its start would undo nothing."""
        steps = job(self, slot)
        try:
            first = next(steps)
        except StopIteration:
            return
        task = asyncio.get_running_loop().create_task(run(steps, first), name="cenote-job")
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        task.add_done_callback(lambda _: steps.close())

    def _abandon(self, job: asyncio.Task[None]) -> None:
        """End a job whose loop is closed, as when another loop had it begun in the last turn of this one."""
        self._jobs.discard(job)
        # Its place is free already: that it was destroyed while pending, as asyncio would log, harms nobody.
        job._log_destroy_pending = False  # type: ignore[attr-defined] # typeshed leaves it out
        with suppress(Exception):  # a driver's, that would have its loop do something
            job.get_coro().close()

    def _wake_upkeep(self) -> None:
        self._timer.wake()

    def _nudge_upkeep(self) -> None:
        self._timer.wake()

    def _start_anew(self, budget: Budget | None) -> None:
        super()._start_anew(budget)
        self._lane = None
        self._jobs = set()
        self._timer = _upkeep.LoopTimer(self)
