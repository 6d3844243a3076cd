"""64 threads on 8 connections, each held for 1 ms: throughput, fairness and the tail of the waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from benches import ours, peers
from benches.fakes import FakeConnector, FakeDbapiConnection
from benches.load import quantile, run_threads
from benches.measure import Compare, Figures, Metric
from benches.settings import Case, Settings, Sides

THREADS = 64
SIZE = 8
HOLD = 0.001
IDEAL_WAIT_MS = THREADS / SIZE * HOLD * 1e3
SLICE = 3.0

RATE, UNFAIR, TAIL = "turns", "busiest / least served thread", "p99.9 wait"


@dataclass(slots=True)
class Crowd:
    """One side's round: all threads enter, hold and leave until time is up."""

    enter: Callable[[], AbstractContextManager[Any]]
    seconds: float
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> Figures:
        """Run one round."""
        self.waits = []
        load = run_threads([self._turn] * THREADS, self.seconds)
        return {RATE: load.per_second, UNFAIR: load.unfairness, TAIL: quantile(self.waits, 0.999) * 1e3}

    def _turn(self) -> None:
        asked = perf_counter()
        with self.enter():
            self.waits.append(perf_counter() - asked)
            time.sleep(HOLD)


def prepare(settings: Settings, stack: ExitStack) -> Sides:
    """One pool of fake connections per side, all of them open."""
    pool = ours.threads_pool(stack, FakeConnector(), SIZE)
    queue_pool = peers.sqlalchemy_fake(stack, FakeDbapiConnection, SIZE)
    semaphore = threading.Semaphore(SIZE)
    forms: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "cenote": pool.connection,
        "threading.Semaphore": lambda: semaphore,
        "SQLAlchemy QueuePool": lambda: closing(queue_pool.connect()),
    }
    return {name: Crowd(enter, settings.slice(SLICE)) for name, enter in forms.items()}


CASE = Case(
    key="threads-crowd",
    title="64 threads on 8 connections held 1 ms",
    metrics=[
        Metric(
            RATE,
            "/s",
            [
                Compare("cenote", "threading.Semaphore", at_least=0.95),
                Compare("cenote", "SQLAlchemy QueuePool"),
            ],
        ),
        Metric(
            UNFAIR,
            "times",
            [
                Compare("cenote", None, at_most=1.1),
                Compare("cenote", "threading.Semaphore"),
                Compare("cenote", "SQLAlchemy QueuePool"),
            ],
        ),
        Metric(
            TAIL,
            "ms",
            [
                Compare("cenote", None, at_most=2 * IDEAL_WAIT_MS),
                Compare("cenote", "threading.Semaphore"),
                Compare("cenote", "SQLAlchemy QueuePool"),
            ],
        ),
    ],
    rounds=5,
    prepare=prepare,
)
