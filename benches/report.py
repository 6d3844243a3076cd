"""What was measured, for a reader: a table for the terminal, the same in Markdown, and everything in JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from benches import cores
from benches.measure import Measured, Row

PACKAGES = ("cenote", "psycopg", "psycopg-pool", "asyncpg", "SQLAlchemy", "DBUtils", "uvloop")
HEADS = ("case", "what", "ours", "figure", "beside", "figure", "ratio", "bar", "held")
RIGHT = (3, 5, 6)
LEGEND = (
    "Figures and ratios are medians over the rounds; a ratio is taken within a round. Where the bar says ≤, "
    "the ratio is what ours costs in units of the other; where it says ≥, how many times better ours is."
)


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "placement": cores.described(),
        "packages": {package: version(package) for package in PACKAGES},
    }


def heading() -> str:
    """Tell the environment in a line."""
    facts = environment()
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    return f"{facts['python']}, {facts['system']}, {facts['cores']} cores, {facts['placement']}; {packages}"


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out in columns, the case named once."""
    lines = [HEADS, *_without_repetition([_cells(row) for row in rows])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    text = [_padded(line, widths) for line in lines]
    text.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([*text, "", LEGEND, verdict(rows)])


def markdown(rows: Sequence[Row]) -> str:
    """Give the same table as Markdown."""
    marks = ["--:" if column in RIGHT else "---" for column in range(len(HEADS))]
    lines = [HEADS, marks, *_without_repetition([_cells(row) for row in rows])]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", LEGEND])


def as_json(measured: Mapping[str, Sequence[Measured]]) -> str:
    """Give everything, every figure of every round included."""
    cases = [
        {
            "case": case,
            "what": one.metric.what,
            "unit": one.metric.unit,
            "rounds": {side: each for side, each in one.figures.items() if each},
            "compared": [asdict(row) for row in one.rows(case)],
        }
        for case, several in measured.items()
        for one in several
    ]
    return json.dumps({"environment": environment(), "cases": cases}, ensure_ascii=False, indent=1) + "\n"


def missed(rows: Sequence[Row]) -> list[Row]:
    """Pick the rows whose bar was not held."""
    return [row for row in rows if row.held is False]


def verdict(rows: Sequence[Row]) -> str:
    """Say how many bars were held, in a line."""
    judged = [row for row in rows if row.held is not None]
    return f"{len(judged) - len(missed(rows))} of {len(judged)} bars held"


def say(text: str) -> None:
    """Tell the person who waits how far it is; results alone go to standard output."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _cells(row: Row) -> list[str]:
    held = {True: "yes", False: "NO", None: ""}[row.held]
    return [
        row.case,
        row.what,
        row.ours,
        _figure(row.our_figure, row.unit),
        row.peer or "",
        "" if row.peer_figure is None else _figure(row.peer_figure, row.unit),
        "" if row.peer is None else _short(row.ratio),
        f"{row.bar} (aim {row.aim})" if row.aim else row.bar,
        held,
    ]


def _figure(value: float, unit: str) -> str:
    if unit == "/s":
        return f"{value:,.0f}/s"
    return f"{_short(value)} {unit}"


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 20 else f"{value:.2f}"


def _without_repetition(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    shown: list[list[str]] = []
    before: Sequence[str] = ("", "")
    for line in lines:
        same_case = line[0] == before[0]
        same_what = same_case and line[1] == before[1]
        shown.append(["" if same_case else line[0], "" if same_what else line[1], *line[2:]])
        before = line
    return shown


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column in RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
