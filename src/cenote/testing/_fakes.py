"""Time, connections and connectors by remote control."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Literal

SAFETY = 60.0
"""Seconds after which what a test waits for counts as never coming. No test that passes waits so long."""

HookName = Literal[
    "is_alive", "ping", "is_broken", "in_transaction", "rollback", "reset", "transaction", "terminate"
]


class FakeClock:
    """A clock that stands still, for the ``clock`` of a pool.

    It begins at the real time, so that the deadline of a ``with cenote.timeout(...)`` block, which knows
    the real time only, means the same to a pool with this clock. Who waits in the queue does not see it
    move: they wait in real time, and look at it when they are woken.
    """

    def __init__(self, now: float | None = None) -> None:
        """Stand at `now`, in seconds."""
        self.now: float = monotonic() if now is None else now

    def __call__(self) -> float:
        """Say what time it is."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class FakeConnection:
    """What scripted connectors open. Its attributes are what the optional hooks look at; set them at will."""

    def __init__(self, number: int) -> None:
        """Be the connection opened as the `number`-th."""
        self.number = number
        self.closed = False
        self.alive = True
        self.broken = False
        self.in_transaction: bool | None = False
        self.log: list[str] = []
        """The hooks that were called on it, ``begin``, ``commit``, ``close`` and so on, in order."""

    def __repr__(self) -> str:
        """Show its number."""
        return f"<connection {self.number}{' closed' if self.closed else ''}>"


