"""What the views show: a picture of the demo at one moment, and the sampler that takes it.

The pool gives gauges and counters since its start; the sampler keeps the last few seconds of them, from which
come rates and quantiles of what is happening now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cenote._explain import Holder
from cenote.cli.work import Progress, Wave, World, last_failure, wave
from cenote.cli.worlds import Absent
from cenote.stats import Histogram, Stats

WINDOW = 5.0
"""Seconds over which quantiles are taken."""
RATE_WINDOW = 1.0
HISTORY = 60
"""Seconds of the sparkline, one value each."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the slow end of a duration, seconds."""

    p50: float = 0.0
    p99: float = 0.0

    @classmethod
    def of(cls, histogram: Histogram) -> Spread:
        """Read them off."""
        return cls(histogram.quantile(0.5), histogram.quantile(0.99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One world at one moment. Times are seconds.

    Attributes:
        kind: ``"threads"`` or ``"tasks"``.
        driver: what people call it.
        workers: how many threads or tasks there are.
        stats: the pool's own numbers, since its start.
        recent_wait: waits of the last seconds.
        recent_hold: holds of the last seconds.
        rate: operations in the last second.
        history: operations per second, oldest first, one for each whole second.
        done: operations since the start.
        errors: operations that failed since the start.
        last_error: the latest of them, one line without a password.
        error_age: how long ago that was.
        holders: who holds a connection, the longest hold first.
    """

    kind: str
    driver: str
    workers: int
    stats: Stats
    recent_wait: Spread = Spread()
    recent_hold: Spread = Spread()
    rate: float = 0.0
    history: tuple[float, ...] = ()
    done: int = 0
    errors: int = 0
    last_error: str | None = None
    error_age: float = 0.0
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole demo at one moment.

    Attributes:
        where: the database, without a password.
        table: the table the demo made.
        elapsed: seconds since the start.
        seconds: when it ends by itself; 0 is never.
        wave: what time of the day it is.
        sides: threads and tasks, or why one of them is absent.
    """

    where: str
    table: str
    elapsed: float
    seconds: float
    wave: Wave
    sides: tuple[Side | Absent, ...]


class PoolView(Protocol):
    """What the sampler reads of a pool."""

    def stats(self) -> Stats:
        """Its numbers."""
        ...

    def holders(self) -> list[Holder]:
        """Who holds its connections."""
        ...


@dataclass(frozen=True, slots=True)
class _Past:
    at: float
    done: int
    stats: Stats


@dataclass(slots=True)
class SideSampler:
    """Looks at one world again and again."""

    kind: str
    driver: str
    pool: PoolView
    progress: Sequence[Progress]
    _past: deque[_Past] = field(default_factory=deque)
    _history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _second: _Past | None = None

    def take(self, now: float) -> Side:
        """Take a picture at `now` (monotonic seconds, never less than before)."""
        stats = self.pool.stats()
        done = sum(one.done for one in self.progress)
        present = _Past(now, done, stats)
        self._note(present)
        first = self._past[0]
        before = next(past for past in reversed(self._past) if now - past.at >= RATE_WINDOW or past is first)
        failure = last_failure(self.progress)
        return Side(
            kind=self.kind,
            driver=self.driver,
            workers=len(self.progress),
            stats=stats,
            recent_wait=Spread.of(since(stats.wait_time, first.stats.wait_time)),
            recent_hold=Spread.of(since(stats.hold_time, first.stats.hold_time)),
            rate=_rate(before, present),
            history=tuple(self._history),
            done=done,
            errors=sum(one.errors for one in self.progress),
            last_error=failure.text if failure else None,
            error_age=max(now - failure.at, 0.0) if failure else 0.0,
            holders=tuple(self.pool.holders()),
        )

    def _note(self, present: _Past) -> None:
        """Remember this moment, forget what is older than the window, and complete a second."""
        self._past.append(present)
        while len(self._past) > 1 and present.at - self._past[1].at >= WINDOW:
            self._past.popleft()
        if self._second is None:
            self._second = present
        elif present.at - self._second.at >= RATE_WINDOW:
            self._history.append(_rate(self._second, present))
            self._second = present


class Sampler:
    """Looks at the whole demo again and again."""

    def __init__(
        self, where: str, table: str, worlds: Sequence[World | Absent], began: float, seconds: float
    ) -> None:
        """Look at nothing yet; `began` is the monotonic time of the start."""
        self._where = where
        self._table = table
        self._began = began
        self._seconds = seconds
        self._sides = [
            world
            if isinstance(world, Absent)
            else SideSampler(world.kind, world.driver, world.pool, world.progress)
            for world in worlds
        ]

    def take(self, now: float) -> Snapshot:
        """Take a picture at `now`."""
        elapsed = now - self._began
        return Snapshot(
            where=self._where,
            table=self._table,
            elapsed=elapsed,
            seconds=self._seconds,
            wave=wave(elapsed),
            sides=tuple(side if isinstance(side, Absent) else side.take(now) for side in self._sides),
        )


def since(now: Histogram, before: Histogram) -> Histogram:
    """Return the durations that `now` has and `before` had not."""
    seen = dict(before.buckets)
    buckets = tuple((end, count - seen.get(end, 0)) for end, count in now.buckets if count > seen.get(end, 0))
    return Histogram(sum(count for _, count in buckets), now.total - before.total, buckets)


def _rate(before: _Past, present: _Past) -> float:
    seconds = present.at - before.at
    return (present.done - before.done) / seconds if seconds > 0 else 0.0
