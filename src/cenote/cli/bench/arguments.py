"""The arguments of ``cenote bench`` and the plan they make: how long, how often, how many workers."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from cenote.cli.arguments import checked, url_of, workers
from cenote.errors import ConfigError

NAMES = ("max-open", "max-idle", "lifetime", "server-limit", "sleep")
"""The experiments, in the order in which they run."""

WORKERS = 10
FEWEST_WORKERS, MOST_WORKERS = 2, 50
SMALLEST_SCALE, LARGEST_SCALE = 0.001, 100.0
SHORT, FULL = (3, 0.5), (7, 1.0)
"""Rounds, and seconds of one case in one round."""
SUFFIXES = (".png", ".svg")
STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        names: the experiments.
        workers: threads that work at once.
        rounds: how often each case of an INSERT experiment is measured; the median counts.
        seconds: how long one case is measured in one round, before `scale`.
        scale: all times are multiplied by it, those of the sleeping statements too.
    """

    names: tuple[str, ...] = NAMES
    workers: int = WORKERS
    rounds: int = SHORT[0]
    seconds: float = SHORT[1]
    scale: float = 1.0

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Plan:
        """Make it from the arguments."""
        names = tuple(name for name in NAMES if not arguments.only or name in arguments.only)
        rounds, seconds = FULL if arguments.full else SHORT
        return cls(names, arguments.workers, rounds, seconds, arguments.scale)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cenote bench``."""
    parser.add_argument(
        "url",
        type=checked(url_of),
        metavar="URL",
        help="the database to measure, postgresql://app@db/app, mysql://app@db/app or sqlite:///app.db; a "
        "table, and where allowed an account, with a name of its own is made there and dropped at the end",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=NAMES,
        metavar="NAME",
        help=f"run this experiment and not all; may be repeated: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--full", action="store_true", help="more and longer rounds: minutes instead of one minute"
    )
    parser.add_argument(
        "--workers",
        type=checked(workers(FEWEST_WORKERS, MOST_WORKERS, WORKERS)),
        default=WORKERS,
        metavar="N",
        help=f"threads that work at once (default: {WORKERS})",
    )
    parser.add_argument(
        "--scale",
        type=checked(_scale),
        default=1.0,
        metavar="FACTOR",
        help="make everything last longer or shorter; figures of short runs mean little (default: 1)",
    )
    parser.add_argument(
        "--json",
        type=checked(_json),
        metavar="FILE",
        help="write all figures to a file; - is standard output, and the tables then go to standard error",
    )
    parser.add_argument(
        "--plot",
        type=checked(_plot),
        metavar="FILE",
        help="draw a picture, .png or .svg; needs the extra cenote[bench]",
    )


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        want = f"a number from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}"
        raise ConfigError(f"must be {want}, got {text[:64]!r}; write for example --scale 2")
    return scale


def _json(text: str) -> Path:
    return STANDARD_OUTPUT if text == "-" else _file(text)


def _plot(text: str) -> Path:
    path = _file(text)
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"must end with {' or '.join(SUFFIXES)}, got {text!r}; write for example bench.svg")
    return path


def _file(text: str) -> Path:
    path = Path(text)
    if not text or path.is_dir() or not path.parent.is_dir():
        problem = f"must be a file in a folder that exists, got {text!r}"
        raise ConfigError(f"{problem}; write for example bench.json")
    return path
