"""The server goes away under a pool, and comes back."""

from __future__ import annotations

import os
import select
import signal
from contextlib import closing, suppress
from functools import partial
from time import monotonic
from typing import Any

import psycopg
import pytest

import cenote
from tests.patience import CHANCES
from tests.postgres import restarts
from tests.postgres.conftest import Log, Place
from tests.postgres.restarts import IDLE
from tests.postgres.worlds import WORLDS, World, ask, entered, fill, in_worlds
from tests.servers.home import ServerError
from tests.servers.postgres import PostgresServer

GONE = r"(?i)terminat|closed|lost|reset"
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
    stats = await restarts.under_idle_connections(world, own_place, fill, own_place.server.restart)
    assert stats.connect_errors == 0


@in_worlds(WORLDS)
async def test_after_a_restart_a_crowd_meets_no_error(world: World, own_place: Place) -> None:
    await restarts.before_a_crowd(world, own_place, fill)


@in_worlds(WORLDS)
async def test_after_all_idle_connections_were_terminated_no_query_fails(world: World, place: Place) -> None:
    await restarts.all_idle_ones_killed(world, place, fill)


@in_worlds(WORLDS)
async def test_after_a_crash_no_query_on_idle_connections_fails(world: World, own_place: Place) -> None:
    await restarts.under_idle_connections(world, own_place, fill, partial(crash, own_place.server))


@in_worlds(WORLDS)
async def test_a_caller_with_a_deadline_learns_in_time_that_the_server_is_down(
    world: World, own_place: Place
) -> None:
    log = Log()
    async with entered(own_place.pool(world, max_open=IDLE, listener=log)) as pool:
        await fill(pool, IDLE)
        await world.aside(own_place.server.stop)
        times: list[float] = []
        while not times or times[-1] >= 2.1:
            assert len(times) < CHANCES, times
            started = monotonic()
            with pytest.raises(cenote.ConnectError, match=REFUSED) as caught:
                await query_within(pool, 2.0)
            times.append(monotonic() - started)
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
                    await query_within(pool, 60.0)

        await world.crowd(*(user() for _ in range(12)))
        under_way = most = 0
        first_failure = False
        for event in sorted(log.events, key=lambda event: event.at):  # each is told by a thread of its own
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
    times: list[float] = []
    while not times or times[-1] >= 0.5:
        assert len(times) < CHANCES, times
        times.append(await down_and_back(world, own_place))


async def down_and_back(world: World, place: Place) -> float:
    """Have a server stop for a while; say how long after its return somebody was served."""
    down = Log()
    async with entered(place.pool(world, max_open=IDLE, listener=down)) as pool:
        await fill(pool, 2)
        await world.aside(place.server.stop)
        accepted: list[float] = []
        succeeded: list[float] = []

        async def user() -> None:
            while not succeeded:
                try:
                    await query_within(pool, 2.0)
                except (cenote.ConnectError, cenote.PoolTimeout):
                    continue
                succeeded.append(monotonic())

        async def operator() -> None:
            # Long enough down that the pause between two probes has grown to its most.
            await world.aside(down.wait_for, "failed", None, 6)
            await world.aside(place.server.start)
            await world.aside(accept, place)
            accepted.append(monotonic())

        await world.crowd(user(), user(), operator())
        return succeeded[0] - accepted[0]


def accept(place: Place) -> None:
    """Return when the server accepts a plain connection."""
    with closing(psycopg.connect(place.server.dsn)):
        return


@in_worlds(WORLDS)
async def test_a_use_cut_short_by_a_restart_fails_alone(world: World, own_place: Place) -> None:
    await restarts.under_a_use(world, own_place, fill, GONE)
