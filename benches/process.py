"""A process for each case: it finds no threads, no caches and no servers of those before it."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing

from benches import cores
from benches.cases import CASES
from benches.measure import Measured
from benches.settings import Case, Settings


def alone(case: Case, settings: Settings) -> list[Measured]:
    """Measure one case in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=cores.adopt, initargs=(cores.left_to_servers,)) as process:
        return process.submit(_measure, case.key, settings).result()


def _measure(key: str, settings: Settings) -> list[Measured]:
    (case,) = (case for case in CASES if case.key == key)
    with closing(settings.database):
        return case.measure(settings)
