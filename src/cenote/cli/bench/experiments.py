"""The list of experiments, in the order in which they run."""

from __future__ import annotations

from cenote.cli.bench.context import Experiment
from cenote.cli.bench.inserts import LIFETIME, MAX_IDLE, MAX_OPEN
from cenote.cli.bench.limits import ServerLimit
from cenote.cli.bench.sleeps import Sleeps

EXPERIMENTS: tuple[Experiment, ...] = (MAX_OPEN, MAX_IDLE, LIFETIME, ServerLimit(), Sleeps())
