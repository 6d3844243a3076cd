"""A pool under test in a world of threads or of tasks, played by a test that is plain code in either.

A call that may wait is begun with `begin`, which gives a `Call` to look at, to cancel and to ask for its
result; `settle` waits, without sleeping, until everything has come to rest: every call is done, queued
or blocked in the scripted connector, and so is every background job.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any, Unpack

import cenote
from cenote import AsyncLease, AsyncPool, Lease, Pool, Stats, _upkeep
from cenote._core import Slot, Waiter
from cenote._waiters import TaskWaiter, ThreadWaiter
from cenote.durations import seconds
from cenote.options import OptionsDict
from cenote.testing import (
    AsyncScriptedConnector,
    Control,
    EventLog,
    FakeClock,
    FakeConnection,
    HookName,
    ScriptedConnector,
)
from tests.loops import end
from tests.patience import SAFETY

INF = float("inf")


class Cancelled(BaseException):
    """What a cancelled thread meets; a cancelled task meets its own."""


class Call:
    """One call that was begun and may be waiting."""

    def __init__(self, world: World, deadline: float) -> None:
        self.world = world
        self.deadline = deadline
        self.future: Future[Any] = Future()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.future.done()

    def result(self) -> Any:
        """Wait for its end, and give what it gave or raise what it raised."""
        return self.future.result(SAFETY)

    def error(self) -> BaseException | None:
        """Wait for its end, and give what it raised."""
        return self.future.exception(SAFETY)

    def finish(self, result: object, error: BaseException | None) -> None:
        """Note its end."""
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)
        self.world.tell()

    def cancel(self) -> None:
        """Cancel it, wherever it is."""
        raise NotImplementedError


class World:
    """One pool with a scripted connector, a fake clock and an event log."""

    name: str
    site = __file__  # where the calls of a test are made
    listens = True  # without a listener the core takes shorter ways, which have to do the same
    pool: Pool[FakeConnection] | AsyncPool[FakeConnection]
    connector: ScriptedConnector | AsyncScriptedConnector
    clock: FakeClock
    log: EventLog

    def __init__(self, *hooks: HookName, **options: Unpack[OptionsDict]) -> None:
        self.changed = threading.Condition()
        self.calls: list[Call] = []
        self.started = self.ended = 0  # jobs
        self.clock = FakeClock()
        self.log = EventLog()
        self.make(*hooks, **options)
        self.log.on_change = self.tell
        _living.add(self)
        for control in self.connector.controls:
            control.on_change = self.tell
        self._count_jobs()
        self._stop_upkeep()

    def make(self, *hooks: HookName, **options: Unpack[OptionsDict]) -> None:
        """Make the connector and the pool."""
        raise NotImplementedError

    # ── what a test does ────────────────────────────────────────────────────────────────────────

    def begin_acquire(self, timeout: float | str | None = None) -> Call:
        """Begin to acquire; the call's result is the lease."""
        return self._begin("acquire", timeout)

    def begin_acquire_within(self, *durations: float) -> Call:
        """Begin to acquire inside of nested `cenote.timeout` blocks."""
        raise NotImplementedError

    def cancel_talking(self, call: Call, control: Control) -> None:
        """Cancel a call that is blocked in a talk with its connection."""
        raise NotImplementedError

    def begin_release(self, lease: Lease[FakeConnection] | AsyncLease[FakeConnection]) -> Call:
        """Begin to give a lease back."""
        raise NotImplementedError

    def begin_close(self, timeout: float | str = 5.0) -> Call:
        """Begin to close the pool."""
        return self._begin("close", timeout)

    def begin_ping(self, timeout: float | str | None = None) -> Call:
        """Begin to ping the server."""
        return self._begin("ping", timeout)

    def acquire(self, timeout: float | str | None = None) -> Any:
        """Acquire, to the end."""
        return self.begin_acquire(timeout).result()

    def release(self, *leases: Any) -> None:
        """Give leases back, to the end."""
        for lease in leases:
            self.begin_release(lease).result()

    def close(self, timeout: float | str = 5.0) -> None:
        """Close the pool, to the end."""
        self.begin_close(timeout).result()

    def cycle(self, timeout: float | str | None = None) -> int:
        """Acquire and release; say which connection it was."""
        lease = self.acquire(timeout)
        number: int = lease.connection.number
        self.release(lease)
        return number

    def discard(self, lease: Any) -> None:
        """Discard a lease, where its pool lives."""
        self.inside(lease.discard)

    def upkeep(self) -> None:
        """Turn upkeep by hand, once."""
        self.inside(lambda: _upkeep.turn(self.pool))
        self.settle()

    def advance(self, duration: float | str) -> None:
        """Let time pass, and whoever waits see it."""
        self.clock.advance(seconds(duration, option="advance"))
        core = self.pool._core
        with core.lock:
            waiting = [waiter for lane in core.lanes.values() for waiter in lane.waiters] + core.enders
        for waiter in waiting:
            self.inside(waiter.wake)
        self.settle()

    def inside(self, plain: Callable[[], Any]) -> Any:
        """Call something plain where the pool lives: here, or under its loop."""
        raise NotImplementedError

    @property
    def stats(self) -> Stats:
        """The pool's stats."""
        return self.pool.stats()

    # ── rest ────────────────────────────────────────────────────────────────────────────────────

    def tell(self) -> None:
        """Have whoever waits for rest look again."""
        with self.changed:
            self.changed.notify_all()

    def settle(self) -> None:
        """Wait until nothing moves any more."""
        with self.changed:
            if not self.changed.wait_for(self._at_rest, SAFETY):
                left = f"jobs {self.started - self.ended}, calls {self._open()}"
                raise TimeoutError(f"{self.name}: no rest: {left}, {self.stats}")

    def _open(self) -> int:
        return sum(not call.done for call in self.calls)

    def _at_rest(self) -> bool:
        core, now = self.pool._core, self.clock()
        blocked = sum(control.blocked for control in self.connector.controls)
        late = [call for call in self.calls if not call.done and call.deadline <= now]
        with core.lock:
            queued = [waiter for lane in core.lanes.values() for waiter in lane.waiters]
            # One that is queued and does not wait yet may have a dial to begin.
            waiting = sum(waiter in _parked for waiter in queued + core.enders)
        jobs = self.started - self.ended
        # Dials and goodbyes are jobs, the others may be what a late caller is blocked in.
        talking = blocked - self.connector.connecting.blocked - self.connector.closing.blocked
        return self._open() + jobs == blocked + waiting and len(late) <= talking

    def _count_jobs(self) -> None:
        spawn = self.pool._spawn

        def counted(job: Callable[[Any, Slot], Any], slot: Slot) -> None:
            def watched(pool: Any, slot: Slot) -> Iterator[Any]:
                try:
                    yield from job(pool, slot)
                finally:
                    with self.changed:
                        self.ended += 1
                    self.tell()

            with self.changed:
                self.started += 1
            spawn(watched, slot)  # type: ignore[arg-type] # a generator function, as any job

        self.pool._spawn = counted  # type: ignore[method-assign] # a test's look behind the scenes

    def _stop_upkeep(self) -> None:
        """Leave upkeep to the test, which turns it by hand."""
        self.pool._wake_upkeep = self.pool._nudge_upkeep = lambda: None  # type: ignore[method-assign] # as above

    def _deadline(self, timeout: float | str | None) -> float:
        limit = self.pool.options.timeout if timeout is None else seconds(timeout, option="timeout")
        return INF if limit is None else self.clock() + limit

    def _within(self, durations: tuple[float, ...]) -> float:
        # The blocks count from now on in real time, with which this clock agrees.
        return self.clock() + min(durations)

    def _begin(self, what: str, timeout: float | str | None) -> Call:
        raise NotImplementedError

    def end(self) -> None:
        """Let everything go."""
        for control in self.connector.controls:
            control.succeed()
            control.release()
        self.close(0)
        self.settle()
        _living.discard(self)


