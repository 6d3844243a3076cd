"""The frames of the live view, as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from cenote.cli.plain import lines, summary
from cenote.cli.view import render, short_site, sparkline
from cenote.cli.worlds import Absent
from tests.cli.pictures import drawn, histogram, side, snapshot, stats

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "demo.md"
LABELS = (
    "in use",
    "connecting",
    "idle",
    "waiting",
    "operations",
    "in all",
    "wait",
    "hold",
    "closed for",
    "held ",
)


def frame(width: int, height: int | None = None, **changes: object) -> list[str]:
    return drawn(render(snapshot(**changes), width, height), width).splitlines()


def test_threads_and_tasks_stand_side_by_side_where_there_is_room() -> None:
    (title,) = [line for line in frame(80) if "8 threads on Pool, sqlite3" in line]
    assert "8 tasks on AsyncPool, aiosqlite" in title


def test_a_frame_fits_a_terminal_of_the_usual_size() -> None:
    failing = (side("threads", last_error="no " * 200), side("tasks", last_error="no " * 200))
    shown = frame(80, 24, sides=failing)
    assert len(shown) <= 24
    assert max(map(len, shown)) <= 80


def test_a_narrow_terminal_stacks_the_panels() -> None:
    shown = frame(60)
    (threads,) = [number for number, line in enumerate(shown) if "8 threads on" in line]
    (tasks,) = [number for number, line in enumerate(shown) if "8 tasks on" in line]
    assert tasks > threads
    assert max(map(len, shown)) <= 60


def test_a_narrow_and_low_terminal_leaves_out_details() -> None:
    failing = (side("threads", last_error="no " * 200), side("tasks", last_error="no " * 200))
    shown = frame(60, 24, sides=failing)
    assert len(shown) <= 24
    assert "closed for" not in "\n".join(shown)
    assert shown[-1].startswith("Ctrl-C ends")


@pytest.mark.parametrize("width", [80, 60, 200])
def test_every_number_has_its_label(width: int) -> None:
    text = "\n".join(frame(width))
    assert [label for label in LABELS if text.count(label) < 2] == []


def test_bars_are_drawn_against_max_open() -> None:
    (line,) = [line for line in frame(60, sides=(side("threads"),)) if "in use" in line]
    assert line.count("█") == 3 * line.count("░")
    assert "3/4" in line


def test_a_longer_queue_than_the_bar_fills_the_bar() -> None:
    crowded = side("threads", stats=stats(waiting=1000))
    (line,) = [line for line in frame(60, sides=(crowded,)) if "waiting" in line]
    assert "░" not in line
    assert "1000" in line
    assert len(line) == 60


def test_something_is_never_drawn_as_nothing() -> None:
    busy = side("threads", stats=stats(in_use=1, max_open_connections=1000))
    (line,) = [line for line in frame(60, sides=(busy,)) if "in use" in line]
    assert line.count("█") == 1


def test_a_pool_without_limit_has_bars_too() -> None:
    free = side("threads", stats=stats(in_use=2, open_connections=4, max_open_connections=None))
    (line,) = [line for line in frame(60, sides=(free,)) if "in use" in line]
    assert line.count("█") == line.count("░")
    assert "/" not in line


def test_the_oldest_holders_are_named_with_line_function_and_time() -> None:
    shown = "\n".join(frame(80))
    assert "held 74.4ms threads.py:101 in report" in shown
    assert "/srv" not in shown


def test_a_site_is_cut_to_file_line_and_function() -> None:
    assert short_site("/in use/a in b/app.py:7 in Handler.get.<locals>.go") == "app.py:7 in go"


def test_an_error_is_shown_with_its_age_and_goes_on_to_be_shown() -> None:
    failed = side("tasks", errors=3, last_error="cannot connect: Refused", error_age=7.4)
    text = "\n".join(frame(80, sides=(side("threads"), failed)))
    assert "errors 3" in text
    assert "last error of tasks, 7 s ago: cannot connect: Refused" in text


def test_a_world_that_is_absent_says_why() -> None:
    shown = frame(80, sides=(side("threads"), Absent("tasks", "the driver [aiosqlite] is not installed")))
    assert "no tasks: the driver [aiosqlite] is not installed" in shown
    assert "AsyncPool" not in "\n".join(shown)


def test_a_name_in_brackets_is_no_markup() -> None:
    assert "[bold]x[/bold]" in frame(80, where="[bold]x[/bold]")[0]


def test_the_end_is_announced_if_there_is_one() -> None:
    assert frame(80, seconds=30.0)[-1].startswith("Ctrl-C ends, or 30 s")
    assert frame(80)[-1].startswith("Ctrl-C ends  ")


def test_colors_are_used_where_there_are_colors() -> None:
    assert "\x1b[32m" in drawn(render(snapshot(), 80), 80, "standard")


def test_no_color_is_respected() -> None:
    text = drawn(render(snapshot(), 80), 80, "standard", environ={"NO_COLOR": "1"})
    assert not any(f"\x1b[{code}m" in text for code in range(30, 48))
    assert not any(f";{code}m" in text for code in range(30, 48))


def test_a_sparkline_shows_the_last_values_against_the_highest_of_them() -> None:
    assert sparkline((900.0, 0.0, 50.0, 100.0), 3) == "▁▅█"
    assert sparkline((0.0, 0.0), 9) == "▁▁"
    assert sparkline((), 9) == ""
    assert sparkline((1.0,), 0) == ""


def test_a_plain_line_tells_the_same_without_escape_codes() -> None:
    first, second = lines(snapshot())
    assert first.split()[:3] == ["83s", "threads", "1,234/s"]
    assert "in use 3  connecting 1  idle 0  waiting 2" in first
    assert "tasks" in second
    assert first.isascii()
    assert first.isprintable()


def test_a_plain_error_is_written_once() -> None:
    fresh = side("threads", last_error="Refused", error_age=0.2)
    old = side("tasks", last_error="Refused", error_age=1.2)
    assert [line for line in lines(snapshot(sides=(fresh, old))) if "Refused" in line] == [
        "        threads Refused"
    ]


def test_the_summary_has_a_column_for_each_world() -> None:
    waits = histogram((0.0, 98), (0.25, 2))
    busy = side("threads", stats=stats(connect_count=7, wait_time=waits), done=830)
    text = drawn(summary(snapshot(sides=(busy, side("tasks")))), 80)
    assert "after 1m23s" in text
    assert "8 threads, sqlite3" in text
    rows = {line[:26].strip(): line[26:].split() for line in text.splitlines()}
    assert rows["a second"] == ["10", "684"]
    assert rows["connections opened"] == ["7", "0"]
    assert rows["wait p50, p99"] == ["0,", "250ms", "0,", "0"]


def test_the_guide_shows_a_frame_with_every_label() -> None:
    text = GUIDE.read_text()
    shown = [line for line in text.splitlines() if line.startswith("│")]
    assert [label for label in LABELS if sum(f"│ {label}" in line for line in shown) == 0] == []
    assert len(shown) == sum(line.startswith("│") for line in frame(80))
