"""The demo without a terminal: a line a second for each pool, and the summary that both ways end with."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from cenote.cli.sample import Side, Snapshot, Spread
from cenote.cli.view import notes, spread
from cenote.durations import format_duration


def headline(snapshot: Snapshot) -> list[str]:
    """Say once what is at work, and where."""
    lines = [f"cenote demo on {snapshot.where}"]
    for side in snapshot.sides:
        if isinstance(side, Side):
            limit = side.stats.max_open_connections
            most = "any number of" if limit is None else f"at most {limit}"
            lines.append(f"{side.workers} {side.kind} share {most} connections by {side.driver}")
    return lines + [str(note) for note in notes(snapshot)]


def lines(snapshot: Snapshot) -> list[str]:
    """Write a moment in one line a pool, and another for an error of the last second."""
    written = []
    for side in snapshot.sides:
        if not isinstance(side, Side):
            continue
        stats = side.stats
        written.append(
            f"{snapshot.elapsed:5.0f}s  {side.kind:<7} {side.rate:6,.0f}/s  in use {stats.in_use}  "
            f"connecting {stats.connecting}  idle {stats.idle}  waiting {stats.waiting:<3} "
            f"wait {spread(side.recent_wait):<20} hold {spread(side.recent_hold):<20} errors {side.errors}"
        )
        if side.last_error and side.error_age < 1:
            written.append(f"        {side.kind:<7} {side.last_error}")
    return written


def summary(snapshot: Snapshot) -> RenderableType:
    """Tell at the end what each pool has done."""
    sides = [side for side in snapshot.sides if isinstance(side, Side)]
    table = Table(
        box=box.SIMPLE_HEAD, title=f"after {format_duration(snapshot.elapsed)}", title_justify="left"
    )
    table.add_column("", no_wrap=True)
    for side in sides:
        table.add_column(f"{side.workers} {side.kind}, {side.driver}", justify="right")
    for label, values in _rows(sides, snapshot.elapsed):
        table.add_row(label, *values)
    return Group(table, *notes(snapshot))


def _rows(sides: list[Side], elapsed: float) -> list[tuple[str, list[str]]]:
    def row(label: str, *values: str) -> tuple[str, list[str]]:
        return label, list(values)

    every = [side.stats for side in sides]
    waits = [Spread.of(stats.wait_time) for stats in every]
    holds = [Spread.of(stats.hold_time) for stats in every]
    return [
        row("operations", *(f"{side.done:,}" for side in sides)),
        row("  a second", *(f"{side.done / elapsed if elapsed else 0:,.0f}" for side in sides)),
        row("  failed", *(f"{side.errors:,}" for side in sides)),
        row("acquires", *(f"{stats.acquire_count:,}" for stats in every)),
        row("  had to queue", *(f"{stats.wait_count:,}" for stats in every)),
        row("  timed out", *(f"{stats.timeout_count:,}" for stats in every)),
        row("wait p50, p99", *(_pair(times) for times in waits)),
        row("hold p50, p99", *(_pair(times) for times in holds)),
        row("connections opened", *(f"{stats.connect_count:,}" for stats in every)),
        row("  dials failed", *(f"{stats.connect_errors:,}" for stats in every)),
        row("closed: max_lifetime", *(f"{stats.max_lifetime_closed:,}" for stats in every)),
        row("closed: max_idle_time", *(f"{stats.max_idle_time_closed:,}" for stats in every)),
        row("closed: max_idle", *(f"{stats.max_idle_closed:,}" for stats in every)),
        row(
            "closed: found dead", *(f"{stats.dead_on_acquire + stats.dead_on_keepalive:,}" for stats in every)
        ),
        row("closed: broken", *(f"{stats.discarded:,}" for stats in every)),
    ]


def _pair(times: Spread) -> str:
    return ", ".join(format_duration(seconds) if seconds else "0" for seconds in (times.p50, times.p99))
