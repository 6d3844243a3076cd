"""What is written at the end: a table for each experiment with its shape in words, and the same as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cenote import __version__
from cenote.cli.bench.arguments import Plan
from cenote.cli.bench.results import Result

PLAIN_WIDTH = 120
"""Columns of a table where there is no terminal to ask."""


@dataclass(frozen=True, slots=True)
class Report:
    """All results, and what they are results of.

    Attributes:
        where: the URL, without a password.
        server: what it is and its version.
        driver: what people call it.
        plan: what was asked for.
        results: one for each experiment.
    """

    where: str
    server: str
    driver: str
    plan: Plan
    results: tuple[Result, ...]

    @property
    def headline(self) -> str:
        """Say in a line what was measured."""
        python = f"{platform.python_implementation()} {platform.python_version()}"
        return f"{self.server} by {self.driver}, {self.plan.workers} workers, {python}, cenote {__version__}"

    def as_json(self) -> str:
        """Write everything for a program."""
        found: dict[str, Any] = {
            "cenote": __version__,
            "python": platform.python_version(),
            "database": self.where,
            "server": self.server,
            "driver": self.driver,
            "workers": self.plan.workers,
            "rounds": self.plan.rounds,
            "seconds": self.plan.seconds,
            "scale": self.plan.scale,
            "experiments": [result.as_json() for result in self.results],
        }
        return json.dumps(found, indent=2, ensure_ascii=False)

    def show(self, console: Console) -> None:
        """Print all tables."""
        console.print(self.headline, markup=False, highlight=False)
        for result in self.results:
            for part in parts(result):
                console.print(part)


def console_for(file: Any) -> Console:
    """Return a console on a file: with colours on a terminal, plain and wide enough elsewhere."""
    if file.isatty():
        return Console(file=file)
    return Console(file=file, color_system=None, force_terminal=False, width=PLAIN_WIDTH)


def parts(result: Result) -> Iterator[RenderableType]:
    """Give what a result is shown as."""
    yield Text(f"\n{result.name}: {result.title}", style="bold")
    if result.not_run:
        yield Text(f"  not run: {result.not_run}")
        return
    if result.failed:
        yield Text(f"  failed: {result.failed}", style="red")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for column in result.columns:
        table.add_column(column.heading, justify="right")
    for row in result.rows:
        cells = [
            column.write(row.values[column.key]) if column.key in row.values else "-"
            for column in result.columns
        ]
        table.add_row(Text(row.label), *cells)
    yield Padding(table, (0, 0, 0, 2), expand=False)
    for line in result.shape:
        yield Text(f"  {line}", style="green")
    for line in result.notes:
        yield Text(f"  ({line})", style="dim")