_living: set[World] = set()


_parked: set[Waiter] = set()


def _telling(wait: Callable[..., Any]) -> Callable[..., Any]:
    """Have a waiter tell the worlds that it begins to wait: nothing else does where there is no listener."""

    def told(waiter: Any, *most: float) -> Any:
        _parked.add(waiter)
        for world in tuple(_living):
            world.tell()
        news: Any = None
        try:
            news = wait(waiter, *most)
        finally:
            if isinstance(news, asyncio.Future):
                news.add_done_callback(lambda _: _parked.discard(waiter))
            else:
                _parked.discard(waiter)
        return news

    return told


for _kind, _name in ((ThreadWaiter, "wait"), (TaskWaiter, "wait"), (TaskWaiter, "wait_first")):
    setattr(_kind, _name, _telling(getattr(_kind, _name)))  # a look behind the scenes


class ThreadCall(Call):
    """A call in a thread of its own."""

    def __init__(self, world: World, deadline: float, work: Callable[[], Any]) -> None:
        super().__init__(world, deadline)
        self.work = work
        self.thread = threading.Thread(target=self.run, name="caller", daemon=True)
        world.calls.append(self)
        self.thread.start()

    def run(self) -> None:
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            self.finish(None, error)
        else:
            self.finish(result, None)

    def cancel(self) -> None:
        """Throw an exception into the waiting thread, as a signal handler does into the main thread."""
        ident = ctypes.c_ulong(self.thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Cancelled))
        core = self.world.pool._core
        with core.lock:
            waiting = [waiter for lane in core.lanes.values() for waiter in lane.waiters]
        for waiter in waiting:  # a thread blocked on a lock sees it when it wakes
            waiter.wake()
        self.error()
        self.world.settle()


