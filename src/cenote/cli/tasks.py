"""The other half of the demo: a `cenote.AsyncPool` with tasks that work on it, in a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from cenote import AsyncPool, PoolClosed
from cenote.cli.dialects import Dialect, RunAwaited, statements
from cenote.cli.work import AFTER_ERROR, LAST_WORDS, REPORT_STEPS, Progress, Rhythm, patience

T = TypeVar("T")


class Tasks:
    """A pool and its tasks, see `cenote.cli.work.World`."""

    kind = "tasks"

    def __init__(self, pool: AsyncPool[Any], dialect: Dialect[RunAwaited], table: str) -> None:
        """Set nothing in motion yet."""
        self.pool = pool
        self.driver: str = dialect.driver
        self.progress: list[Progress] = []
        self._run = dialect.run
        self._sql = statements(table, dialect.mark)
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def connect(self) -> None:
        """Start the loop, and see whether the server answers."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="demo-loop", daemon=True)
        self._thread.start()
        self._await(self.pool.ping(patience(self.pool.options)))

    def prepare(self) -> None:
        """Make the table."""
        self._await(self._execute(self._sql.create))

    def start(self, numbers: range, began: float) -> None:
        """Start a task for each number."""
        rhythms = [Rhythm(number, began) for number in numbers]
        self.progress.extend(Progress() for _ in rhythms)
        self._await(self._start(rhythms))

    def stop(self) -> None:
        """Tell the tasks to end, and wait a little until they have."""
        self._await(self._end())

    def clear(self) -> None:
        """Drop the table."""
        self._await(self._execute(self._sql.drop))

    def close(self) -> None:
        """Close the pool, then the loop."""
        if self._loop is None:
            return
        try:
            self._await(self.pool.close(LAST_WORDS))
            self._await(self._cancel())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(LAST_WORDS)
            if not self._thread.is_alive():
                self._loop.close()

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "connect() comes first"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _execute(self, statement: str) -> None:
        async with self.pool.connection(patience(self.pool.options)) as connection:
            await self._run(connection, statement, ())

    async def _start(self, rhythms: list[Rhythm]) -> None:
        for rhythm, progress in zip(rhythms, self.progress, strict=True):
            task = asyncio.create_task(self._work(rhythm, progress), name=f"demo-{rhythm.number}")
            self._tasks.add(task)  # a loop keeps no hold of its tasks

    async def _end(self) -> None:
        self._stop.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS)

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pause(self, seconds: float) -> bool:
        """Wait, and say whether it is time to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()

    async def _work(self, rhythm: Rhythm, progress: Progress) -> None:
        use = {"look_up": self.look_up, "write": self.write, "report": self.report}
        while not await self._pause(rhythm.think()):
            try:
                await use[rhythm.next()](rhythm)
                progress.done += 1
            except PoolClosed:
                return
            except Exception as error:  # noqa: BLE001 - whatever a driver raises, the demo shows it and goes on
                progress.failed(error, self.pool.options)
                await self._pause(AFTER_ERROR)

    # Three functions that acquire, named as the view of who holds a connection is to show them.

    async def look_up(self, rhythm: Rhythm) -> None:
        """Read one row."""
        async with self.pool.connection() as connection:
            await self._run(connection, self._sql.look_up, rhythm.row())
            await self._pause(rhythm.hold("look_up"))

    async def write(self, rhythm: Rhythm) -> None:
        """Replace one row in a transaction."""
        row = rhythm.row()
        async with self.pool.transaction() as connection:
            await self._run(connection, self._sql.remove, row)
            await self._run(connection, self._sql.insert, (*row, f"written by task {rhythm.number}"))
            await self._pause(rhythm.hold("write"))

    async def report(self, rhythm: Rhythm) -> None:
        """Hold a connection for long, with several statements."""
        async with self.pool.connection() as connection:
            for _ in range(REPORT_STEPS):
                await self._run(connection, self._sql.sum_up, ())
                await self._pause(rhythm.hold("report") / REPORT_STEPS)
