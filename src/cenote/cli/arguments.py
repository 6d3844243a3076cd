"""The arguments of ``cenote demo`` and what they mean: from flags to the `Options` of its pools."""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable
from typing import Any

from cenote._option_table import SPECS
from cenote.durations import LONGEST
from cenote.errors import ConfigError
from cenote.options import Options, split_url

WORKERS = 16
FEWEST_WORKERS, MOST_WORKERS = 2, 2000

POOL: dict[str, object] = {
    "max_open": 4,
    "max_idle": None,
    "min_idle": 0,
    "max_lifetime": "15s",
    "max_idle_time": "2s",
    "keepalive": None,
    "timeout": "5s",
    "connect_timeout": "5s",
}
"""The pool options that have a flag, and what they are here: tight, so that there is something to see."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cenote demo``."""
    parser.add_argument(
        "--url",
        type=checked(url_of),
        metavar="URL",
        help="the database to work on, postgresql://app@db/app or sqlite:///app.db; the demo makes a table "
        "of its own and drops it at the end (default: a temporary SQLite file)",
    )
    parser.add_argument(
        "--seconds",
        type=checked(_seconds),
        metavar="N",
        help="how long; 0 is until Ctrl-C (default: 0 on a terminal, otherwise 10)",
    )
    parser.add_argument(
        "--workers",
        type=checked(workers(FEWEST_WORKERS, MOST_WORKERS, WORKERS)),
        default=WORKERS,
        metavar="N",
        help=f"how many work: half of them threads, half of them tasks (default: {WORKERS})",
    )
    parser.add_argument(
        "--plain", action="store_true", help="a line a second instead of the live view, as without a terminal"
    )
    group = parser.add_argument_group(
        "options of each of the two pools",
        "All others may stand in the URL's query. A DURATION has a unit, like 2s.",
    )
    for name, default in POOL.items():
        spec = SPECS[name]
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=checked(functools.partial(spec.read_text, label=name)),
            default=argparse.SUPPRESS,  # so that a default does not win over the URL's query
            metavar=spec.kind.metavar,
            help=f"{spec.about} (default: {spec.none if default is None else default})",
        )


def pool_options(arguments: argparse.Namespace, url: str) -> Options:
    """Make a pool's options: a flag wins over the URL's query, and that over the defaults of the demo.

    Raises:
        ConfigError: options contradict each other.
    """
    in_url, _ = split_url(url)
    chosen: dict[str, Any] = {name: default for name, default in POOL.items() if name not in in_url}
    chosen.update((name, value) for name, value in vars(arguments).items() if name in POOL)
    return Options.from_url(url, **chosen)


def checked(read: Callable[[str], object]) -> Callable[[str], object]:
    """Let argparse show the message of our own error."""

    def checked(text: str) -> object:
        try:
            return read(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def url_of(text: str) -> str:
    """Read a URL; the options in it are looked at, nothing is opened."""
    Options.from_url(text)
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST:
        raise ConfigError(
            f"must be a number of seconds from 0 up, got {text!r}; write for example --seconds 10"
        )
    return seconds


def workers(fewest: int, most: int, example: int) -> Callable[[str], int]:
    """Make a reader of ``--workers`` with these limits."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and fewest <= int(text[:9]) <= most):
            want = f"a whole number from {fewest} to {most}"
            raise ConfigError(f"must be {want}, got {text[:64]!r}; write for example --workers {example}")
        return int(text)

    return read
