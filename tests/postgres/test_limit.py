"""A server that accepts fewer connections than there are callers, or than the pool would open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

import cenote
from tests.patience import growing
from tests.postgres.conftest import Log, Place
from tests.postgres.worlds import WORLDS, World, ask, entered, in_worlds, query
from tests.servers.postgres import PostgresServer, Template

LIMIT = 5
CALLERS = 50
STATEMENTS = 20
TOO_MANY = r"(slots are reserved|[Tt]oo many)"


@pytest.fixture(scope="module")
def limited(postgres_template: Template) -> Iterator[PostgresServer]:
    """A server that accepts five connections."""
    with PostgresServer(template=postgres_template) as server:
        server.set_max_connections(LIMIT)
        yield server


@pytest.fixture
def narrow(limited: PostgresServer) -> Place:
    """A place on it, all five of whose connections are free."""
    limited.wait_for_backends(0)
    return Place(limited, "narrow")


@in_worlds(WORLDS)
async def test_fifty_callers_share_three_connections_without_an_error(world: World, narrow: Place) -> None:
    async with entered(narrow.pool(world, max_open=3)) as pool:
        await world.crowd(*(query(pool, STATEMENTS) for _ in range(CALLERS)))
        stats = pool.stats()
        assert stats.acquire_count == CALLERS * STATEMENTS
        assert (stats.connect_errors, stats.discarded, stats.timeout_count) == (0, 0, 0)
        assert stats.connect_count <= 3
        assert narrow.backends() == stats.open_connections


@in_worlds(WORLDS)
async def test_what_the_server_refuses_beyond_its_limit_the_pool_serves_by_returned_connections(
    world: World, narrow: Place
) -> None:
    log = Log()
    async with entered(narrow.pool(world, max_open=10, listener=log)) as pool:

        async def user() -> None:
            for number in range(STATEMENTS):
                async with entered(pool.connection()) as connection:
                    if not number:
                        # Nobody returns the first ones until the server has refused another.
                        await world.aside(log.wait_for, "failed")
                    assert await ask(connection, f"select {number}") == [(number,)]

        await world.crowd(*(user() for _ in range(CALLERS)))
        stats = pool.stats()
        assert stats.acquire_count == CALLERS * STATEMENTS
        assert stats.connect_errors > 0
        assert stats.idle <= LIMIT
        assert (stats.waiting, stats.in_use) == (0, 0)


@in_worlds(WORLDS)
async def test_who_times_out_at_a_full_server_is_told_that_it_is_full(world: World, narrow: Place) -> None:
    async with entered(narrow.pool(world, max_open=10)) as pool:
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select 1") == [(1,)]
            with ExitStack() as others:
                for _ in range(LIMIT - 1):
                    others.enter_context(psycopg.connect(narrow.server.dsn))
                for timeout in growing(0.25):
                    with pytest.raises(cenote.PoolTimeout) as caught:
                        async with entered(pool.connection(timeout)):
                            pass
                    if caught.value.phase == "wait" and caught.value.__cause__:  # else a dial was slow
                        break
        assert re.search(f"last connect error: .*{TOO_MANY}", str(caught.value))
        assert "test_limit.py" in str(caught.value)
        assert caught.value.__cause__ is not None
        await query(pool)
