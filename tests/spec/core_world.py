"""The core alone as a world: carries out what it decides at once, in this thread, with nothing that waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Unpack

from cenote import Options, PoolClosed, PoolFull, PoolTimeout, Stats
from cenote._core import Act, Core, Slot, State, Todo, Waiter
from cenote._explain import phase
from cenote.durations import seconds
from cenote.errors import ConnectError, SelfDeadlock
from cenote.options import OptionsDict
from cenote.testing import EventLog, FakeClock, FakeConnection

ERRORS = {"closed": PoolClosed, "full": PoolFull, "connect": ConnectError, "deadlock": SelfDeadlock}
Then = Callable[[BaseException | None], None]


class Operation:
    """An operation of the connector: what `cenote.testing.Control` is to a face, without any waiting."""

    def __init__(self) -> None:
        self.held = False
        self.failing: BaseException | None = None
        self.blocked: deque[Then] = deque()

    def call(self, then: Then) -> None:
        if self.held:
            self.blocked.append(then)
        else:
            then(self.failing)

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        while self.blocked:
            self.step()

    def step(self, error: BaseException | None = None) -> None:
        self.blocked.popleft()(error or self.failing)

    def fail(self, error: BaseException, times: None) -> None:
        self.failing = error

    def succeed(self) -> None:
        self.failing = None


class CoreConnector:
    """The operations, and the connections that were opened."""

    def __init__(self) -> None:
        self.connecting, self.closing, self.pinging, self.rolling_back = (Operation() for _ in range(4))
        self.connections: list[FakeConnection] = []
        self.taken = self.peak = 0

    @property
    def open(self) -> int:
        return sum(not connection.closed for connection in self.connections)

    def connect(self, then: Callable[[FakeConnection | None, BaseException | None], None]) -> None:
        self.taken += 1
        self.peak = max(self.peak, self.taken)

        def dialed(error: BaseException | None) -> None:
            if error is not None:
                self.taken -= 1
                then(None, error)
                return
            self.connections.append(FakeConnection(len(self.connections) + 1))
            then(self.connections[-1], None)

        self.connecting.call(dialed)

    def close(self, connection: FakeConnection, then: Then) -> None:
        def closed(error: BaseException | None) -> None:
            if not connection.closed:
                connection.closed = True
                self.taken -= 1
            then(error)

        self.closing.call(closed)


class CoreLease:
    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.connection: FakeConnection = slot.connection


class CoreCall(Waiter):
    """A caller: what waits in the queue, and what came of it."""

    def __init__(self, world: CoreWorld, limit: float | None) -> None:
        super().__init__(world.core.lane(None))
        self.world = world
        self.deadline = float("inf") if limit is None else world.clock() + limit
        self.done = False
        self.outcome: Any = None
        self.failure: BaseException | None = None
        self.checking = False

    def result(self) -> Any:
        if self.failure is not None:
            raise self.failure
        return self.outcome

    def error(self) -> BaseException | None:
        return self.failure

    def end(self, outcome: object = None, failure: BaseException | None = None) -> None:
        self.done, self.outcome, self.failure = True, outcome, failure

    def wake(self) -> None:
        self.look()

    def look(self) -> None:
        """Do what a face's caller does whenever it may have news."""
        world = self.world
        if self.done or self.checking:
            return
        if self.slot is not None:
            self.check(self.slot)
        elif self.refusal is not None:
            self.end(failure=ERRORS[self.refusal](self.refusal))
        elif world.clock() >= self.deadline:
            self.give_up()

    def give_up(self) -> None:
        during = phase(self.world.core)
        self.world.make(self.world.core.abandon, self, timed_out=True)
        if self.slot is None and self.refusal is None:
            self.end(failure=PoolTimeout("no connection", during))
        else:
            self.look()

    def check(self, slot: Slot) -> None:
        world, generation = self.world, self.world.core.generation
        if "is_alive" in world.hooks and not slot.connection.alive:
            world.make(world.core.bury, self)
            self.look()
        elif "ping" in world.hooks and not self.fresh and world.core.needs_ping(slot):
            self.checking = True
            world.connector.pinging.call(lambda error: self.checked(slot, generation, error))
        else:
            self.grant(slot)

    def checked(self, slot: Slot, generation: int, error: BaseException | None) -> None:
        self.checking = False
        if error is None and slot.connection.alive:
            slot.generation = generation
            self.grant(slot)
        else:
            self.world.make(self.world.core.bury, self)
            self.look()

    def grant(self, slot: Slot) -> None:
        slot.hold = None
        self.end(CoreLease(slot))

    def cancel(self) -> None:
        self.world.make(self.world.core.abandon, self, timed_out=False)
        self.end(failure=KeyboardInterrupt())


