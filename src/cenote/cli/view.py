"""The live view as a pure function: a snapshot and the room there is go in, what rich can draw comes out.

Everything is told by words and numbers too, so that nothing is lost without colours.
"""

from __future__ import annotations

from pathlib import PurePath

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cenote.cli.sample import WINDOW, Side, Snapshot, Spread
from cenote.cli.work import Wave
from cenote.cli.worlds import Absent
from cenote.durations import format_duration

SIDE_BY_SIDE = 76
"""From this width on there is room for two panels beside each other."""

_HOLDERS = 3
_LABEL = 12
_FRAME = 4  # of a panel's width: border and padding
_BORDER = 2  # of its height
_FULL_ROWS = 14
_AROUND = 4  # headline and footer
_SPARKS = "▁▂▃▄▅▆▇█"
_WAVES: dict[Wave, str] = {
    "rush": "rush: more callers than connections, a queue forms",
    "quiet": "quiet: few callers, what is idle for long is closed",
}


def render(snapshot: Snapshot, width: int, height: int | None = None) -> RenderableType:
    """Draw one frame for a terminal of `width` columns; with a `height`, leave out what does not fit."""
    sides = [side for side in snapshot.sides if isinstance(side, Side)]
    beside = width >= SIDE_BY_SIDE and len(sides) > 1
    panel_width = width // 2 if beside else width
    stacked_height = len(sides) * (_FULL_ROWS + _BORDER) + _AROUND
    brief = not beside and height is not None and height < stacked_height
    panels: list[RenderableType] = [_panel(side, panel_width, brief=brief) for side in sides]
    if beside:
        row = Table.grid()
        row.add_row(*panels)
        panels = [row]
    error_room = width if brief else 2 * width - _LABEL  # two lines, whose first one breaks at a word
    errors = [_last_error(side, error_room) for side in sides if side.last_error]
    return Group(_headline(snapshot), *panels, *errors, *notes(snapshot), _footer(snapshot))


def notes(snapshot: Snapshot) -> list[Text]:
    """Say which world is not there, and why."""
    return [
        Text(f"no {side.kind}: {side.reason}", style="yellow")
        for side in snapshot.sides
        if isinstance(side, Absent)
    ]


def sparkline(values: tuple[float, ...], width: int) -> str:
    """Draw the last `width` values, the highest of them as a full block."""
    shown = values[-width:] if width > 0 else ()
    top = max(shown, default=0.0)
    if top <= 0:
        return _SPARKS[0] * len(shown)
    return "".join(_SPARKS[round(max(value, 0.0) / top * (len(_SPARKS) - 1))] for value in shown)


def short_site(site: str) -> str:
    """Cut ``/long/way/file.py:88 in Class.method`` down to ``file.py:88 in method``."""
    place, _, function = site.rpartition(" in ")
    return f"{PurePath(place).name} in {function.rpartition('.')[2]}"


def spread(times: Spread) -> str:
    """Write the middle and the slow end."""
    return f"p50 {_time(times.p50):<7} p99 {_time(times.p99)}"


def _time(seconds: float) -> str:
    return format_duration(seconds) if seconds else "0"


def _headline(snapshot: Snapshot) -> Text:
    clock = f"{int(snapshot.elapsed) // 60:02}:{int(snapshot.elapsed) % 60:02}"
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append("cenote demo", style="bold")
    line.append(f"  {clock}  {snapshot.where}\n")
    line.append(_WAVES[snapshot.wave], style="dim")
    return line


def _footer(snapshot: Snapshot) -> Text:
    end = f", or {snapshot.seconds:g} s" if snapshot.seconds else ""
    text = f"Ctrl-C ends{end}  ·  times of the last {WINDOW:g} s  ·  table {snapshot.table}"
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


def _panel(side: Side, width: int, *, brief: bool) -> Panel:
    inner = width - _FRAME
    rows = Table.grid()
    rows.add_column(width=_LABEL, no_wrap=True)
    rows.add_column(width=inner - _LABEL, no_wrap=True, overflow="ellipsis")
    _add_gauges(rows, side, inner - _LABEL)
    if not brief:
        rows.add_row("", "")
    _add_speed(rows, side, inner - _LABEL)
    if not brief:
        rows.add_row("hold", spread(side.recent_hold))
        _add_closed(rows, side, inner - _LABEL)
        _add_holders(rows, side)
    pool = "Pool" if side.kind == "threads" else "AsyncPool"
    title = Text(f"{side.workers} {side.kind} on {pool}, {side.driver}", style="bold")
    return Panel(rows, title=title, title_align="left", width=width, box=box.ROUNDED)


def _add_gauges(rows: Table, side: Side, room: int) -> None:
    stats = side.stats
    limit = stats.max_open_connections
    scale = limit or max(stats.open_connections, stats.waiting, 1)
    numbers = max(len(f" {scale}/{scale}"), len(f" {stats.waiting}"))
    for label, value, colour in (
        ("in use", stats.in_use, "green"),
        ("connecting", stats.connecting, "yellow"),
        ("idle", stats.idle, "cyan"),
        ("waiting", stats.waiting, "red"),
    ):
        of_limit = f"/{limit}" if limit and label != "waiting" else ""
        bar = _bar(value, scale, max(room - numbers, 4), colour)
        bar.append(f" {value}", style="bold" if value else "")
        rows.add_row(label, bar.append(of_limit, style="dim"))


def _bar(value: int, scale: int, cells: int, colour: str) -> Text:
    """Fill the part of `cells` that `value` is of `scale`; something is never drawn as nothing."""
    filled = min(max(round(cells * value / scale), 1 if value else 0), cells)
    bar = Text("█" * filled, style=colour)
    return bar.append("░" * (cells - filled), style="dim")


def _add_speed(rows: Table, side: Side, room: int) -> None:
    rate = f"{side.rate:,.0f}/s"
    line = Text(f"{rate:<9}", style="bold")
    rows.add_row("operations", line.append(sparkline(side.history, room - len(line)), style="not bold green"))
    count = Text(f"{side.done:,}   ").append(
        f"errors {side.errors:,}", style="bold red" if side.errors else ""
    )
    rows.add_row("in all", count)
    rows.add_row("wait", spread(side.recent_wait))


def _add_closed(rows: Table, side: Side, room: int) -> None:
    stats = side.stats
    dead = stats.dead_on_acquire + stats.dead_on_keepalive
    for label, left, right in (
        ("closed for", f"lifetime {stats.max_lifetime_closed}", f"idle time {stats.max_idle_time_closed}"),
        ("", f"surplus {stats.max_idle_closed}", f"dead {dead}"),
    ):
        rows.add_row(label, f"{left:<{room // 2}} {right}")


def _add_holders(rows: Table, side: Side) -> None:
    shown = [
        (f"held {format_duration(holder.held)}", short_site(holder.site))
        for holder in side.holders[:_HOLDERS]
    ]
    for label, where in shown + [("", "")] * (_HOLDERS - len(shown)):
        rows.add_row(label, Text(where))


def _last_error(side: Side, room: int) -> Text:
    age = f"{side.error_age:.0f} s ago" if side.error_age >= 1 else "now"
    text = Text(f"last error of {side.kind}, {age}: {side.last_error}", style="red")
    text.truncate(room, overflow="ellipsis")
    return text
