"""``cenote demo``: real statements through two pools, shown while they run.

The main thread samples and draws, and does nothing else; the work is in `threads` and `tasks`. Whatever ends
the demo, the table it made is dropped and its connections are closed.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.live import Live

from cenote.cli import DONE, FAILED, INTERRUPTED, MISUSED, plain, view
from cenote.cli.arguments import pool_options
from cenote.cli.bell import Bell
from cenote.cli.sample import Sampler
from cenote.cli.work import World, failure
from cenote.cli.worlds import Absent, make
from cenote.errors import ConfigError, Error
from cenote.options import redact

FRAME = 0.1
LINE = 1.0
WITHOUT_TERMINAL = 10.0
"""Seconds, when nobody is there to end it and nobody said how long."""


class Failed(Exception):
    """What was asked for could not be done; the text is the line to show."""


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and return the exit status."""
    try:
        with _database(arguments.url) as (url, where):
            _demo(arguments, url, where)
    except ConfigError as error:
        return _complain(str(error), MISUSED)
    except Failed as error:
        return _complain(str(error), FAILED)
    except BrokenPipeError:  # as in `cenote demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would complain
        return FAILED
    except KeyboardInterrupt:  # before there was anything to show, or a second time
        return INTERRUPTED
    return DONE


def _complain(text: str, status: int) -> int:
    print(f"cenote demo: {' '.join(text.split())}", file=sys.stderr)
    return status


@contextmanager
def _database(url: str | None) -> Iterator[tuple[str, str]]:
    """Give the URL to work on and how to show it; without one, that of a file which is gone afterwards."""
    if url is not None:
        yield url, redact(url)
        return
    with tempfile.TemporaryDirectory(prefix="cenote-demo-", ignore_cleanup_errors=True) as folder:
        yield f"sqlite:///{quote((Path(folder) / 'demo.db').as_posix())}", "a temporary SQLite file"


def _demo(arguments: argparse.Namespace, url: str, where: str) -> None:
    table = f"cenote_demo_{secrets.token_hex(4)}"
    worlds = make(url, partial(pool_options, arguments), table)
    present = [world for world in worlds if not isinstance(world, Absent)]
    with ExitStack() as undo:
        for world in present:
            undo.callback(world.close)
            _attempt(world, world.connect, f"the {world.kind} get no connection")
        with Bell() as bell, ExitStack() as undo_table:
            for world in present:
                drop = f"cannot drop the table {table}, please drop it by hand"
                undo_table.callback(_attempt, world, world.clear, drop)
                _attempt(world, world.prepare, f"cannot make the table {table}")
            _show(arguments, bell, partial(Sampler, where, table, worlds), present)


def _attempt(world: World, step: Callable[[], None], problem: str) -> None:
    """Do a step, and turn what a driver or the pool has to say into one line."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - drivers raise what they like, and it is shown
        wrong = error if isinstance(error, ConfigError) else error.__cause__
        if isinstance(wrong, ConfigError):  # asyncpg reads a URL at the first dial only
            raise wrong from None
        said = str(error) if isinstance(error, Error) else failure(error, world.pool.options).text
        raise Failed(f"{problem}: {said}") from None


def _show(
    arguments: argparse.Namespace, bell: Bell, sampler_of: Callable[..., Sampler], present: list[World]
) -> None:
    """Let them work and show it until it is time to end, then sum up."""
    began = time.monotonic()
    seconds = _seconds(arguments)
    with ExitStack() as undo:
        for index, world in enumerate(present):
            undo.callback(world.stop)
            world.start(range(index, arguments.workers, len(present)), began)
        sampler = sampler_of(began, seconds)
        screen = None if arguments.plain else _screen()
        console = screen or Console(color_system=None, force_terminal=False)
        end = began + seconds if seconds else math.inf
        if screen:
            _live(sampler, bell, end, screen)
        else:
            _plain(sampler, bell, began, end)
        ended = time.monotonic()
    console.print(plain.summary(sampler.take(ended)))


def _seconds(arguments: argparse.Namespace) -> float:
    if arguments.seconds is not None:
        return float(arguments.seconds)
    return 0.0 if sys.stdout.isatty() else WITHOUT_TERMINAL


def _screen() -> Console | None:
    """Return the terminal if the live view can be drawn there."""
    console = Console()
    drawable = sys.stdout.isatty() and not console.is_dumb_terminal and console.encoding.startswith("utf")
    return console if drawable else None


def _live(sampler: Sampler, bell: Bell, end: float, console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            now = time.monotonic()
            live.update(view.render(sampler.take(now), console.width, console.height), refresh=True)
            if now >= end or bell.wait(min(FRAME, end - now)):
                return


def _plain(sampler: Sampler, bell: Bell, began: float, end: float) -> None:
    _print(plain.headline(sampler.take(began)))
    for second in itertools.count(1):
        due = min(began + second * LINE, end)
        if bell.wait(due - time.monotonic()):
            return
        _print(plain.lines(sampler.take(time.monotonic())))
        if due >= end:
            return


def _print(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)
