"""The least that hands connections on in order: what every fair pool pays, without what a pool is wanted for.

No deadline, no cancelling, no look at the connection, no limit to wait for, no numbers, no place of the code.
A bar beyond the figures of these two is hardly within a fair pool's reach on the machine that measured them.
"""

from __future__ import annotations

from _thread import allocate_lock
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any


class ThreadQueue:
    """A lock, a stack of connections, and a gate for each thread that waits."""

    __slots__ = ("idle", "lock", "waiting")

    def __init__(self, connections: Iterable[Any]) -> None:
        self.idle = deque(connections)
        self.waiting: deque[ThreadTurn] = deque()
        self.lock = allocate_lock()

    def connection(self) -> ThreadTurn:
        """Lend a connection to a with block."""
        return ThreadTurn(self)


class ThreadTurn:
    """One with block."""

    __slots__ = ("connection", "gate", "queue")

    def __init__(self, queue: ThreadQueue) -> None:
        self.queue = queue
        self.connection: Any = None

    def __enter__(self) -> Any:
        queue = self.queue
        with queue.lock:
            if queue.idle:
                self.connection = queue.idle.pop()
                return self.connection
            self.gate = allocate_lock()
            self.gate.acquire()
            queue.waiting.append(self)
        self.gate.acquire()
        return self.connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        queue = self.queue
        with queue.lock:
            if not queue.waiting:
                queue.idle.append(self.connection)
                return
            heir = queue.waiting.popleft()
        heir.connection = self.connection
        heir.gate.release()


class TaskQueue:
    """A stack of connections, and a future for each task that waits."""

    __slots__ = ("idle", "loop", "waiting")

    def __init__(self, connections: Iterable[Any], loop: AbstractEventLoop) -> None:
        self.idle = deque(connections)
        self.waiting: deque[Future[Any]] = deque()
        self.loop = loop

    def connection(self) -> TaskTurn:
        """Lend a connection to an async with block."""
        return TaskTurn(self)


class TaskTurn:
    """One async with block."""

    __slots__ = ("connection", "queue")

    def __init__(self, queue: TaskQueue) -> None:
        self.queue = queue
        self.connection: Any = None

    async def __aenter__(self) -> Any:
        queue = self.queue
        if queue.idle:
            self.connection = queue.idle.pop()
        else:
            gate = queue.loop.create_future()
            queue.waiting.append(gate)
            self.connection = await gate
        return self.connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        queue = self.queue
        if queue.waiting:
            queue.waiting.popleft().set_result(self.connection)
        else:
            queue.idle.append(self.connection)
