"""Work on a pool: threads that use it without a pause, or one that takes many connections at once.

While threads work the main one only waits, so that a signal can end it. They take the times themselves.
"""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple, Self

from cenote import Pool
from cenote.cli.bell import Bell

LOOK = 0.1
"""Seconds between two looks whether somebody wants to end it."""
MEMORY_WAVES = 5
MOST_ROWS = 50_000

Use = Callable[[Any], None]


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end."""


class Done(NamedTuple):
    """How many operations took how many seconds, by the clock on the wall."""

    operations: int
    seconds: float


class Crew:
    """Runs jobs in threads. After an error or a signal `stop` is set, which the jobs look at."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self.stop: threading.Event = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run each in a thread of its own and return when all have ended.

        Raises:
            Interrupted: a signal came; the jobs were told, and are not waited for.
            Exception: what the first of them raised that raised something.
        """
        # Daemons: one that hangs in its driver must not keep the program from ending.
        threads = [threading.Thread(target=self._do, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(LOOK)
                self._heed()
        self._heed()
        if self._errors:
            raise self._errors[0]

    def _heed(self) -> None:
        if self._bell.rung:
            self.stop.set()
            raise Interrupted

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except threading.BrokenBarrierError:
            return  # what broke it has been noted by whoever met it
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._errors.append(error)
            self.stop.set()


def stream(pool: Pool[Any], use: Use, workers: int, seconds: float, bell: Bell) -> Done:
    """Let the workers use connections for so many seconds, each without a pause."""
    crew = Crew(bell)
    gate = threading.Barrier(workers)
    counts: list[int] = []
    times: list[float] = []

    def work() -> None:
        gate.wait()
        began = time.perf_counter()
        end = began + seconds
        done = 0
        while True:
            with pool.connection() as connection:
                use(connection)
            done += 1
            now = time.perf_counter()
            if now >= end or crew.stop.is_set():
                break
        counts.append(done)
        times.extend((began, now))

    crew.run([work] * workers)
    return Done(sum(counts), max(times) - min(times))


def waves(pool: Pool[Any], use: Use, workers: int, again: Callable[[], bool], bell: Bell) -> None:
    """Let all workers use a connection once, then all once more, until `again` says no."""
    crew = Crew(bell)
    more = True

    def next_wave() -> None:
        nonlocal more
        more = again() and not crew.stop.is_set()

    meet = threading.Barrier(workers, next_wave)

    def work() -> None:
        try:
            meet.wait()
            while more:
                with pool.connection() as connection:
                    use(connection)
                meet.wait()
        except BaseException:
            meet.abort()
            raise

    crew.run([work] * workers)


def armfuls(pool: Pool[Any], use: Use, count: int, again: Callable[[], bool], bell: Bell) -> Done:
    """Take so many connections at once, use each, give all back; over and over until `again` says no.

    It ends after `MOST_ROWS`, too: what they are written to may be held in memory.
    """
    done = 0
    began = time.perf_counter()
    while again() and done < MOST_ROWS:
        with ExitStack() as hands:
            for connection in [hands.enter_context(pool.connection()) for _ in range(count)]:
                use(connection)
                done += 1
        if bell.rung:
            raise Interrupted
    return Done(done, time.perf_counter() - began)


def until(seconds: float) -> Callable[[], bool]:
    """Return what says yes for so many seconds from the first question, and at least once."""
    end: list[float] = []

    def again() -> bool:
        now = time.perf_counter()
        if not end:
            end.append(now + seconds)
            return True
        return now < end[0]

    return again


class Memory:
    """Counts what Python allocates for a wave of operations at its height, with the connections it opens.

    What a driver keeps in C is not seen. It slows everything down, so nothing else is measured meanwhile.
    """

    def __init__(self) -> None:
        self._peaks: list[int] = []
        self._base: int | None = None

    def __enter__(self) -> Self:
        """Begin to count."""
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no trace."""
        tracemalloc.stop()

    def again(self) -> bool:
        """Note the height of the wave that has ended, and say whether another one is wanted."""
        now, peak = tracemalloc.get_traced_memory()
        if self._base is not None:
            self._peaks.append(max(peak - self._base, 0))
        self._base = now
        tracemalloc.reset_peak()
        return len(self._peaks) < MEMORY_WAVES

    def bytes(self) -> float:
        """Return the height of a wave in the middle."""
        return float(median(self._peaks))
