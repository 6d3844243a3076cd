"""A place to pool connections to: a server, a name on it that is the test's own, and what the server sees."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import Any

import pytest

from cenote.events import Event
from tests.postgres.worlds import World
from tests.servers.postgres import PostgresServer, Template

_numbers = count(1)

HANG = 60.0  # seconds after which an event that should have come is called lost


class Log:
    """A listener that remembers, and lets a test wait for what happens."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def count(self, kind: str, reason: str | None = None) -> int:
        """Count events of a kind, and for a reason if one is given."""
        return sum(
            event.kind == kind and (reason is None or event.reason == reason) for event in tuple(self.events)
        )

    def wait_for(self, kind: str, reason: str | None = None, times: int = 1) -> None:
        """Block until it has happened so often."""
        with self._news:
            happened = self._news.wait_for(lambda: self.count(kind, reason) >= times, HANG)
        assert happened, f"{kind} {reason or ''} did not happen {times} times: {self.events}"


class Place:
    """A server, and the application name of one test on it."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name

    def url(self, world: World, **address: Any) -> str:
        """Return the server's address for one driver."""
        return f"{self.server.url(world.scheme, **address)}?application_name={self.name}"

    def pool(self, world: World, **options: Any) -> Any:
        """Make a pool of the world's kind."""
        return world.pool(self.url(world), **options)

    def backends(self, condition: str = "true") -> int:
        """Count this test's connections as the server sees them."""
        with self.server.admin() as admin:
            row = admin.execute(
                f"select count(*) from pg_stat_activity where application_name = %s and {condition}",
                (self.name,),
            ).fetchone()
        assert row is not None
        return int(row[0])

    def wait_until(self, condition: str, times: int = 1) -> None:
        """Return when the condition holds for so many of its connections; the server does the waiting."""
        with self.server.admin() as admin:
            end = monotonic() + HANG
            while monotonic() < end:
                found = admin.execute(
                    f"select from pg_stat_activity where application_name = %s and {condition}", (self.name,)
                ).fetchall()
                if len(found) >= times:
                    return
                admin.execute("select pg_sleep(0.005)")
        raise AssertionError(f"fewer than {times} connections with {condition}")

    def kill(self) -> int:
        """Have the server end all connections of this test; return how many."""
        return self.server.terminate_backends(self.name)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a server process in its tracks, as a machine out of reach would seem."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def place(postgres: PostgresServer) -> Place:
    """A place on the server that all tests share."""
    return Place(postgres, f"pools-{next(_numbers)}")


@pytest.fixture(scope="package")
def breakable(postgres_template: Template) -> Iterator[PostgresServer]:
    """One server for all tests here that stop or kill theirs: a fresh one for each would cost a second."""
    with PostgresServer(template=postgres_template) as server:
        yield server


@pytest.fixture
def own_place(breakable: PostgresServer) -> Place:
    """A place on a server that this test may restart, stop and kill; the next test finds it running."""
    breakable.start()
    return Place(breakable, f"pools-{next(_numbers)}")
