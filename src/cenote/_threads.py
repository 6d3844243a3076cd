"""`Pool`: the face for threads. It takes hits by itself and drives all other jobs by blocking."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import partial
from sys import _getframe
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from . import _crew, _steps, _upkeep
from ._core import NOTHING, Budget, Lane, Slot
from ._pool import C, LeaseBase, PoolBase, TransactionBase
from ._sockets import Farewell
from ._waiters import FIRST_WAIT, ThreadWaiter, entrance
from .connector import Connector
from .durations import Duration, seconds
from .errors import ConfigError
from .events import Listener
from .options import Options, OptionsDict

T = TypeVar("T")

# Stands for each thread, as long as somebody refers to it: a thread's number is given away again.
_thread = threading.local()


def run(steps: _steps.Steps[T]) -> T:
    """Drive a job to its end, blocking wherever it has to wait."""
    try:
        step = next(steps)
        while True:
            try:
                result = step()
            except BaseException as error:  # noqa: BLE001 - thrown in where it happened
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        value: T = end.value
        return value


class Lease(LeaseBase[C]):
    """A connection in somebody's hands, until `release`, `discard` or the end of its with block."""

    __slots__ = ()

    def release(self) -> None:
        """Give the connection back, rolled back if a transaction is open. Harmless when done before."""
        self.__exit__(None, None, None)

    def __enter__(self) -> C:
        """Hand out the connection itself."""
        hold = self._hold
        connection: C = self.connection if hold is None else hold.slot.connection
        return connection

    if TYPE_CHECKING:

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            """Give the connection back, or close it if the error leaves its state in doubt."""

    else:
        __exit__ = LeaseBase._leave

    def _tidied(self, pool: PoolBase[Any], slot: Slot) -> None:
        run(_steps.put(pool, slot))


