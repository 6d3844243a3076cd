"""Fixtures for the connectors: a place to connect to, and a connector that closes what it opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.cases import TIMEOUT, Case, MariaDBPlace, Place, done
from tests.servers.mariadb import MariaDBServer
from tests.servers.postgres import PostgresServer

_numbers = count(1)


@pytest.fixture
def place(postgres: PostgresServer, tmp_path: Path) -> Place:
    """A server and a folder; the application name is this test's own."""
    return Place(postgres, tmp_path, f"drivers-{next(_numbers)}")


@pytest.fixture
def maria_place(mariadb: MariaDBServer, tmp_path: Path) -> MariaDBPlace:
    """A server, a folder, and a user that is this test's own."""
    name = f"drivers_{next(_numbers)}"
    mariadb.add_user(name)
    return MariaDBPlace(mariadb, tmp_path, name)


class Driven:
    """A connector at work, and what it has opened."""

    def __init__(self, case: Case, place: Place | MariaDBPlace) -> None:
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
        assert self.place.kill() > 0


@pytest.fixture
async def driven(request: pytest.FixtureRequest) -> AsyncIterator[Driven]:
    """The connector of a case given by ``@every(...)``."""
    case: Case = request.param
    made = Driven(case, request.getfixturevalue("maria_place" if case.speaks_mysql else "place"))
    yield made
    await made.close()
