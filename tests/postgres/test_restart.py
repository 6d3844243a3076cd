"""The server goes away under a pool, and comes back."""

from __future__ import annotations

import os
import select
import signal
from contextlib import closing, suppress
from time import monotonic
from typing import Any

import psycopg
import pytest

import cenote
from tests.postgres.conftest import Log, Place
from tests.postgres.worlds import WORLDS, World, ask, entered, fill, in_worlds, query
from tests.servers.home import ServerError
from tests.servers.postgres import PostgresServer

IDLE = 8
QUERIES = 100
REFUSED = r"(?i)refused|connect call failed|could not connect"


def crash(server: PostgresServer) -> None:
    """Kill the postmaster, from which no backend hears a goodbye, and start another."""
    postmaster = int((server.socket_dir / "data" / "postmaster.pid").read_text().split()[0])
    end = os.pidfd_open(postmaster)
    os.kill(postmaster, signal.SIGKILL)
    select.select([end], [], [])
    os.close(end)
    for _ in range(1000):
        # Its backends notice one by one, and the shared memory is theirs until the last has gone.
        if not server.running:
            with suppress(ServerError):
                server.start()
                return
    raise AssertionError("the old server's processes do not end")


@in_worlds(WORLDS)
async def test_after_a_restart_under_idle_connections_no_query_fails(world: World, own_place: Place) -> None:
    async with entered(own_place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(own_place.server.restart)
        await query(pool, QUERIES)
        assert pool.stats().connect_errors == 0


@in_worlds(WORLDS)
async def test_after_a_restart_a_crowd_meets_no_error(world: World, own_place: Place) -> None:
    async with entered(own_place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(own_place.server.restart)
        await world.crowd(*(query(pool, 5) for _ in range(20)))
        assert pool.stats().open_connections <= IDLE


@in_worlds(WORLDS)
async def test_after_all_idle_connections_were_terminated_no_query_fails(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=IDLE)) as pool:
        pids = await fill(pool, IDLE)
        assert await world.aside(place.kill) == IDLE
        await query(pool, QUERIES)
        assert pool.stats().dead_on_acquire >= 1
        assert not set(pids) & set(await fill(pool, IDLE))


@in_worlds(WORLDS)
async def test_after_a_crash_no_query_on_idle_connections_fails(world: World, own_place: Place) -> None:
    async with entered(own_place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(crash, own_place.server)
        await query(pool, QUERIES)


@in_worlds(WORLDS)
async def test_a_caller_with_a_deadline_learns_in_time_that_the_server_is_down(
    world: World, own_place: Place
) -> None:
    log = Log()
    async with entered(own_place.pool(world, max_open=IDLE, listener=log)) as pool:
        await fill(pool, IDLE)
        await world.aside(own_place.server.stop)
        started = monotonic()
        with pytest.raises(cenote.ConnectError, match=REFUSED) as caught:
            await query_within(pool, 2.0)
        assert monotonic() - started < 2.1
        assert caught.value.__cause__ is not None
        assert not isinstance(caught.value.__cause__, cenote.Error)
        assert pool.stats().waiting == 0


async def query_within(pool: Any, timeout: float) -> None:
    async with entered(pool.connection(timeout)) as connection:
        await ask(connection, "select 1")


@in_worlds(WORLDS)
async def test_while_the_server_is_down_only_one_dial_probes_it(world: World, own_place: Place) -> None:
    log = Log()
    async with entered(own_place.pool(world, max_open=IDLE, listener=log)) as pool:
        await world.aside(own_place.server.stop)

        async def user() -> None:
            for _ in range(2):
                with pytest.raises(cenote.ConnectError):
                    await query_within(pool, 5.0)

        await world.crowd(*(user() for _ in range(12)))
        under_way = most = 0
        first_failure = False
        for event in log.events:
            under_way += (event.kind == "connecting") - (event.kind == "failed")
            first_failure = first_failure or event.kind == "failed"
            # Before the first failure nobody knows, and up to max_connecting dials are under way.
            if first_failure and event.kind == "connecting":
                most = max(most, under_way)
        assert most == 1
        assert under_way == 0


@in_worlds(WORLDS)
async def test_a_caller_who_tries_again_is_served_soon_after_the_server_is_back(
    world: World, own_place: Place
) -> None:
    down = Log()
    async with entered(own_place.pool(world, max_open=IDLE, listener=down)) as pool:
        await fill(pool, 2)
        await world.aside(own_place.server.stop)
        accepted: list[float] = []
        succeeded: list[float] = []

        async def user() -> None:
            while not succeeded:
                try:
                    await query_within(pool, 2.0)
                except cenote.ConnectError:
                    continue
                succeeded.append(monotonic())

        async def operator() -> None:
            # Long enough down that the pause between two probes has grown to its most.
            await world.aside(down.wait_for, "failed", None, 6)
            await world.aside(own_place.server.start)
            await world.aside(accept, own_place)
            accepted.append(monotonic())

        await world.crowd(user(), user(), operator())
        assert succeeded[0] - accepted[0] < 0.5


def accept(place: Place) -> None:
    """Return when the server accepts a plain connection."""
    with closing(psycopg.connect(place.server.dsn)):
        return


@in_worlds(WORLDS)
async def test_a_use_cut_short_by_a_restart_fails_alone(world: World, own_place: Place) -> None:
    async with entered(own_place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)

        async def cut_short() -> None:
            async with entered(pool.connection()) as connection:
                await world.aside(own_place.server.restart)
                await ask(connection, "select 1")

        with pytest.raises(Exception, match=r"(?i)terminat|closed|lost|reset"):
            await cut_short()
        await query(pool, QUERIES)
        assert pool.stats().discarded == 1
