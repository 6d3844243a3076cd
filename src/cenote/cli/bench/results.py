"""What an experiment found: rows of figures with the settings they belong to, and their shape in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cenote.durations import format_duration

SAME = 1.05
"""Up to this ratio two figures are called alike."""


class Column(NamedTuple):
    """One figure: its name in JSON, its heading in a table and how it is written there."""

    key: str
    heading: str
    write: Callable[[float], str]


def whole(value: float) -> str:
    """Write a count."""
    return f"{value:,.0f}"


def ratio(value: float) -> str:
    """Write a figure around 1."""
    return f"{value:.2f}"


def size(value: float) -> str:
    """Write bytes."""
    return f"{value / 1024:,.1f} KiB"


def duration(value: float) -> str:
    """Write seconds."""
    return format_duration(value) if value else "0"


def seconds(value: float) -> str:
    """Write seconds where hundredths of them matter."""
    return f"{value:.2f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case of an experiment.

    Attributes:
        label: what was set, in words.
        settings: what was set.
        values: the figures by their column; of several rounds the median.
        rounds: the first figure in each round.
        problem: why there are no figures.
    """

    label: str
    settings: Mapping[str, object]
    values: Mapping[str, float]
    rounds: tuple[float, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one experiment found.

    Attributes:
        name: as ``--only`` knows it.
        title: what was done, in words.
        columns: the figures, the main one first.
        rows: the cases.
        shape: what is to be seen, in words.
        notes: what the server said, or what has to be known about the figures.
        not_run: why it was left out.
        failed: why it was broken off.
    """

    name: str
    title: str
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    shape: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    not_run: str | None = None
    failed: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "title": self.title,
            "cases": [
                {
                    "label": row.label,
                    "settings": dict(row.settings),
                    "values": {key: round(value, 9) for key, value in row.values.items()},
                    "rounds": list(row.rounds),
                    "problem": row.problem,
                }
                for row in self.rows
            ],
            "shape": list(self.shape),
            "notes": list(self.notes),
            "not_run": self.not_run,
            "failed": self.failed,
        }


def plural(count: float, noun: str) -> str:
    """Write a count and what is counted."""
    return f"{count:,.0f} {noun}{'' if round(count) == 1 else 's'}"


def compare(fast: str, fast_value: float, slow: str, slow_value: float) -> str:
    """Say how many times faster the first is than the second, whichever way it turned out."""
    if not (fast_value and slow_value):
        return f"{fast}: not to be compared with {slow}"
    ratio = slow_value / fast_value
    if 1 / SAME <= ratio <= SAME:
        return f"{fast}: as fast as {slow}"
    if ratio > 1:
        return f"{fast}: {ratio:.1f} x faster than {slow}"
    return f"{fast}: {1 / ratio:.1f} x slower than {slow}"
