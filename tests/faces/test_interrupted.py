"""A signal's handler that raises at the pool's lock: nobody keeps it."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any

import pytest

from cenote import Pool
from cenote._core import Core
from cenote.testing import ScriptedConnector


class Interrupted(BaseException):
    """What the handler raises, as `KeyboardInterrupt` is."""


class Struck:
    """A lock at which a signal arrives: while it is waited for, or when it was just had."""

    def __init__(self, lock: RLock, *, had: bool) -> None:
        self._lock = lock
        self._had = had

    def acquire(self) -> None:
        if self._had:
            self._lock.acquire()
        raise Interrupted

    def release(self) -> None:
        self._lock.release()


def strike(core: Core, call: Callable[[], object], *, had: bool) -> None:
    """Make a call that is struck where it takes the lock, and see that nobody keeps that."""
    lock = core.lock
    struck: Any = Struck(lock, had=had)
    core.lock = struck
    with pytest.raises(Interrupted):
        call()
    core.lock = lock
    assert not core.owned()


@pytest.mark.parametrize("had", [True, False], ids=["had", "waited for"])
def test_an_acquire_that_is_interrupted_at_the_lock_does_not_keep_it(*, had: bool) -> None:
    with Pool(ScriptedConnector(), max_open=1) as pool:
        strike(pool._core, pool.acquire, had=had)
        with pool.connection():
            assert pool.stats().in_use == 1


@pytest.mark.parametrize("had", [True, False], ids=["had", "waited for"])
def test_a_release_that_is_interrupted_at_the_lock_does_not_keep_it(*, had: bool) -> None:
    with Pool(ScriptedConnector(), max_open=2, max_idle=0) as pool:
        lease = pool.acquire()  # there is no calm while more are open than may be idle
        strike(pool._core, lease.release, had=had)
        with pool.connection():
            assert pool.stats().in_use == 2, "its place is lost until the pool is closed"
        pool.close(timeout=0)
