"""Leases for asyncio: one that was a hit, and one that has yet to acquire and is its own waiter.

Beside them `run`, by which they, their pool and the database handle drive a job under a loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator, Hashable
from types import CodeType, TracebackType, coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from . import _steps
from ._core import NOTHING, Slot
from ._pool import C, LeaseBase, PoolBase, TransactionBase
from ._waiters import TaskWaiter
from .durations import Duration

if TYPE_CHECKING:
    from ._asyncio import AsyncPool

T = TypeVar("T")


async def run(steps: _steps.Steps[T], first: _steps.Step | None = None) -> T:
    """Drive a job to its end, awaiting wherever it has to wait; from `first` on if it was begun."""
    try:
        step = next(steps) if first is None else first
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


@coroutine
def _nothing() -> Generator[None, None, None]:
    return
    yield


# What to await when there is nothing to wait for, as often as one likes: a generator that has come to its end
# says so at once, in C. A coroutine would have to be made each time, and `__await__` be looked up.
DONE = _nothing()
next(DONE, None)


class AsyncLease(LeaseBase[C]):
    """A connection in somebody's hands, until `release`, `discard` or the end of its async with block."""

    __slots__ = ()

    _done = DONE

    async def release(self) -> None:
        """Give the connection back, rolled back if a transaction is open. Harmless when done before.

        If cancelled while it has to talk to the server, the connection is closed.
        """
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> C:
        """Hand out the connection itself."""
        hold = self._hold
        if hold is not None:
            connection: C = hold.slot.connection
            return connection
        return self.connection

    if TYPE_CHECKING:

        def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> Awaitable[None]:
            """Give the connection back, or close it if the error leaves its state in doubt."""

    else:
        __aexit__ = LeaseBase._leave

    def _tidied(self, pool: PoolBase[Any], slot: Slot) -> Coroutine[Any, Any, None]:
        return run(_steps.put(pool, slot))


class AwaitedLease(AsyncLease[C], TaskWaiter):
    """A lease that was no hit: it acquires when it is awaited, and is its own waiter.

    With a thousand tasks in the queue, each object less for each of them is less for the garbage
    collector to look through.
    """

    __slots__ = (*TaskWaiter.FIELDS, "_code", "_instruction", "_owner", "_pool", "_timeout")
    # Whoever makes one sets what was asked, and where: a constructor in Python takes a tenth of a hand-off.
    __init__ = object.__init__
    _pool: AsyncPool[C] | None  # until it is awaited
    _timeout: Duration | None
    _owner: Hashable
    _code: CodeType | None
    _instruction: int

    async def __aenter__(self) -> C:
        """Acquire, the first time, and hand out the connection itself."""
        pool = self._pool
        if pool is None:
            return self.connection
        self._pool = None
        lane = pool._lane
        if lane is None:
            lane = pool._here()
        else:
            is_here = lane.face.is_here  # calling the attribute itself would look it up as a method first
            if not is_here():
                lane = pool._here()
        self.lane = lane
        self.slot = self.refusal = self.future = NOTHING
        self.queued = False
        clock = pool._clock
        self.queued_at = started = clock()
        try:
            # The plain case first: one wait in the queue for a connection that needs no look.
            if _steps.ask(pool, self, self._timeout):
                await self.wait_first()
        except BaseException:
            _steps.leave(pool, self)
            raise
        slot = self.slot
        if slot is None or not self.fresh:
            slot = await run(_steps.acquire(pool, self, started))
        self.slot = None
        slot.owner, slot.code, slot.instruction = self._owner, self._code, self._instruction
        self._hold = slot.hold
        slot.hold = None
        connection: C = slot.connection
        return connection

    def _mark(self, owner: Hashable, code: CodeType, instruction: int) -> None:
        super()._mark(owner, code, instruction)
        self._owner, self._code, self._instruction = owner, code, instruction


class AsyncTransaction(TransactionBase[C]):
    """The async with block of `AsyncPool.transaction`, on a lease that acquires on entering."""

    __slots__ = ()

    _lease: AsyncLease[C]

    async def __aenter__(self) -> C:
        """Acquire and begin."""
        connection = await self._lease.__aenter__()
        try:
            self._block = self._begin(connection)
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
