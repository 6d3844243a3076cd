"""What the demo's workers do, when, and what they count: the same for threads and for tasks.

The work comes in waves, so that a pool shows all it can do: in a rush there are more callers than connections
and a queue forms; when it is quiet, connections are idle for so long that they are closed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, Protocol

from cenote._secrets import scrub
from cenote.errors import ConnectError
from cenote.options import Options

Kind = Literal["look_up", "write", "report"]
Wave = Literal["rush", "quiet"]

RUSH_SECONDS, QUIET_SECONDS = 10.0, 6.0
THINK: dict[Wave, float] = {"rush": 0.005, "quiet": 0.9}
"""Seconds between two uses of the pool, on average."""
MIX: dict[Kind, int] = {"look_up": 70, "write": 22, "report": 8}
"""Out of a hundred uses."""
HOLD: dict[Kind, float] = {"look_up": 0.003, "write": 0.002, "report": 0.06}
"""Seconds a connection is held on beside its statements, on average, as when the caller works on the rows."""
REPORT_STEPS = 3
ROWS_PER_WORKER = 100
"""So many, written over and over again: the table does not grow."""
AFTER_ERROR = 0.25
"""Seconds until a worker tries again, so that a dead server is not stormed."""


LAST_WORDS = 3.0
"""Seconds the workers have to end by themselves, and then the pool's connections to come back."""


def patience(options: Options) -> float:
    """Seconds for the statements of the demo itself, which has to succeed also with ``--timeout 0``."""
    return options.connect_timeout + LAST_WORDS


class World(Protocol):
    """A pool at work, with threads or with tasks. All methods are called from the main thread."""

    kind: str
    driver: str
    pool: Any
    progress: list[Progress]

    def connect(self) -> None:
        """See whether the server answers."""
        ...

    def prepare(self) -> None:
        """Make the table."""
        ...

    def start(self, numbers: range, began: float) -> None:
        """Set a worker to work for each number; `began` is when the first wave starts, on the clock."""
        ...

    def stop(self) -> None:
        """Tell the workers to end, and wait a little until they have."""
        ...

    def clear(self) -> None:
        """Drop the table."""
        ...

    def close(self) -> None:
        """Close the pool."""
        ...


class Failure(NamedTuple):
    """An error a worker met, as one line without a password, and when (monotonic seconds)."""

    at: float
    text: str


def failure(error: Exception, options: Options) -> Failure:
    """Describe an error; of a failed dial its cause, since the view shows the pool's counts anyway."""
    cause = error.__cause__ if isinstance(error, ConnectError) else None
    text = " ".join(scrub(str(cause or error), options.dsn).split())
    name = type(cause or error).__name__
    before = "cannot connect: " if cause else ""
    return Failure(time.monotonic(), f"{before}{name}: {text}" if text else before + name)


class Progress:
    """What one worker has done. Written by that worker alone, so that no count is lost; read by anybody."""

    __slots__ = ("done", "errors", "last")

    def __init__(self) -> None:
        self.done: int = 0
        self.errors: int = 0
        self.last: Failure | None = None

    def failed(self, error: Exception, options: Options) -> None:
        """Count an error."""
        self.errors += 1
        self.last = failure(error, options)


def last_failure(progress: Iterable[Progress]) -> Failure | None:
    """Return the latest error of all workers."""
    return max((one.last for one in progress if one.last), default=None)


def wave(elapsed: float) -> Wave:
    """Say what time of the day it is, so many seconds after the start."""
    return "rush" if elapsed % (RUSH_SECONDS + QUIET_SECONDS) < RUSH_SECONDS else "quiet"


class Rhythm:
    """The decisions of one worker. The same number decides the same in every run."""

    def __init__(self, number: int, began: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self._began = began
        self._clock = clock
        self._random = random.Random(number)

    def think(self) -> float:
        """Seconds until the next use."""
        return self._around(THINK[wave(self._clock() - self._began)])

    def next(self) -> Kind:
        """What to do with the next connection."""
        (kind,) = self._random.choices(list(MIX), list(MIX.values()))
        return kind

    def hold(self, kind: Kind) -> float:
        """Seconds to hold on, all together."""
        return self._around(HOLD[kind])

    def row(self) -> tuple[int, int]:
        """The key of one of this worker's own rows, so that no two workers wait for each other's."""
        return self.number, self._random.randrange(ROWS_PER_WORKER)

    def _around(self, mean: float) -> float:
        return self._random.uniform(0.5, 1.5) * mean
