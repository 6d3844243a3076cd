"""Prepared statements where clients share server connections: what breaks, and what keeps it from breaking.

PgBouncer before 1.21 knows nothing of prepared statements. They belong to a server connection, and in
transaction mode the next transaction may run on another.
"""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg
import pytest

from tests.servers.fixtures_pgbouncer import MakePgBouncer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer


def test_a_prepared_statement_meets_that_of_another_client(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=1)
    with (
        psycopg.connect(bouncer.dsn, autocommit=True) as one,
        psycopg.connect(bouncer.dsn, autocommit=True) as two,
    ):
        one.execute("select 'one'", prepare=True)
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            two.execute("select 'two'", prepare=True)


def test_a_prepared_statement_answers_with_that_of_another_client(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=2)
    with (
        psycopg.connect(bouncer.dsn, autocommit=True) as one,
        psycopg.connect(bouncer.dsn, autocommit=True) as two,
        psycopg.connect(bouncer.dsn, autocommit=True) as holder,
    ):
        one.execute("select 'one'", prepare=True)
        holder.execute("begin")  # on the only server connection there is, so the next client gets another
        two.execute("select 'two'", prepare=True)
        assert one.execute("select 'one'", prepare=True).fetchone() == ("two",)


def test_in_session_mode_prepared_statements_keep_apart(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="session")
    with psycopg.connect(bouncer.dsn) as one, psycopg.connect(bouncer.dsn) as two:
        for _ in range(2):
            assert one.execute("select 'one'", prepare=True).fetchone() == ("one",)
            assert two.execute("select 'two'", prepare=True).fetchone() == ("two",)


def test_psycopg_without_a_threshold_prepares_nothing(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=1)
    with (
        psycopg.connect(bouncer.dsn, autocommit=True, prepare_threshold=None) as one,
        psycopg.connect(bouncer.dsn, autocommit=True, prepare_threshold=None) as two,
    ):
        for number in range(20):
            assert one.execute("select %s::int", (number,)).fetchone() == (number,)
            assert two.execute("select %s::text", (str(number),)).fetchone() == (str(number),)
        assert one.execute("select count(*) from pg_prepared_statements").fetchone() == (0,)


async def open_two(bouncer: PgBouncer, *, cache: int = 100) -> list[asyncpg.Connection[asyncpg.Record]]:
    return [await asyncpg.connect(bouncer.dsn, statement_cache_size=cache) for _ in range(2)]


async def test_asyncpgs_statement_cache_does_not_survive_a_change_of_server_connection(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=2)
    one, holder = await open_two(bouncer)
    assert await one.fetchval("select $1::int", 1) == 1
    await holder.execute("begin")
    with pytest.raises(asyncpg.InvalidSQLStatementNameError):
        await one.fetchval("select $1::int", 2)
    await one.close()
    await holder.close()


async def test_between_the_two_round_trips_of_a_parameter_nobody_else_gets_the_server_connection(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    # asyncpg asks for the types with a Flush, not a Sync: the server is not ready for another query before
    # the statement has run, and PgBouncer does not give it to another client before it is.
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=1)
    one, two = await open_two(bouncer, cache=0)
    statement = await one.prepare("select $1::int + 1")  # the first of the two
    other = asyncio.create_task(two.fetchval("select $1::text || '!'", "other"))
    await asyncio.to_thread(bouncer.wait_for, cl_active=1, cl_waiting=1, sv_active=1)
    assert await statement.fetchval(41) == 42
    assert await other == "other!"
    await one.close()
    await two.close()


async def test_a_parse_that_is_never_executed_keeps_the_server_connection(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=1)
    one, two = await open_two(bouncer, cache=0)
    await one.prepare("select $1::int")
    assert not one.is_in_transaction()
    other = asyncio.create_task(two.fetchval("select 1"))
    await asyncio.to_thread(bouncer.wait_for, cl_waiting=1, sv_active=1)
    await one.close()
    assert await other == 1
    await two.close()


async def test_an_asyncpg_statement_made_by_prepare_is_parsed_anew_for_each_use(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=1)
    one, two = await open_two(bouncer, cache=0)
    statement = await one.prepare("select $1::int + 1")
    for number in range(5):
        assert await statement.fetchval(number) == number + 1
        assert await two.fetchval("select $1::int * 10", number) == number * 10
    await one.close()
    await two.close()


async def test_many_asyncpg_clients_with_parameters_share_one_server_connection(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=1)

    async def user(name: int) -> None:
        connection = await asyncpg.connect(bouncer.dsn, statement_cache_size=0)
        for number in range(20):
            # Of another type each time: a statement of somebody else would not even take the argument.
            kind, value = [("int", number), ("text", f"{name}-{number}"), ("bool", True)][number % 3]
            assert await connection.fetchval(f"select $1::{kind}, {name}", value) == value
        await connection.close()

    await asyncio.gather(*(user(name) for name in range(10)))


async def test_an_asyncpg_transaction_stays_on_one_server_connection(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=2)
    one, two = await open_two(bouncer, cache=0)
    pids = []
    for connection in (one, two):
        await connection.execute("begin")
        pids.append(await connection.fetchval("select pg_backend_pid()"))
    assert pids[0] != pids[1]
    for number in range(5):
        for connection, pid in zip((one, two), pids, strict=True):
            row = await connection.fetchrow("select $1::int, pg_backend_pid()", number)
            assert row is not None
            assert tuple(row) == (number, pid)
    await one.close()
    await two.close()
