"""Fixtures for the connectors: a place to connect to, and a connector that closes what it opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.cases import TIMEOUT, Case, Place, done
from tests.servers.postgres import PostgresServer

_numbers = count(1)


@pytest.fixture
def place(postgres: PostgresServer, tmp_path: Path) -> Place:
    """A server and a folder; the application name is this test's own."""
    return Place(postgres, tmp_path, f"drivers-{next(_numbers)}")


class Driven:
    """A connector at work, and what it has opened."""

    def __init__(self, case: Case, place: Place) -> None:
        self.case = case
        self.place = place
        self.connector: Any = case.make(place)
        self._opened: list[Any] = []

    async def connect(self) -> Any:
        """Open one more connection."""
        connection = await done(self.connector.connect(TIMEOUT))
        self._opened.append(connection)
        return connection

    async def close(self) -> None:
        """Close all, those already closed once more."""
        for connection in self._opened:
            await done(self.connector.close(connection))

    def kill(self) -> None:
        """Have the server cut all connections of this test."""
        assert self.place.server.terminate_backends(self.place.name) > 0


@pytest.fixture
async def driven(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Driven]:
    """The connector of a case given by ``@every(...)``."""
    made = Driven(request.param, place)
    yield made
    await made.close()