class CoreWorld:
    """One core, its connector, a fake clock and an event log."""

    name = "core"

    def __init__(self, *hooks: str, **options: Unpack[OptionsDict]) -> None:
        self.hooks = hooks
        self.clock = FakeClock(1000.0)
        self.log = EventLog()
        self.connector = CoreConnector()
        self.options = Options.of(**options)
        self.core = Core(self.options, eventful=True)
        self.lane = self.core.lane(None)
        self.closers: list[CoreCall] = []
        self.waiters: list[CoreCall] = []

    @property
    def stats(self) -> Stats:
        return self.core.stats()

    def make(self, transition: Callable[..., Todo], *args: object, **options: object) -> None:
        """Make one transition and carry out what it leaves to do."""
        with self.core.lock:
            todo = transition(*args, self.clock(), **options)
        for act, subject in todo:
            if act is Act.TELL:
                self.log(subject)
            elif act is Act.WAKE:
                subject.wake()
            elif act is Act.DIAL:
                self.dial(subject)
            elif act is Act.CLOSE:
                self.connector.close(subject.connection, self.ended(subject))
            elif act is Act.PING:
                self.connector.pinging.call(self.answered(subject))

    def dial(self, slot: Slot) -> None:
        def then(connection: FakeConnection | None, error: BaseException | None) -> None:
            if connection is None:
                self.make(self.core.dial_failed, slot, error)
            else:
                slot.hold = self
                self.make(self.core.dialed, slot, connection)

        self.connector.connect(then)

    def ended(self, slot: Slot) -> Then:
        return lambda _: self.make(self.core.farewelled, slot)

    def answered(self, slot: Slot) -> Then:
        generation = self.core.generation

        def then(error: BaseException | None) -> None:
            if error is None and slot.connection.alive:
                self.make(self.core.answered, slot, generation)
            else:
                self.make(self.core.unanswered, slot)

        return then

    # ── what a scenario does ────────────────────────────────────────────────────────────────────

    def begin_acquire(self, timeout: str | None = None) -> CoreCall:
        limit = self.options.timeout if timeout is None else seconds(timeout, option="timeout")
        call = CoreCall(self, limit)
        self.waiters.append(call)
        slot = self.core.take(self.lane, self.clock())
        if slot is None:
            self.make(self.core.request, call)
        else:
            call.slot = slot
        call.look()
        return call

    def begin_release(self, lease: CoreLease) -> CoreCall:
        call = CoreCall(self, None)
        slot = lease.slot
        slot.hold = self
        if "is_broken" in self.hooks and lease.connection.broken:
            self.make(self.core.discard, slot)
        elif "rollback" in self.hooks and lease.connection.in_transaction:
            self.connector.rolling_back.call(lambda error: self.rolled_back(call, slot, error))
            return call
        else:
            self.put(slot)
        call.end()
        return call

    def rolled_back(self, call: CoreCall, slot: Slot, error: BaseException | None) -> None:
        if error is None:
            slot.connection.in_transaction = False
            self.put(slot)
        else:
            self.make(self.core.discard, slot)
        call.end()

    def put(self, slot: Slot) -> None:
        put = self.core.put(slot, self.clock())
        if put is None:
            self.make(self.core.settle)
        elif not put:
            self.make(self.core.release, slot)

    def discard(self, lease: CoreLease) -> None:
        lease.slot.hold = self
        self.make(self.core.discard, lease.slot)

    def begin_close(self, timeout: str) -> CoreCall:
        call = Closer(self, seconds(timeout, option="timeout"))
        self.closers.append(call)
        self.make(self.core.shut, call)
        call.look()
        return call

    def advance(self, duration: str) -> None:
        self.clock.advance(seconds(duration, option="advance"))
        for call in [*self.waiters, *self.closers]:
            call.look()

    def upkeep(self) -> None:
        now = self.clock()
        if self.core.due(now) <= now:
            self.make(self.core.tick)
        with self.core.lock:
            self.core.plan(now)

    def resize(self, **options: Unpack[OptionsDict]) -> None:
        self.options = self.options.replace(**options)
        self.make(self.core.resize, self.options)

    def settle(self) -> None:
        """Do nothing: all has been done."""

    def end(self) -> None:
        for operation in (self.connector.connecting, self.connector.closing, self.connector.pinging):
            operation.succeed()
            operation.release()
        assert all(slot.state is not State.CONNECTING for slot in self.core.slots)


class Closer(CoreCall):
    """A caller of close()."""

    def look(self) -> None:
        if self.done:
            return
        if self.world.core.slots and self.world.clock() >= self.deadline:
            self.world.make(self.world.core.cut_off)
        if not self.world.core.slots:
            self.end()
