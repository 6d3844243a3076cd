"""The one way to measure here: interleaved rounds of short slices, compared as ratios, reported as medians.

A machine that is busy with something else slows every side of a round alike, so the ratio of two figures
of the same round is far steadier than the figures themselves.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Literal

Unit = Literal["µs", "ms", "/s", "times", "MB"]
Figures = Mapping[str, float]
"""What one side measured in one round: the figure of each metric, by the metric's name."""

CALIBRATION_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Compare:
    """Ours beside one peer, or, with no peer, against a limit of its own.

    `at_most` bounds what ours costs in units of the peer's cost; `at_least` bounds how many times better ours
    is. Without either the comparison is shown and not judged, as a cost if `cost` says so. `aim` is a wish
    beyond the bar.
    """

    ours: str
    peer: str | None
    at_most: float | None = None
    at_least: float | None = None
    aim: str = ""
    cost: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure that every side of a case delivers, and what is compared in it."""

    what: str
    unit: Unit
    compares: Sequence[Compare]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, measured: a line of the report."""

    case: str
    what: str
    unit: Unit
    ours: str
    our_figure: float
    peer: str | None
    peer_figure: float | None
    ratio: float
    bar: str
    held: bool | None
    aim: str


@dataclass(frozen=True, slots=True)
class Measured:
    """Every figure of one metric, by side and round."""

    metric: Metric
    figures: Mapping[str, Sequence[float]]

    def rows(self, case: str) -> list[Row]:
        """Judge every comparison of the metric."""
        return [self._row(case, compare) for compare in self.metric.compares]

    def _row(self, case: str, compare: Compare) -> Row:
        ours = self.figures[compare.ours]
        peers = None if compare.peer is None else self.figures[compare.peer]
        ratio = median(ours) if peers is None else median(self._ratios(ours, peers, compare))
        bar, held = judge(ratio, compare)
        return Row(
            case=case,
            what=self.metric.what,
            unit=self.metric.unit,
            ours=compare.ours,
            our_figure=median(ours),
            peer=compare.peer,
            peer_figure=None if peers is None else median(peers),
            ratio=ratio,
            bar=bar,
            held=held,
            aim=compare.aim,
        )

    def _ratios(self, ours: Sequence[float], peers: Sequence[float], compare: Compare) -> list[float]:
        more_is_better = self.metric.unit == "/s"
        ours_on_top = more_is_better or compare.cost or compare.at_most is not None
        return [a / b if ours_on_top else b / a for a, b in zip(ours, peers, strict=True)]


def judge(ratio: float, compare: Compare) -> tuple[str, bool | None]:
    """Say the bar in words, and whether `ratio` holds it (None where there is no bar)."""
    if compare.at_most is not None:
        return f"≤ {compare.at_most:g}", ratio <= compare.at_most
    if compare.at_least is not None:
        return f"≥ {compare.at_least:g}", ratio >= compare.at_least
    return "", None


def interleave(
    metrics: Sequence[Metric], sides: Mapping[str, Callable[[], Figures]], rounds: int
) -> list[Measured]:
    """Measure every side once per round, each round beginning with another side, for `rounds` rounds."""
    names = list(sides)
    figures: dict[str, dict[str, list[float]]] = {
        metric.what: {name: [] for name in names} for metric in metrics
    }
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # nobody pays for what the side before left behind
            for what, figure in sides[name]().items():
                figures[what][name].append(figure)
    return [Measured(metric, figures[metric.what]) for metric in metrics]


@dataclass(slots=True)
class PerTurn:
    """Microseconds per turn of `loop(turns)`, over a slice of about `seconds`.

    How many turns fill the slice is found by the first call.
    """

    what: str
    loop: Callable[[int], object]
    seconds: float
    turns: int = field(default=0, init=False)

    def __call__(self) -> Figures:
        """Run one slice."""
        if not self.turns:
            self._calibrate()
        return {self.what: self._time(self.turns) / self.turns * 1e6}

    def _calibrate(self) -> None:
        turns, took = 16, 0.0
        while took < CALIBRATION_SECONDS:
            turns *= 2
            took = self._time(turns)
        self.turns = max(1, int(turns * self.seconds / took))

    def _time(self, turns: int) -> float:
        began = perf_counter()
        self.loop(turns)
        return perf_counter() - began
