"""A place to pool connections to: a MariaDB, a user on it that is the test's own, and what it sees."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.mysql.worlds import World
from tests.servers.mariadb import MariaDBServer, Template

_numbers = count(1)


class Place:
    """A server, and the user of one test on it."""

    def __init__(self, server: MariaDBServer) -> None:
        self.server = server
        self.user = f"pools_{next(_numbers)}"
        server.add_user(self.user)

    def url(self, world: World) -> str:
        """Return the server's address for one driver."""
        return self.server.url(world.scheme, user=self.user)

    def pool(self, world: World, **options: Any) -> Any:
        """Make a pool of the world's kind."""
        return world.pool(self.url(world), **options)

    def count(self, where: str = "true") -> int:
        """Count this test's connections as the server sees them."""
        return self.server.count_connections(self.user, where=where)

    def wait_for(self, number: int, where: str = "true") -> None:
        """Return when so many of its connections meet a condition; the server does the waiting."""
        self.server.wait_for_connections(number, self.user, where=where)

    def kill(self) -> int:
        """Have the server end all connections of this test; return how many."""
        return self.server.kill_connections(self.user)


@pytest.fixture
def place(mariadb: MariaDBServer) -> Place:
    """A place on the server that all tests share."""
    return Place(mariadb)


@pytest.fixture(scope="package")
def breakable(mariadb_template: Template) -> Iterator[MariaDBServer]:
    """One server for all tests here that stop or change theirs."""
    with MariaDBServer(template=mariadb_template) as server:
        yield server


@pytest.fixture
def own_place(breakable: MariaDBServer) -> Place:
    """A place on a server that this test may restart, stop and kill; the next test finds it running."""
    breakable.start()
    return Place(breakable)
