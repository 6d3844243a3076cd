"""Counts connections as the server does, over and over, while a test does its worst."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any, Self

from tests.postgres.conftest import Place


class Watcher(ABC):
    """A thread with a connection of its own that looks at the server, over and over, until the block ends."""

    def __init__(self, place: Any) -> None:
        self._place = place
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        with self._place.server.admin() as admin:
            while not self._end.is_set():
                self._look(admin)

    @abstractmethod
    def _look(self, admin: Any) -> None:
        """Look once."""


class Sampler(Watcher):
    """A thread with a connection of its own that compares the server's count with the pool's limit.

    A pool that is given less room still has what is in use. So a lower limit is in force from the
    moment the pool itself counts no more than that, and a higher one before the pool is told.
    """

    def __init__(self, place: Place, pool: Any) -> None:
        self.samples = 0
        self.most = 0
        self.excesses: list[str] = []
        self._pool = pool
        self._bound: int = pool.options.max_open
        self._target = self._bound
        self._lock = threading.Lock()
        super().__init__(place)

    def resize(self, limit: int) -> None:
        """Give the pool another limit, and judge by it."""
        with self._lock:
            self._target = limit
            self._bound = max(self._bound, limit)
            self._pool.resize(max_open=limit)

    def _look(self, admin: Any) -> None:
        count = "select count(*) from pg_stat_activity where application_name = %s"
        bound = self._allowed()
        row = admin.execute(count, (self._place.name,)).fetchone()
        self.samples += 1
        self.most = max(self.most, row[0])
        bound = max(bound, self._allowed())  # it may have been raised meanwhile
        if row[0] > bound:
            self.excesses.append(f"{row[0]} connections, {bound} allowed; {self._pool!r}")

    def _allowed(self) -> int:
        with self._lock:
            stats = self._pool.stats()
            if stats.open_connections + stats.closing <= self._target:
                self._bound = self._target
            return self._bound
