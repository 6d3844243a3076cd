"""How long tests wait, and how often they try: right on any machine, however busy it is.

What has to come is waited for, nearly for ever: only a test that fails waits so long. What a pause of the
machine can spoil is tried again, with more time or in the hope of a quieter moment; the bound stays the same.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from os import sched_yield
from time import monotonic

SAFETY = 60.0
"""Seconds after which what a test waits for counts as never coming."""

CHANCES = 25
"""Attempts to keep a promise about time, which a busy machine breaks now and then, a bug each time."""


def growing(first: float) -> Iterator[float]:
    """Yield deadlines, each twice the one before: sooner or later one is long enough.

    Raises:
        AssertionError: not even a very long one did.
    """
    deadline = first
    while deadline < SAFETY:
        yield deadline
        deadline *= 2
    raise AssertionError(f"it did not happen within {deadline / 2:g} s either")


def goes(reference: Callable[[], object]) -> bool:
    """Say whether what a weak reference refers to goes; another thread may have it for a moment yet."""
    end = monotonic() + SAFETY
    while reference() is not None and monotonic() < end:
        gc.collect()
        sched_yield()
    return reference() is None