class Transaction(TransactionBase[C]):
    """The with block of `Pool.transaction`, on a lease that has its connection."""

    __slots__ = ()

    _lease: Lease[C]

    def __enter__(self) -> C:
        """Begin."""
        connection = self._lease.connection
        try:
            self._block = self._begin(connection)
            self._block.__enter__()
        except BaseException:
            self._lease.discard()
            raise
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back on an error, and give the connection back."""
        try:
            self._block.__exit__(kind, error, trace)
        except BaseException as failed:
            self._lease.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._lease.__exit__(kind, error, trace)


class Pool(PoolBase[C]):
    """A pool of connections for threads: bounded, first come first served, self-healing.

    Making one opens nothing; use `ping` to see whether the server can be reached. A pool is a
    context manager that closes itself.

    Args:
        target: a URL, a `Connector`, a callable that returns a connection, or `Options` with a dsn.
        listener: called with each `Event`, outside the lock, in the thread that caused it. It must not raise.
        clock: monotonic seconds; for tests.
        **options: see `Options`.

    Raises:
        ConfigError: the target or an option makes no sense. Nothing was opened.
        TypeError: there is no such option.
    """

    _asynchronous = False
    _lane: Lane

    @overload
    def __init__(
        self: Pool[Any],
        target: str | Options,
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Unpack[OptionsDict],
    ) -> None: ...

    @overload
    def __init__(
        self,
        target: Connector[C] | Callable[[], C],
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Unpack[OptionsDict],
    ) -> None: ...

    def __init__(
        self,
        target: str | Options | Connector[C] | Callable[[], C],
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Unpack[OptionsDict],
    ) -> None:
        """Understand target and options; open nothing."""
        super().__init__(target, listener, clock, **options)

    # ── acquire and release ─────────────────────────────────────────────────────────────────────

    def connection(self, timeout: Duration | None = None) -> Lease[C]:
        """Lend a connection to a with block: ``with pool.connection() as conn``.

        The connection is acquired by this call, not by entering the block. What the block leaves
        open in a transaction is rolled back, with a `RuntimeWarning` that names the site.

        Args:
            timeout: for waiting, dialing and checking together; the pool's `timeout` if None.

        Raises:
            PoolTimeout: the deadline passed; `.phase` says where.
            PoolFull: the queue has no room, or ``on_full="reject"``.
            PoolClosed: the pool is closed, or was closed while waiting.
            ConnectError: no connection could be opened and none is in use that might come back.
            SelfDeadlock: this thread holds all there is in with blocks of its own.
        """
        frame = _getframe(1)
        # `_take` once more, for the same reason as in `LeaseBase._leave`.
        core = self._core
        slot = None
        if core.calm:
            clock = self._clock  # calling the attribute itself would look it up as a method first
            slot = core.take(self._lane, clock())
        if slot is None or (slot.watch is not None and slot.watch(0)):
            slot = self._acquire(timeout, slot)
        slot.owner = id(frame)
        slot.code = frame.f_code
        slot.instruction = frame.f_lasti
        lease: Lease[C] = Lease()
        lease._hold = slot.hold
        slot.hold = None
        return lease

    def acquire(self, timeout: Duration | None = None) -> Lease[C]:
        """Lend a connection until `Lease.release`. Like `connection`, which is to be preferred.

        A lease may be handed to another thread, so `SelfDeadlock` is raised only at the deadline.
        """
        lease = self.connection(timeout)
        frame = _getframe(1)
        lease._mark(self._actor(), frame.f_code, frame.f_lasti)
        return lease

    def transaction(self, timeout: Duration | None = None) -> Transaction[C]:
        """Lend a connection to a with block in a transaction: commit on success, roll back on error.

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
        return Transaction(lease, self._hooks.transaction)

    def _take(self) -> Slot:
        """Acquire as `connection` does, for who needs no lease since he gives it back before he returns."""
        clock = self._clock
        slot = self._core.take(self._lane, clock())
        if slot is None or (slot.watch is not None and slot.watch(0)):
            slot = self._acquire(None, slot)
        return slot

    def _acquire(self, timeout: Duration | None, found: Slot | None) -> Slot:
        waiter: ThreadWaiter = ThreadWaiter()
        waiter.lane = self._lane
        waiter.slot = waiter.refusal = waiter.future = waiter.gate = NOTHING
        waiter.queued = waiter._news = False
        clock = self._clock  # as above
        waiter.queued_at = started = clock()
        try:
            if found is not None:
                waiter.find(found)
                waiter.deadline = self._deadline(timeout, started)
            # The plain case: one wait in the queue for a connection that needs no look.
            elif _steps.ask(self, waiter, timeout):
                waiter.wait(FIRST_WAIT)
        except BaseException:
            _steps.leave(self, waiter)
            raise
        slot = waiter.slot
        return slot if slot is not None and waiter.fresh else run(_steps.acquire(self, waiter, started))

    # ── the whole pool ──────────────────────────────────────────────────────────────────────────

    def ping(self, timeout: Duration | None = None) -> None:
        """Verify that the server can be reached and answers, by one round trip.

        Raises:
            ConnectError: it cannot be reached, refuses us, or does not answer.
            PoolTimeout, PoolFull, PoolClosed, SelfDeadlock: see `connection`.
        """
        deadline = self._deadline(timeout, self._clock())
        lease = self.connection(timeout)
        assert lease._hold is not None
        try:
            run(_steps.ping(self, lease._hold.slot, deadline))
        except BaseException:
            lease.discard()
            raise
        lease.release()

    def close(self, timeout: Duration = 5.0) -> None:
        """Close the pool: idle connections at once, leases when they come back; waiters get `PoolClosed`.

        Waits for the leases; what has not come back after `timeout` is cut off. Harmless when done before.
        """
        ender = ThreadWaiter.of(self._lane)
        run(_steps.shut(self, ender, seconds(timeout, option="timeout")))

    def __enter__(self) -> Pool[C]:
        """Use the pool as its own context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # ── what jobs ask for ───────────────────────────────────────────────────────────────────────

    def _actor(self) -> Hashable:
        try:
            actor: object = _thread.actor
        except AttributeError:
            actor = _thread.actor = object()
        return actor

    def _connect(self, seconds: float) -> C:
        connection: C = self._connector.connect(seconds)
        return connection

    def _talk(self, hook: Callable[[C], Any], slot: Slot, seconds: float) -> Any:
        with _upkeep.alarm(self._fileno(slot), seconds):
            return hook(slot.connection)

    def _farewell(self, farewell: Farewell, seconds: float) -> None:
        farewell.wait(seconds)

    def _spawn(self, job: Callable[[Any, Slot], _steps.Steps[None]], slot: Slot) -> None:
        _crew.submit(partial(self._work, job, slot))

    def _work(self, job: Callable[[Any, Slot], _steps.Steps[None]], slot: Slot) -> None:
        run(job(self, slot))

    def _wake_upkeep(self) -> None:
        _upkeep.wake(self)

    def _nudge_upkeep(self) -> None:
        _upkeep.nudge()

    def _start_anew(self, budget: Budget | None) -> None:
        super()._start_anew(budget)
        self._lane = self._core.lane(None)
        self._lane.face = entrance()
