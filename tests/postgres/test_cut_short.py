"""Uses cut short: cancelled tasks, statements that nobody waits for, errors in blocks and at COMMIT."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest

from tests.patience import SAFETY
from tests.postgres.conftest import Place
from tests.postgres.worlds import (
    TASK_WORLDS,
    THREAD_WORLDS,
    WORLDS,
    World,
    ask,
    done,
    drive,
    entered,
    in_worlds,
    pid_of,
    query,
)

FOREVER = "select pg_sleep(3600)"
ACTIVE = "state = 'active'"
LEFT_OPEN = "starts_with(state, 'idle in transaction')"


async def use(pool: Any, *statements: str) -> None:
    async with entered(pool.connection()) as connection:
        for statement in statements:
            await ask(connection, statement)


async def transact(pool: Any, *statements: str) -> None:
    async with entered(pool.transaction()) as connection:
        for statement in statements:
            await ask(connection, statement)


# ── cancelled tasks ─────────────────────────────────────────────────────────────────────────────


@in_worlds(TASK_WORLDS)
async def test_after_a_statement_was_cancelled_the_next_user_sees_only_own_rows(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        for number in range(5):
            task = asyncio.create_task(use(pool, "select 'not yours' from pg_sleep(3600)"))
            await world.aside(place.wait_until, ACTIVE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with entered(pool.connection()) as connection:
                assert await ask(connection, f"select {number}") == [(number,)]
                assert place.backends() == 1
        assert pool.stats().in_use == 0


@in_worlds(TASK_WORLDS)
async def test_a_transaction_whose_task_was_cancelled_does_not_stay_open_on_the_server(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=2)) as pool:
        await use(pool, "create table if not exists cancelled (number int)")

        async def insert() -> None:
            async with entered(pool.transaction()) as connection:
                await ask(connection, "insert into cancelled values (1)")
                await ask(connection, FOREVER)

        task = asyncio.create_task(insert())
        await world.aside(place.wait_until, ACTIVE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select count(*) from cancelled") == [(0,)]
            await ask(connection, "drop table cancelled")
        assert place.backends(LEFT_OPEN) == 0


@in_worlds(TASK_WORLDS)
async def test_cancelling_at_every_turn_of_the_loop_hands_on_no_dirty_connection(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        for turns in range(60):
            task = asyncio.create_task(use(pool, "select 'first'", "select 'second'"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            async with entered(pool.connection()) as connection:
                assert await ask(connection, f"select {turns}") == [(turns,)]
        assert place.backends() == 1
        assert (pool.stats().in_use, pool.stats().waiting) == (0, 0)


# ── statements that outlive their lease ─────────────────────────────────────────────────────────


@in_worlds(TASK_WORLDS)
async def test_a_statement_that_outlives_its_lease_is_cancelled_on_the_server(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            outliving = asyncio.create_task(ask(connection, FOREVER))
            await world.aside(place.wait_until, ACTIVE)
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select 1") == [(1,)]
            assert place.backends() == 1
        with pytest.raises(Exception, match=r"(?i)cancel|closed|lost|terminat|consuming input failed"):
            await outliving
        assert pool.stats().discarded == 1


@in_worlds(THREAD_WORLDS)
async def test_a_statement_of_another_thread_that_outlives_its_lease_is_cancelled_on_the_server(
    world: World, place: Place
) -> None:
    errors: list[Exception] = []

    def outlive(connection: Any) -> None:
        try:
            drive(ask(connection, FOREVER))
        except Exception as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    async with entered(place.pool(world, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            thread = threading.Thread(target=outlive, args=(connection,), daemon=True)
            thread.start()
            place.wait_until(ACTIVE)
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select 1") == [(1,)]
            assert place.backends() == 1
        thread.join(SAFETY)
        assert not thread.is_alive()
        assert len(errors) == 1
        assert pool.stats().discarded == 1


# ── transactions ────────────────────────────────────────────────────────────────────────────────


@in_worlds(WORLDS)
async def test_a_transaction_left_open_is_rolled_back_and_the_warning_names_the_site(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            pid = await pid_of(connection)
        with pytest.warns(RuntimeWarning, match=r"rolled back .*test_cut_short\.py:\d+ in use"):
            await use(pool, "begin", "create table left_open ()")
        assert place.backends(LEFT_OPEN) == 0
        async with entered(pool.connection()) as connection:
            assert await pid_of(connection) == pid
            assert await ask(connection, "select to_regclass('left_open') is null") == [(True,)]


@in_worlds(WORLDS)
async def test_an_error_in_a_block_with_a_transaction_open_rolls_it_back(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        with (
            pytest.warns(RuntimeWarning, match="rolled back"),
            pytest.raises(Exception, match="division by zero"),
        ):
            await use(pool, "begin", "select 1/0")
        assert place.backends(LEFT_OPEN) == 0
        await query(pool)
        assert pool.stats().connect_count == 1


@in_worlds(WORLDS)
async def test_an_error_in_a_block_without_transaction_keeps_the_connection(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        with pytest.raises(Exception, match="division by zero"):
            await use(pool, "select 1/0")
        with pytest.raises(Exception, match="does not exist"):
            await use(pool, "select 1", "select nothing", "select 2")
        await query(pool)
        assert (pool.stats().connect_count, pool.stats().discarded) == (1, 0)


@in_worlds(WORLDS)
async def test_a_transaction_block_commits_or_rolls_back(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=2)) as pool:
        await use(pool, "create table if not exists kept (number int)", "truncate kept")
        await transact(pool, "insert into kept values (1)")
        with pytest.raises(Exception, match="division by zero"):
            await transact(pool, "insert into kept values (2)", "select 1/0")
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select number from kept") == [(1,)]
            await ask(connection, "drop table kept")
        assert place.backends(LEFT_OPEN) == 0
        assert (pool.stats().connect_count, pool.stats().discarded) == (1, 0)


@in_worlds(WORLDS)
async def test_an_error_at_commit_reaches_the_caller_and_leaves_a_clean_connection(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        await use(
            pool,
            "create table if not exists parents (id int primary key)",
            "create table if not exists children"
            " (parent int references parents deferrable initially deferred)",
        )
        with pytest.raises(Exception, match="violates foreign key constraint"):
            await transact(pool, "insert into children values (1)")
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "select count(*) from children") == [(0,)]
            await ask(connection, "drop table children, parents")
        assert place.backends(LEFT_OPEN) == 0
        assert (pool.stats().connect_count, pool.stats().discarded) == (1, 0)


@in_worlds(WORLDS)
async def test_a_server_that_ends_the_connection_in_a_transaction_costs_only_that_use(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        with pytest.raises(Exception, match=r"(?i)terminat|closed|lost|shutdown"):
            await transact(pool, "select pg_terminate_backend(pg_backend_pid())")
        await query(pool)
        assert pool.stats().discarded == 1


@in_worlds(WORLDS)
async def test_a_lease_discarded_in_a_transaction_leaves_nothing_on_the_server(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        lease = await done(pool.acquire())
        await ask(lease.connection, "begin")
        await ask(lease.connection, "select 1")
        lease.discard()
        await query(pool)
        assert (place.backends(), place.backends(LEFT_OPEN)) == (1, 0)


def test_every_state_that_counts_as_left_open_is_one_of_the_servers(place: Place) -> None:
    with psycopg.connect(place.server.dsn, application_name=place.name) as connection:
        connection.execute("select 1")
        assert place.backends(LEFT_OPEN) == 1