class Threads(World):
    """The world of `Pool`."""

    name = "threads"
    pool: Pool[FakeConnection]

    def make(self, *hooks: HookName, **options: Unpack[OptionsDict]) -> None:
        self.connector = ScriptedConnector(*hooks)
        self.pool = Pool(
            self.connector, clock=self.clock, listener=self.log if self.listens else None, **options
        )

    def _begin(self, what: str, timeout: float | str | None) -> Call:
        return ThreadCall(self, self._deadline(timeout), lambda: getattr(self.pool, what)(timeout))

    def begin_acquire_within(self, *durations: float) -> Call:
        def work() -> Any:
            with ExitStack() as blocks:
                for duration in durations:
                    blocks.enter_context(cenote.timeout(duration))
                return self.pool.acquire()

        return ThreadCall(self, self._within(durations), work)

    def cancel_talking(self, call: Call, control: Control) -> None:
        control.step(Cancelled())  # nothing else reaches a thread inside a driver
        call.error()

    def begin_release(self, lease: Any) -> Call:
        return ThreadCall(self, INF, lease.release)

    def inside(self, plain: Callable[[], Any]) -> Any:
        return plain()


class QuietThreads(Threads):
    """The same without a listener."""

    name = "quiet threads"
    listens = False


class TaskCall(Call):
    """A call in a task of the world's loop."""

    def __init__(self, world: Tasks, deadline: float, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        super().__init__(world, deadline)
        self.work = work
        world.calls.append(self)
        self.task: asyncio.Task[None] = world.inside(lambda: world.loop.create_task(self.run()))

    async def run(self) -> None:
        try:
            result = await self.work()
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            self.finish(None, error)
        else:
            self.finish(result, None)

    def cancel(self) -> None:
        self.world.inside(self.task.cancel)
        self.error()
        self.world.settle()


class Tasks(World):
    """The world of `AsyncPool`: a loop in a thread of its own."""

    name = "tasks"
    pool: AsyncPool[FakeConnection]

    def make(self, *hooks: HookName, **options: Unpack[OptionsDict]) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)
        self.thread.start()
        self.connector = AsyncScriptedConnector(*hooks)
        self.pool = AsyncPool(
            self.connector, clock=self.clock, listener=self.log if self.listens else None, **options
        )

    def _stop_upkeep(self) -> None:
        super()._stop_upkeep()
        self.pool._timer.set = lambda loop: None  # type: ignore[method-assign] # as above

    def _begin(self, what: str, timeout: float | str | None) -> Call:
        return TaskCall(self, self._deadline(timeout), lambda: getattr(self.pool, what)(timeout))

    def begin_acquire_within(self, *durations: float) -> Call:
        async def work() -> Any:
            with ExitStack() as blocks:
                for duration in durations:
                    blocks.enter_context(cenote.timeout(duration))
                return await self.pool.acquire()

        return TaskCall(self, self._within(durations), work)

    def cancel_talking(self, call: Call, control: Control) -> None:
        call.cancel()

    def begin_release(self, lease: Any) -> Call:
        return TaskCall(self, INF, lease.release)

    def inside(self, plain: Callable[[], Any]) -> Any:
        return self.run(_called(plain))

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine under the loop, to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SAFETY)

    def end(self) -> None:
        super().end()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(SAFETY)
        end(self.loop)


class QuietTasks(Tasks):
    """The same without a listener."""

    name = "quiet tasks"
    listens = False


async def _called(plain: Callable[[], Any]) -> Any:
    return plain()


BOTH: list[type[World]] = [Threads, Tasks]
ALL: list[type[World]] = [Threads, QuietThreads, Tasks, QuietTasks]


@contextmanager
def world_of(kind: type[World], *hooks: HookName, **options: Unpack[OptionsDict]) -> Iterator[Any]:
    """Have a world, and bring it to its end."""
    world = kind(*hooks, **options)
    try:
        yield world
    finally:
        world.end()
