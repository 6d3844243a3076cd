"""Snapshots as the sampler makes them, and what a console makes of a frame."""

from __future__ import annotations

import dataclasses
from io import StringIO
from typing import Any, Literal

from rich.console import Console, RenderableType

from cenote import Holder
from cenote.cli.sample import Side, Snapshot, Spread
from cenote.stats import Histogram, Stats

NOTHING = Histogram(0, 0.0, ())


def stats(**changes: Any) -> Stats:
    """The numbers of a pool of four, all zero but for the changes."""
    values: dict[str, Any] = {one.name: 0 for one in dataclasses.fields(Stats)}
    values.update(wait_time=NOTHING, hold_time=NOTHING, connect_time=NOTHING, max_open_connections=4)
    return Stats(**values | changes)


def histogram(*buckets: tuple[float, int]) -> Histogram:
    """Durations that are all as long as the upper end of their range."""
    return Histogram(
        sum(count for _, count in buckets), sum(end * count for end, count in buckets), tuple(buckets)
    )


def side(kind: str = "threads", **changes: Any) -> Side:
    """A world in a rush."""
    usual: dict[str, Any] = {
        "kind": kind,
        "driver": "sqlite3" if kind == "threads" else "aiosqlite",
        "workers": 8,
        "stats": stats(in_use=3, connecting=1, waiting=2, open_connections=4, max_lifetime_closed=5),
        "recent_wait": Spread(0.002, 0.044),
        "recent_hold": Spread(0.004, 0.088),
        "rate": 1234.4,
        "history": (0.0, 50.0, 100.0),
        "done": 56789,
        "holders": (
            Holder(1, "/srv/long/way/threads.py:101 in Threads.report", 0.0744),
            Holder(2, "/srv/long/way/threads.py:87 in Threads.look_up", 0.0021),
        ),
    }
    return Side(**usual | changes)


def snapshot(**changes: Any) -> Snapshot:
    """Both worlds in a rush."""
    usual: dict[str, Any] = {
        "where": "a temporary SQLite file",
        "table": "cenote_demo_0a1b2c3d",
        "elapsed": 83.0,
        "seconds": 0.0,
        "wave": "rush",
        "sides": (side("threads"), side("tasks")),
    }
    return Snapshot(**usual | changes)


def drawn(
    picture: RenderableType,
    width: int,
    color: Literal["auto", "standard"] | None = None,
    *,
    environ: dict[str, str] | None = None,
) -> str:
    """What a terminal of that width would be sent."""
    file = StringIO()
    terminal = color is not None
    console = Console(
        file=file,
        width=width,
        color_system=color,
        force_terminal=terminal,
        _environ=environ or {},
        legacy_windows=False,
    )
    console.print(picture)
    return file.getvalue()
