"""How far it has come: bars on a terminal, a line for each experiment elsewhere. Both on standard error."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from cenote.cli.bench.context import Progress


class Bars:
    """A bar for each experiment."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, name: str, steps: int) -> None:
        """Add a bar."""
        self._task = self._progress.add_task(name, total=steps)

    def step(self) -> None:
        """Move it on."""
        if self._task is not None:
            self._progress.advance(self._task)

    def end(self) -> None:
        """Fill it, so that it stands still."""
        if self._task is not None:
            total = self._progress.tasks[self._task].total
            self._progress.update(self._task, completed=total or 0)
            self._progress.stop_task(self._task)


class Lines:
    """A line for each experiment."""

    def begin(self, name: str, steps: int) -> None:
        """Write it."""
        print(f"{name} ({steps} steps)", file=sys.stderr, flush=True)

    def step(self) -> None:
        """Write nothing: logs are read later."""

    def end(self) -> None:
        """Write nothing."""


def bars() -> RichProgress | None:
    """Return the bars, if standard error is a terminal that can draw them."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal or not console.encoding.startswith("utf"):
        return None
    return RichProgress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def teller(drawn: RichProgress | None) -> Progress:
    """Return whom the experiments tell."""
    return Lines() if drawn is None else Bars(drawn)
