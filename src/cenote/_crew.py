"""Daemon threads that dial, close and ping for the threaded pools of this process.

A dial must go on when its caller leaves, and a caller must be free to take a returned connection
while a dial is under way; so neither dials in its own thread. Threads are started on demand, one
for each job that finds none idle, and end after a while without work. The pools bound their
number: dials by ``max_connecting``, goodbyes by ``max_open``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

Job = Callable[[], object]

IDLE_SECONDS = 5.0


class Crew:
    """A bag of worker threads without a size of its own."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._idle = 0

    def submit(self, job: Job) -> None:
        """Run `job` soon, in parallel to all others. It must not raise."""
        with self._lock:
            spawn = not self._idle
            if not spawn:
                self._idle -= 1
        if not spawn:
            self._jobs.put(job)
            return
        try:
            threading.Thread(target=self._work, name="cenote-worker", daemon=True).start()
        except RuntimeError:  # the interpreter is ending, or the system has no thread left
            job()
        else:
            self._jobs.put(job)  # as an argument the thread would keep it, and its pool, for life

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job  # it refers to a pool, which must be free to go
            with self._lock:
                self._idle += 1

    def _next(self) -> Job | None:
        """Wait for a job; None if none has come for a while, and nobody counts on this thread."""
        while True:
            try:
                return self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    # Otherwise somebody counts on this thread already, and its job is on the way.
                    if self._idle:
                        self._idle -= 1
                        return None


_crew = Crew()


def submit(job: Job) -> None:
    """Run `job` on the crew of this process."""
    _crew.submit(job)


def _renew() -> None:
    global _crew  # noqa: PLW0603 - threads do not survive a fork, nor may their locks
    _crew = Crew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
