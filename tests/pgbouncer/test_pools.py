"""The pools behind PgBouncer: more connections than it has, restarts of it and of the server behind it."""

from __future__ import annotations

from functools import partial

import pytest

from tests.pgbouncer.conftest import pool_url
from tests.postgres.worlds import WORLDS, World, ask, entered, fill, in_worlds, query
from tests.servers.fixtures_pgbouncer import MakePgBouncer
from tests.servers.postgres import PostgresServer

IDLE = 8
QUERIES = 100


@in_worlds(WORLDS)
async def test_more_connections_than_the_server_gives_all_answer_right(
    world: World, breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode="transaction", default_pool_size=3)
    async with entered(world.pool(pool_url(bouncer, world), max_open=12)) as pool:
        await fill(pool, 12)
        await world.crowd(*(query(pool, 10) for _ in range(30)))
        assert pool.stats().open_connections == 12
        assert breakable.count_backends() <= 3


@in_worlds(WORLDS)
async def test_transactions_of_more_connections_than_the_server_gives_keep_apart(
    world: World, breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode="transaction", default_pool_size=2)
    async with entered(world.pool(pool_url(bouncer, world), max_open=8)) as pool:

        async def user(number: int) -> None:
            async with entered(pool.transaction()) as connection:
                mark = f"select set_config('cenote.user', '{number}', true)"
                assert await ask(connection, mark) == [(str(number),)]
                for _ in range(5):
                    assert await ask(connection, "select current_setting('cenote.user')") == [(str(number),)]

        await world.crowd(*(user(number) for number in range(24)))
        assert breakable.count_backends() <= 2


@in_worlds(WORLDS)
async def test_after_a_restart_of_pgbouncer_under_idle_connections_no_query_fails(
    world: World, postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction")
    async with entered(world.pool(pool_url(bouncer, world), max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(bouncer.restart)
        await query(pool, QUERIES)
        assert pool.stats().connect_errors == 0
        assert pool.stats().dead_on_acquire >= 1


@in_worlds(WORLDS)
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_after_a_restart_of_the_server_behind_pgbouncer_no_query_fails(
    world: World, mode: str, breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode=mode)
    async with entered(world.pool(pool_url(bouncer, world), max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(breakable.restart)
        await query(pool, QUERIES)
        assert pool.stats().connect_errors == 0


@in_worlds(WORLDS)
async def test_a_statement_waits_in_pgbouncer_until_the_server_behind_it_is_back(
    world: World, breakable: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(breakable, pool_mode="transaction")
    async with entered(world.pool(pool_url(bouncer, world), max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(breakable.stop)

        async def operator() -> None:
            await world.aside(partial(bouncer.wait_for, cl_waiting=1))
            await world.aside(breakable.start)

        await world.crowd(query(pool), operator())
        assert pool.stats().connect_errors == 0
