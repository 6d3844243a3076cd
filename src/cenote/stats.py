"""What a pool counts, and the immutable picture of it that `stats()` gives away.

`Recorder` is the mutable side, kept by the core. `Histogram` and `Stats` are snapshots: taking
one copies a few lists while the lock is held, and does the sums when it is given back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from math import frexp, sqrt

# Two buckets an octave: a value is counted under the binary exponent of its square, so a
# bucket's upper end is 1.41 times its lower one. Negative exponents index the list from its
# end, as Python does; 2**-59 seconds squared is far below a nanosecond, 2**63 squared is ages.
_BUCKETS = 128
_LOWEST = -60
_FLOOR = 1e-18  # keeps frexp away from zero, whose exponent would be that of 0.5

MANY = 256
"""So many durations are kept before they are counted, all at once: that is cheaper than each at its time."""

_UPPER_ENDS = [sqrt(2.0**exponent) for exponent in (*range(_BUCKETS + _LOWEST), *range(_LOWEST, 0))]
"""Where the range of each exponent ends, in seconds; indexed as the counts are."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a duration fell into which range. All times are seconds.

    Attributes:
        count: how many durations.
        total: their sum.
        buckets: (upper end, count) of every range that is not empty, shortest first.
    """

    count: int
    total: float
    buckets: tuple[tuple[float, int], ...]

    @property
    def mean(self) -> float:
        """The average, 0 when nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """The upper end of the range in which the `q` quantile lies (0.99 for p99), 0 when empty.

        Ranges are half an octave wide, so the true value lies at most 30 % below.
        """
        rank = q * self.count
        seen = 0
        for upper, count in self.buckets:
            seen += count
            if seen >= rank:
                return upper
        return self.buckets[-1][0] if self.buckets else 0.0


class Recorder:
    """Counts durations into half-octave ranges. Belongs to whoever holds the pool's lock, but for `noted`.

    Attributes:
        noted: durations that are kept and not counted yet. Anybody may append one, with or without the lock,
            who looks afterwards whether they are `MANY`. Less than 0 counts as 0.
    """

    __slots__ = ("_counts", "_total", "noted")

    def __init__(self) -> None:
        """Start empty."""
        self._counts = [0] * _BUCKETS
        self._total = 0.0
        self.noted: deque[float] = deque()

    @property
    def count(self) -> int:
        """How many durations there are."""
        self.fold()
        return sum(self._counts)

    @property
    def total(self) -> float:
        """Their sum."""
        self.fold()
        return self._total

    def record(self, seconds: float) -> None:
        """Keep one duration, with the lock."""
        self.noted.append(seconds)
        if len(self.noted) >= MANY:
            self.fold()

    def fold(self) -> None:
        """Count what was noted."""
        batch: list[float] = []
        try:  # ended by an error, not by a look before: a finalizer may come in between and fold the rest
            batch.extend(iter(self.noted.popleft, None))
        except IndexError:
            pass
        batch.sort()  # then those of one range are side by side, and there are few ranges
        below = bisect_left(batch, 0.0)
        batch[:below] = [0.0] * below
        total = sum(batch)  # by itself: a finalizer that folds while it is called must not be overwritten
        self._total += total
        first = 0
        while first < len(batch):
            seconds = batch[first]
            exponent = frexp(seconds * seconds + _FLOOR)[1]
            after = bisect_left(batch, _UPPER_ENDS[exponent], first + 1)
            self._counts[exponent] += after - first
            first = after

    def snapshot(self, short: int = 0, short_bound: float = 0.0) -> Histogram:
        """Give the histogram, with `short` more durations known only to be at most `short_bound`."""
        buckets = [
            (_UPPER_ENDS[exponent], count)
            for exponent in range(_LOWEST, _BUCKETS + _LOWEST)
            if (count := self._counts[exponent])
        ]
        if short > 0:
            buckets.insert(0, (short_bound, short))
        return Histogram(self.count + max(short, 0), self.total, tuple(buckets))

    def copy(self) -> Recorder:
        """Copy the counts, so that the picture can be drawn after the lock is given back."""
        twin = Recorder()
        twin._total = self.total
        twin._counts = self._counts.copy()
        return twin


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """One consistent look at a pool. Counters only grow; gauges are the moment's value.

    The first nine are database/sql's ``DBStats`` in snake case. Times are seconds.
    """

    max_open_connections: int | None
    """The limit; None when there is none."""
    open_connections: int
    """In use, idle and connecting together."""
    in_use: int
    idle: int
    wait_count: int
    """Acquires that found every connection in other hands and had to queue."""
    wait_duration: float
    """Seconds that they waited, all together."""
    max_idle_closed: int
    """Closed since there were more idle ones than `max_idle`, or more open ones than `max_open`."""
    max_idle_time_closed: int
    max_lifetime_closed: int

    waiting: int
    """Callers in the queue now."""
    connecting: int
    """Dials under way now."""
    closing: int
    """Connections whose goodbye the server has not answered yet; they still count against the limit."""
    acquire_count: int
    timeout_count: int
    rejected_count: int
    """Refused at once with `PoolFull`."""
    connect_count: int
    connect_errors: int
    dead_on_acquire: int
    """Found dead on acquire and replaced."""
    dead_on_keepalive: int
    """Found dead while idle: by keepalive, or at once by an event loop that saw the peer go."""
    discarded: int
    """Closed on release: broken, in an unknown state, discarded by the caller, or dropped without release."""
    overflow_open: int
    """Open beyond `max_open` now, with ``on_full="overflow"``."""
    generation: int
    """Raised whenever a connection is found dead; older connections are then checked before use."""

    wait_time: Histogram
    """One entry for each acquire; those that did not queue are in the first range, 0."""
    hold_time: Histogram
    """From acquire to release; holds below 50 µs are counted in one range and not timed."""
    connect_time: Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStats:
    """One look at a group of pools. The places are counted at one moment, the pools one after the other."""

    max_open_connections: int
    """The limit for all pools together, `max_total`."""
    open_connections: int
    """In use, idle and connecting together, in all pools."""
    closing: int
    """Connections whose goodbye the server has not answered yet; they still count against the limit."""
    in_use: int
    idle: int
    waiting: int
    """Callers in all queues now."""
    pools: tuple[tuple[str, Stats], ...]
    """Each pool's name and its own statistics."""
