"""What a case is told: how long to measure, and the PostgreSQL server that all sides share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benches.database import Database
from benches.measure import Figures, Measured, Metric, interleave

QUICK_ROUNDS = 3
QUICK_SHARE = 0.25

Sides = Mapping[str, Callable[[], Figures]]


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of the command line."""

    database: Database
    rounds: int | None = None
    quick: bool = False

    def rounds_or(self, usual: int) -> int:
        """How many rounds, where a case usually takes `usual`."""
        if self.rounds is not None:
            return self.rounds
        return min(usual, QUICK_ROUNDS) if self.quick else usual

    def slice(self, usual: float) -> float:
        """How many seconds one side gets in one round, where a case usually gives `usual`."""
        return usual * QUICK_SHARE if self.quick else usual


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table of bars: what is compared, and how the sides are set up.

    `prepare` opens everything the sides need on the given stack and returns one callable per side.
    """

    key: str
    title: str
    metrics: Sequence[Metric]
    rounds: int
    prepare: Callable[[Settings, ExitStack], Sides]

    def measure(self, settings: Settings) -> list[Measured]:
        """Set up, measure interleaved, tear down."""
        with ExitStack() as stack:
            sides = self.prepare(settings, stack)
            return interleave(self.metrics, sides, settings.rounds_or(self.rounds))
