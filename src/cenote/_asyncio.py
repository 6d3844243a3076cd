"""`AsyncPool`: the face for asyncio. It takes hits without suspending and awaits in all other jobs.

Connections belong to the event loop that made them, so the core keeps a lane for each loop and
one limit for all. Loops may run in different threads; jobs are carried to the loop they belong to.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import _get_running_loop  # the C function: None instead of an error, and no Python frame
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from sys import _getframe
from time import monotonic
from types import CodeType, TracebackType
from typing import Any, Generic, TypeVar, Unpack, overload
from weakref import ref

from . import _steps, _upkeep
from ._core import Lane, Slot
from ._pool import C, PoolBase
from ._sockets import Farewell
from ._waiters import TaskWaiter
from .connector import AsyncConnector
from .durations import Duration, seconds
from .errors import ConfigError, Error
from .events import Listener
from .options import Options, OptionsDict

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


async def run(steps: _steps.Steps[T]) -> T:
    """Drive a job to its end, awaiting wherever it has to wait."""
    try:
        step = next(steps)
        while True:
            try:
                result = await step()
            except BaseException as error:  # noqa: BLE001 - thrown in where it happened
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


class AsyncLease(Generic[C]):
    """A connection in somebody's hands, until `release`, `discard` or the end of its async with block."""

    __slots__ = ("__weakref__", "_code", "_instruction", "_pool", "_scoped", "_slot", "_timeout")

    _pool: AsyncPool[C]
    _slot: Slot | None
    _timeout: Duration | None
    _scoped: bool
    _code: CodeType
    _instruction: int

    @property
    def connection(self) -> C:
        """The driver's own connection.

        Raises:
            cenote.Error: the lease was given back, or has not been awaited.
        """
        if self._slot is None:
            message = "this lease holds no connection: it was given back, or never awaited"
            raise Error(message)
        connection: C = self._slot.connection
        return connection

    async def release(self) -> None:
        """Give the connection back, rolled back if a transaction is open. Harmless when done before.

        If cancelled while it has to talk to the server, the connection is closed.
        """
        await self.__aexit__(None, None, None)

    def discard(self) -> None:
        """Close the connection, in the background, instead of giving it back. Harmless after `release`."""
        slot = self._slot
        if slot is not None:
            self._slot = None
            _steps.discard(self._pool, slot)

    async def _acquired(self) -> AsyncLease[C]:
        await self.__aenter__()
        return self

    async def __aenter__(self) -> C:
        """Acquire, unless `acquire` has done so, and hand out the connection itself."""
        if self._slot is not None:
            return self.connection
        pool = self._pool
        loop = _get_running_loop()
        lane = pool._core.lanes.get(loop) or pool._enter(loop)
        slot = pool._core.take(lane, pool._clock())
        if slot is None or (slot.watch is not None and slot.watch(0)):
            slot = await pool._acquire(self._timeout, lane, slot)
        slot.owner = ref(asyncio.current_task(loop))
        slot.scoped = self._scoped
        slot.code = self._code
        slot.instruction = self._instruction
        self._slot = slot
        connection: C = slot.connection
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back, or close it if the error leaves its state in doubt."""
        slot = self._slot
        if slot is None:
            return
        self._slot = None
        pool = self._pool
        if error is not None and _steps.distrusts(pool, error):
            _steps.discard(pool, slot)
        elif pool._is_clean is None or pool._is_clean(slot.connection) or await run(_steps.tidy(pool, slot)):
            _steps.give_back(pool, slot)

    def __del__(self) -> None:
        """Report a lease that nobody gave back; see `Core.drop` for what may be done here."""
        slot = self._slot
        if slot is not None:
            self._pool._core.drop(slot)
            self._pool._wake_upkeep()

    def __repr__(self) -> str:
        """Name the connection."""
        state = "no connection" if self._slot is None else f"connection {self._slot.id}"
        return f"<AsyncLease of {self._pool.name!r}: {state}>"


class AsyncTransaction(Generic[C]):
    """The async with block of `AsyncPool.transaction`."""

    __slots__ = ("_block", "_lease")

    def __init__(self, lease: AsyncLease[C]) -> None:
        """Wrap a lease that will acquire on entering."""
        self._lease = lease
        self._block: Any = None

    async def __aenter__(self) -> C:
        """Acquire and begin."""
        begin = self._lease._pool._hooks.transaction
        assert begin is not None
        connection = await self._lease.__aenter__()
        try:
            self._block = begin(connection)
            await self._block.__aenter__()
        except BaseException:
            self._lease.discard()
            raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back on an error, and give the connection back."""
        try:
            await self._block.__aexit__(kind, error, trace)
        except BaseException as failed:
            await self._lease.__aexit__(type(failed), failed, failed.__traceback__)
            raise
        await self._lease.__aexit__(kind, error, trace)