class _Call:
    """One call under a `Control`, until its outcome is known."""

    def __init__(self, settled: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self.settled = settled


class Control:
    """Remote control of one operation of a connector. Calls succeed at once unless told otherwise."""

    def __init__(self) -> None:
        """Let everything pass."""
        self._changed = threading.Condition()
        self._held = False
        self._errors: deque[BaseException] = deque()
        self._failing: BaseException | None = None
        self._blocked: deque[_Call] = deque()
        self._count = 0
        self.on_change: Callable[[], object] | None = None
        """Called whenever a call begins, blocks or is let go; for tests that wait for quiet."""

    @property
    def count(self) -> int:
        """How many calls there have been."""
        return self._count

    @property
    def blocked(self) -> int:
        """How many calls are blocked now."""
        return len(self._blocked)

    def fail(self, error: BaseException, times: int | None = 1) -> None:
        """Let the next calls raise `error`: so many `times`, or all of them until `succeed`."""
        with self._changed:
            if times is None:
                self._failing = error
            else:
                self._errors.extend([error] * times)

    def succeed(self) -> None:
        """Take back what `fail` ordered."""
        with self._changed:
            self._failing = None
            self._errors.clear()

    def hold(self) -> None:
        """Block all calls from now on."""
        self._held = True

    def release(self) -> None:
        """Let all blocked calls go on, and block no more."""
        self._held = False
        while self._blocked:
            self.step()

    def step(self, error: BaseException | None = None) -> None:
        """Let the longest blocked call go on, or fail with `error`.

        Raises:
            LookupError: no call is blocked.
        """
        with self._changed:
            if not self._blocked:
                message = "no call is blocked; wait for one with wait_blocked()"
                raise LookupError(message)
            call = self._blocked.popleft()
            call.error = error or self._next_error()
        call.settled()
        self._tell()

    def wait_blocked(self, count: int = 1, timeout: float = SAFETY) -> None:
        """Wait until at least `count` calls are blocked.

        Raises:
            TimeoutError: they did not come within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._blocked) >= count, timeout):
                message = f"{len(self._blocked)} calls are blocked after {timeout:g} s, not {count}"
                raise TimeoutError(message)

    def call(self) -> None:
        """Be called in a thread: block or fail as told."""
        gate = threading.Event()
        call = self._begin(gate.set)
        gate.wait()
        if call.error is not None:
            raise call.error

    async def call_async(self) -> None:
        """Be called in a task: block or fail as told."""
        loop = asyncio.get_running_loop()
        gate = loop.create_future()

        def settled() -> None:
            if asyncio._get_running_loop() is loop:
                _finish(gate)
            else:
                loop.call_soon_threadsafe(_finish, gate)

        call = self._begin(settled)
        try:
            await gate
        finally:
            with self._changed:
                if call in self._blocked:
                    self._blocked.remove(call)
            self._tell()
        if call.error is not None:
            raise call.error

    def _begin(self, settled: Callable[[], object]) -> _Call:
        call = _Call(settled)
        with self._changed:
            self._count += 1
            held = self._held
            if held:
                self._blocked.append(call)
                self._changed.notify_all()
            else:
                call.error = self._next_error()
        if not held:
            settled()
        self._tell()
        return call

    def _next_error(self) -> BaseException | None:
        return self._errors.popleft() if self._errors else self._failing

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change()


def _finish(gate: asyncio.Future[None]) -> None:
    if not gate.done():
        gate.set_result(None)


class _Scripted:
    """What both scripted connectors count and control."""

    def __init__(self, *hooks: HookName) -> None:
        """Open nothing yet; have these optional `hooks`."""
        self.connecting: Control = Control()
        self.closing: Control = Control()
        self.pinging: Control = Control()
        self.rolling_back: Control = Control()
        self.resetting: Control = Control()
        self.connections: list[FakeConnection] = []
        """All that were ever opened, in order."""
        self.peak: int = 0
        """The most connections that were open or being opened at once."""
        self._lock = threading.Lock()
        self._taken = 0
        for hook in hooks:
            setattr(self, hook, getattr(self, f"_{hook}"))

    @property
    def controls(self) -> tuple[Control, ...]:
        """The controls of all operations."""
        return self.connecting, self.closing, self.pinging, self.rolling_back, self.resetting

    @property
    def open(self) -> int:
        """How many connections are open now, as a server would count them."""
        return sum(not connection.closed for connection in tuple(self.connections))

    def _starting(self) -> None:
        with self._lock:
            self._taken += 1
            self.peak = max(self.peak, self._taken)

    def _opened(self) -> FakeConnection:
        with self._lock:
            connection = FakeConnection(len(self.connections) + 1)
            self.connections.append(connection)
            return connection

    def _gone(self, connection: FakeConnection | None) -> None:
        with self._lock:
            if connection is None or not connection.closed:
                self._taken -= 1
            if connection is not None:
                connection.closed = True

    def _is_alive(self, connection: FakeConnection) -> bool:
        return connection.alive and not connection.closed

    def _is_broken(self, connection: FakeConnection) -> bool:
        return connection.broken or connection.closed

    def _in_transaction(self, connection: FakeConnection) -> bool | None:
        return connection.in_transaction

    def _terminate(self, connection: FakeConnection) -> None:
        connection.log.append("terminate")
        self._gone(connection)


def _answers(connection: FakeConnection) -> None:
    if not connection.alive or connection.closed:
        message = f"connection {connection.number} is dead"
        raise ConnectionResetError(message)


class ScriptedConnector(_Scripted):
    """A connector for `Pool` whose every operation is under a test's control.

    Args:
        *hooks: the optional hooks it has; see `cenote.connector`.
    """

    def connect(self, timeout: float) -> FakeConnection:  # noqa: ARG002 - whoever holds the control ends it
        """Open a connection."""
        self._starting()
        try:
            self.connecting.call()
        except BaseException:
            self._gone(None)
            raise
        return self._opened()

    def close(self, connection: FakeConnection) -> None:
        """Close a connection."""
        connection.log.append("close")
        try:
            self.closing.call()
        finally:
            self._gone(connection)

    def _ping(self, connection: FakeConnection) -> None:
        connection.log.append("ping")
        self.pinging.call()
        _answers(connection)

    def _rollback(self, connection: FakeConnection) -> None:
        connection.log.append("rollback")
        self.rolling_back.call()
        connection.in_transaction = False

    def _reset(self, connection: FakeConnection) -> None:
        connection.log.append("reset")
        self.resetting.call()

    @contextmanager
    def _transaction(self, connection: FakeConnection) -> Iterator[None]:
        connection.log.append("begin")
        connection.in_transaction = True
        try:
            yield
        except BaseException:
            self._rollback(connection)
            raise
        connection.log.append("commit")
        _answers(connection)
        connection.in_transaction = False


class AsyncScriptedConnector(_Scripted):
    """A connector for `AsyncPool` whose every operation is under a test's control.

    Args:
        *hooks: the optional hooks it has; see `cenote.connector`.
    """

    async def connect(self, timeout: float) -> FakeConnection:  # noqa: ARG002 - whoever holds the control ends it
        """Open a connection."""
        self._starting()
        try:
            await self.connecting.call_async()
        except BaseException:
            self._gone(None)
            raise
        return self._opened()

    async def close(self, connection: FakeConnection) -> None:
        """Close a connection."""
        connection.log.append("close")
        try:
            await self.closing.call_async()
        finally:
            self._gone(connection)

    async def _ping(self, connection: FakeConnection) -> None:
        connection.log.append("ping")
        await self.pinging.call_async()
        _answers(connection)

    async def _rollback(self, connection: FakeConnection) -> None:
        connection.log.append("rollback")
        await self.rolling_back.call_async()
        connection.in_transaction = False

    async def _reset(self, connection: FakeConnection) -> None:
        connection.log.append("reset")
        await self.resetting.call_async()

    @asynccontextmanager
    async def _transaction(self, connection: FakeConnection) -> AsyncIterator[None]:
        connection.log.append("begin")
        connection.in_transaction = True
        try:
            yield
        except BaseException:
            await self._rollback(connection)
            raise
        connection.log.append("commit")
        _answers(connection)
        connection.in_transaction = False
