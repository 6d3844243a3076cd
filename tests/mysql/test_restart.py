"""The server goes away under a pool, comes back, or ends what has been idle for too long."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

import cenote
from tests.mysql.conftest import Place
from tests.mysql.worlds import WORLDS, World, entered, fill, in_worlds, query
from tests.postgres import restarts
from tests.postgres.restarts import IDLE, QUERIES
from tests.servers.mariadb import MariaDBServer

GONE = r"(?i)lost|gone|closed|reset|not connected|not available|shutdown|\((0|2006), ''\)"


@in_worlds(WORLDS)
async def test_after_a_restart_under_idle_connections_no_query_fails(world: World, own_place: Place) -> None:
    stats = await restarts.under_idle_connections(world, own_place, fill, own_place.server.restart)
    assert stats.connect_errors == 0


@in_worlds(WORLDS)
async def test_after_a_restart_a_crowd_meets_no_error(world: World, own_place: Place) -> None:
    await restarts.before_a_crowd(world, own_place, fill)


@in_worlds(WORLDS)
async def test_after_a_crash_no_query_on_idle_connections_fails(world: World, own_place: Place) -> None:
    await restarts.under_idle_connections(
        world, own_place, fill, partial(own_place.server.restart, "immediate")
    )


@in_worlds(WORLDS)
async def test_after_all_idle_connections_were_killed_no_query_fails(world: World, place: Place) -> None:
    await restarts.all_idle_ones_killed(world, place, fill)


@pytest.fixture
def impatient(breakable: MariaDBServer) -> Iterator[Place]:
    """A place whose server ends connections that were idle for a second."""
    breakable.start()
    breakable.set(wait_timeout=1)
    yield Place(breakable)
    breakable.set(wait_timeout=28800)


@in_worlds(WORLDS)
async def test_connections_that_the_server_found_idle_for_too_long_fail_nobody(
    world: World, impatient: Place
) -> None:
    async with entered(impatient.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        await world.aside(impatient.server.sleep, 2.0)
        await world.aside(impatient.wait_for, 0)
        await query(pool, QUERIES)
        assert pool.stats().dead_on_acquire >= 1
        assert pool.stats().connect_errors == 0


@in_worlds(WORLDS)
async def test_a_loop_or_thread_that_read_nothing_meanwhile_hands_out_no_dead_connection(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, IDLE)
        assert place.kill() == IDLE  # blocks: the loop has read nothing of the server's last words
        await query(pool, QUERIES)


@in_worlds(WORLDS)
async def test_a_use_cut_short_by_a_restart_fails_alone(world: World, own_place: Place) -> None:
    await restarts.under_a_use(world, own_place, fill, GONE)


@in_worlds(WORLDS)
async def test_a_caller_learns_that_the_server_is_down_and_is_served_once_it_is_back(
    world: World, own_place: Place
) -> None:
    async with entered(own_place.pool(world, max_open=IDLE)) as pool:
        await fill(pool, 2)
        await world.aside(own_place.server.stop)
        with pytest.raises(cenote.ConnectError, match=r"(?i)connect") as caught:
            async with entered(pool.connection("2s")):
                pass
        assert not isinstance(caught.value.__cause__, cenote.Error)
        await world.aside(own_place.server.start)
        await query(pool, 1)


@in_worlds(WORLDS)
async def test_keepalive_found_out_by_asking_keeps_the_server_from_hanging_up(
    world: World, impatient: Place
) -> None:
    impatient.server.set(wait_timeout=2)  # a ping each second leaves this machine a second to pause in
    async with entered(impatient.pool(world, max_open=3, keepalive="auto")) as pool:
        numbers = await fill(pool, 3)
        await world.aside(impatient.server.sleep, 3.5)
        assert sorted(await fill(pool, 3)) == sorted(numbers)
        stats = pool.stats()
        assert (stats.connect_count, stats.dead_on_acquire, stats.dead_on_keepalive) == (3, 0, 0)
