"""An asyncpg connection goes back only when the server, too, thinks that all was said.

asyncpg prepares a statement without the Sync that ends the conversation; that comes with its execution. A
task may be cancelled in between, or a user only prepare: the server then waits in a transaction of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from cenote import AsyncPool
from cenote.drivers.asyncpg import AsyncpgConnector
from tests.postgres.conftest import Place
from tests.postgres.worlds import ASYNCPG, World, entered, in_worlds, pid_of


def transactions_of(place: Place, pid: int) -> int:
    with place.server.admin() as admin:
        query = "select count(*) from pg_stat_activity where pid = %s and xact_start is not null"
        ((number,),) = admin.execute(query, (pid,)).fetchall()
    return int(number)


@in_worlds(ASYNCPG)
@pytest.mark.parametrize("end", [None, asyncio.CancelledError, TimeoutError])
async def test_a_statement_that_was_only_prepared_leaves_no_transaction_on_the_server(
    world: World, place: Place, end: type[BaseException] | None
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        try:
            async with entered(pool.connection()) as connection:
                pid = await pid_of(connection)
                await connection.prepare("select 1")
                assert transactions_of(place, pid) == 1
                if end is not None:
                    raise end
        except (asyncio.CancelledError, TimeoutError):
            pass
        assert transactions_of(place, pid) == 0
        async with entered(pool.connection()) as connection:
            assert await pid_of(connection) == pid


@in_worlds(ASYNCPG)
async def test_a_statement_that_was_prepared_and_executed_costs_no_round_trip_more(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool, entered(pool.connection()) as connection:
        for _ in range(2):
            statement = await connection.prepare("select 1")
            assert not AsyncpgConnector.is_clean(connection)
            assert await statement.fetchval() == 1
            assert AsyncpgConnector.is_clean(connection)


@in_worlds(ASYNCPG)
async def test_a_statement_that_the_server_refused_to_prepare_costs_no_round_trip_more(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool, entered(pool.connection()) as connection:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.prepare("this is no statement")
        assert AsyncpgConnector.is_clean(connection)


@in_worlds(ASYNCPG)
async def test_a_connection_that_a_subclass_has_opened_is_looked_at_all_the_same(
    world: World, place: Place
) -> None:
    class Own(AsyncpgConnector):
        async def connect(self, timeout: float) -> Any:
            return await asyncpg.connect(self._dsn, timeout=timeout)

    async with AsyncPool(Own(place.server.url("postgresql")), max_open=1) as pool:
        async with pool.connection() as connection:
            assert AsyncpgConnector.is_clean(connection)
            outliving = asyncio.create_task(connection.execute("select pg_sleep(600)"))
            await asyncio.sleep(0)  # its first step sends the statement
            assert not AsyncpgConnector.is_clean(connection)
        assert pool.stats().discarded == 1
        with pytest.raises(asyncpg.PostgresError):
            await outliving
