"""A PgBouncer for each test, and how the drivers have to be told of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.postgres.worlds import World
from tests.servers.fixtures_pgbouncer import make_pgbouncer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer, Template

__all__ = ["NO_PREPARED", "make_pgbouncer", "pool_url", "threads"]

# By the scheme of the URL: what keeps a driver from preparing statements on the server by itself.
NO_PREPARED = {
    "postgresql": "prepare_threshold=none",
    "postgresql+psycopg2": "application_name=app",  # it never does
    "postgresql+asyncpg": "statement_cache_size=0",
}


def pool_url(bouncer: PgBouncer, world: World) -> str:
    """Return the address for a pool that is to work in every mode. The first dial takes two logins."""
    return f"{bouncer.url(world.scheme)}?{NO_PREPARED[world.scheme]}&connect_timeout=60s"


@pytest.fixture(scope="package")
def _server(postgres_template: Template) -> Iterator[PostgresServer]:
    with PostgresServer(template=postgres_template) as server:
        yield server


@pytest.fixture
def breakable(_server: PostgresServer) -> PostgresServer:
    """A server that this test may stop and restart; it runs, and has no other clients."""
    _server.start()
    _server.wait_for_backends(0)
    return _server


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for statements that wait."""
    with ThreadPoolExecutor() as executor:
        yield executor
