"""Half of the demo: a `cenote.Pool` with threads that work on it."""

from __future__ import annotations

import threading
import time
from typing import Any

from cenote import Pool, PoolClosed
from cenote.cli.dialects import Dialect, RunPlain, statements
from cenote.cli.work import AFTER_ERROR, LAST_WORDS, REPORT_STEPS, Progress, Rhythm, patience
from cenote.options import Options


class Threads:
    """A pool and its threads, see `cenote.cli.work.World`."""

    kind = "threads"

    def __init__(self, pool: Pool[Any], dialect: Dialect[RunPlain], table: str) -> None:
        """Set nothing in motion yet."""
        self.pool = pool
        self.driver: str = dialect.driver
        self.progress: list[Progress] = []
        self._run = dialect.run
        self._sql = statements(table, dialect.mark)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def connect(self) -> None:
        """See whether the server answers."""
        self.pool.ping(patience(self.pool.options))

    def prepare(self) -> None:
        """Make the table."""
        self._execute(self._sql.create)

    def start(self, numbers: range, began: float) -> None:
        """Start a thread for each number."""
        for number in numbers:
            progress = Progress()
            self.progress.append(progress)
            # A daemon: one that hangs in its driver must not keep the program from ending.
            thread = threading.Thread(
                target=self._work, args=(Rhythm(number, began), progress), name=f"demo-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Tell the threads to end, and wait a little until they have."""
        self._stop.set()
        deadline = time.monotonic() + LAST_WORDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def clear(self) -> None:
        """Drop the table."""
        self._execute(self._sql.drop)

    def close(self) -> None:
        """Close the pool."""
        self.pool.close(LAST_WORDS)

    def _execute(self, statement: str) -> None:
        with self.pool.connection(patience(self.pool.options)) as connection:
            self._run(connection, statement, ())

    def _work(self, rhythm: Rhythm, progress: Progress) -> None:
        use = {"look_up": self.look_up, "write": self.write, "report": self.report}
        options: Options = self.pool.options
        while not self._stop.wait(rhythm.think()):
            try:
                use[rhythm.next()](rhythm)
                progress.done += 1
            except PoolClosed:
                return
            except Exception as error:  # noqa: BLE001 - whatever a driver raises, the demo shows it and goes on
                progress.failed(error, options)
                self._stop.wait(AFTER_ERROR)

    # Three functions that acquire, named as the view of who holds a connection is to show them.

    def look_up(self, rhythm: Rhythm) -> None:
        """Read one row."""
        with self.pool.connection() as connection:
            self._run(connection, self._sql.look_up, rhythm.row())
            self._stop.wait(rhythm.hold("look_up"))

    def write(self, rhythm: Rhythm) -> None:
        """Replace one row in a transaction."""
        row = rhythm.row()
        with self.pool.transaction() as connection:
            self._run(connection, self._sql.remove, row)
            self._run(connection, self._sql.insert, (*row, f"written by thread {rhythm.number}"))
            self._stop.wait(rhythm.hold("write"))

    def report(self, rhythm: Rhythm) -> None:
        """Hold a connection for long, with several statements."""
        with self.pool.connection() as connection:
            for _ in range(REPORT_STEPS):
                self._run(connection, self._sql.sum_up, ())
                self._stop.wait(rhythm.hold("report") / REPORT_STEPS)