class AsyncPool(PoolBase[C]):
    """A pool of connections for asyncio: bounded, first come first served, self-healing.

    It may be made before any loop runs, and used under several loops, in several threads, within
    one `max_open`. Connections of a closed loop are dropped. An async context manager that closes itself.

    Args:
        target: a URL, an `AsyncConnector`, a coroutine function that returns a connection, or `Options` with a dsn.
        listener: called with each `Event`, outside the lock, in the thread that caused it. It must not raise.
        clock: monotonic seconds; for tests.
        **options: see `Options`.

    Raises:
        ConfigError: the target or an option makes no sense. Nothing was opened.
        TypeError: there is no such option.
    """

    _asynchronous = True

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
        self._jobs: set[asyncio.Task[None]] = set()
        self._timer: _upkeep.LoopTimer = _upkeep.LoopTimer(self)

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
        return self._prepare(timeout, scoped=True)

    def acquire(self, timeout: Duration | None = None) -> Coroutine[Any, Any, AsyncLease[C]]:
        """Lend a connection until `AsyncLease.release`; to be awaited. Like `connection`, which is to be preferred.

        A lease may be handed to another task, so `SelfDeadlock` is raised only at the deadline.
        """
        return self._prepare(timeout, scoped=False)._acquired()

    def transaction(self, timeout: Duration | None = None) -> AsyncTransaction[C]:
        """Lend a connection to an async with block in a transaction: commit on success, roll back on error.

        Raises:
            ConfigError: the connector has no transactions.
            PoolTimeout, PoolFull, PoolClosed, ConnectError, SelfDeadlock: see `connection`.
        """
        if self._hooks.transaction is None:
            message = f"pool {self.name!r}: its connector has no transaction(); use connection()"
            raise ConfigError(message)
        return AsyncTransaction(self._prepare(timeout, scoped=True))

    def _prepare(self, timeout: Duration | None, *, scoped: bool) -> AsyncLease[C]:
        lease: AsyncLease[C] = AsyncLease()
        lease._slot = None
        lease._pool = self
        lease._timeout = timeout
        lease._scoped = scoped
        frame = _getframe(2)
        lease._code = frame.f_code
        lease._instruction = frame.f_lasti
        return lease

    async def _acquire(self, timeout: Duration | None, lane: Lane, found: Slot | None) -> Slot:
        loop = asyncio.get_running_loop()
        if len(self._core.lanes) > 1:
            self._sweep()
        waiter = TaskWaiter(lane, ref(asyncio.current_task(loop)), loop)
        return await run(_steps.acquire(self, waiter, found, self._deadline(timeout)))

    # ── loops ───────────────────────────────────────────────────────────────────────────────────

    def _enter(self, loop: Loop | None) -> Lane:
        """Make the lane of a loop that uses the pool for the first time."""
        if loop is None:
            message = "an AsyncPool is used under a running event loop; use Pool in plain threads"
            raise RuntimeError(message)
        self._sweep()
        with self._core.lock:
            lane = self._core.lane(loop)
        self._timer.set(loop)
        return lane

    def _sweep(self) -> None:
        """Drop what belongs to loops that are closed."""
        core = self._core
        for loop in [loop for loop in tuple(core.lanes) if loop.is_closed()]:  # type: ignore[attr-defined] # a lane's affinity is its loop here
            with core.lock:
                todo = core.forget(loop, self._clock()) if loop in core.lanes else None
            if todo is not None:
                _steps.carry_out(self, todo)

    # ── the whole pool ──────────────────────────────────────────────────────────────────────────

    async def ping(self, timeout: Duration | None = None) -> None:
        """Verify that the server can be reached and answers, by one round trip.

        Raises:
            ConnectError: it cannot be reached, refuses us, or does not answer.
            PoolTimeout, PoolFull, PoolClosed, SelfDeadlock: see `connection`.
        """
        deadline = self._deadline(timeout)
        lease = self._prepare(timeout, scoped=True)
        await lease.__aenter__()
        assert lease._slot is not None
        try:
            await run(_steps.ping(self, lease._slot, deadline))
        except BaseException:
            lease.discard()
            raise
        await lease.release()

    async def close(self, timeout: Duration = 5.0) -> None:
        """Close the pool. Idle connections go at once, waiters get `PoolClosed`, leases are closed when they come back.

        Waits for them; what has not come back after `timeout` is cut off. Harmless when done before.
        """
        loop = asyncio.get_running_loop()
        self._sweep()
        ender = TaskWaiter(Lane(loop), None, loop)
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

    async def _connect(self, seconds: float) -> C:
        async with asyncio.timeout(seconds):
            connection: C = await self._connector.connect(seconds)
        return connection

    async def _talk(self, hook: Callable[[C], Any], slot: Slot, seconds: float) -> Any:
        async with asyncio.timeout(seconds):
            return await hook(slot.connection)

    async def _farewell(self, farewell: Farewell, seconds: float) -> None:
        sock = farewell.sock
        if sock is None or seconds <= 0:
            return
        sock.setblocking(False)
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
        """Begin a job now and let a task go on with it: a task cancelled before its start would undo nothing."""
        steps = job(self, slot)
        try:
            first = next(steps)
        except StopIteration:
            return
        task = asyncio.get_running_loop().create_task(_go_on(steps, first), name="cenote-job")
        self._jobs.add(task)
        task.add_done_callback(lambda done: (self._jobs.discard(done), steps.close()))

    def _wake_upkeep(self) -> None:
        self._timer.wake()

    def _forked(self) -> None:
        super()._forked()
        self._jobs = set()
        self._timer = _upkeep.LoopTimer(self)


async def _go_on(steps: _steps.Steps[None], first: _steps.Step) -> None:
    """Drive a job whose first step is known."""
    step = first
    with suppress(StopIteration):
        while True:
            try:
                result = await step()
            except BaseException as error:  # noqa: BLE001 - thrown in where it happened
                step = steps.throw(error)
            else:
                step = steps.send(result)
