"""The quiet spell and the restart: what makes a pool that is a list of sockets fail, and this one not.

A server with ``timeout 1`` closes what was idle for a second. A list of sockets is shown to fail beside.
"""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.conftest import MakeRedis
from tests.redis.worlds import WORLDS, World, ask, done, drop_in, entered, fill, in_worlds, name, using
from tests.servers.process import StopMode
from tests.servers.redis import RedisServer

TIMEOUT, QUIET = 1, 3.0  # seconds
PATIENT, LONG_QUIET = 3, 5.0  # with a heartbeat: this machine, too, may pause between two


class ListOfSockets:
    """The plain pool: N connections made at the start; take one, put it straight back."""

    def __init__(self, server: RedisServer, size: int) -> None:
        retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        self._free = [redis.Redis.from_url(server.url(), retry=retry, protocol=2) for _ in range(size)]
        self._connections: list[Any] = [client.connection_pool.get_connection() for client in self._free]

    def failures(self, commands: int) -> int:
        """Give so many commands, each on the connection whose turn it is; say how many failed."""
        failed = 0
        for number in range(commands):
            connection = self._connections[number % len(self._connections)]
            try:
                connection.send_command("ECHO", number)
                connection.read_response()
            except redis.ConnectionError:  # it connects again by the next command
                failed += 1
        return failed

    def close(self) -> None:
        """Close all."""
        for connection, client in zip(self._connections, self._free, strict=True):
            client.connection_pool.release(connection)
            client.connection_pool.disconnect()


@pytest.fixture(scope="module")
def impatient() -> Any:
    """A server that closes what was idle for a second, or at the most two."""
    with RedisServer(settings={"timeout": TIMEOUT}) as server:
        yield server


@pytest.fixture(scope="module")
def patient() -> Any:
    """One that lets three seconds pass."""
    with RedisServer(settings={"timeout": PATIENT}) as server:
        yield server


async def in_turns(pool: Any, size: int, commands: int) -> None:
    """Give so many commands on all connections in turn; every error is the test's."""
    for _ in range(commands // size):
        held = [await done(pool.get_connection()) for _ in range(size)]
        for connection in held:
            word = name("word").encode()
            await done(connection.send_command("ECHO", word))
            assert await done(connection.read_response()) == word
        for connection in held:
            await done(pool.release(connection))


def test_a_list_of_sockets_fails_once_for_each_after_a_quiet_spell(impatient: RedisServer) -> None:
    pool = ListOfSockets(impatient, 3)
    assert pool.failures(3) == 0
    impatient.sleep(QUIET)
    assert pool.failures(20) == 3
    pool.close()


@in_worlds(WORLDS)
async def test_nothing_fails_after_a_quiet_spell_without_a_heartbeat(
    world: World, impatient: RedisServer
) -> None:
    async with using(world, impatient, max_open=3) as (_, pool):
        await fill(pool, 3)
        await world.aside(impatient.sleep, QUIET)
        await in_turns(pool, 3, 21)
        assert (pool.stats().connect_errors, pool.stats().connect_count) == (0, 6)


@in_worlds(WORLDS)
async def test_nothing_fails_and_nothing_is_opened_anew_with_a_heartbeat(
    world: World, patient: RedisServer
) -> None:
    async with (
        using(world, patient, max_open=3, keepalive="500ms", protocol=2) as (_, each_half_second),
        using(world, patient, max_open=3, keepalive="auto", protocol=3) as (_, found_out),
    ):
        pools = (each_half_second, found_out)
        before = [await fill(pool, 3) for pool in pools]
        await world.aside(patient.sleep, LONG_QUIET)
        for pool, numbers in zip(pools, before, strict=True):
            await in_turns(pool, 3, 21)
            assert sorted(await fill(pool, 3)) == sorted(numbers)
            stats = pool.stats()
            assert (stats.connect_count, stats.dead_on_acquire, stats.dead_on_keepalive) == (3, 0, 0)


def test_a_list_of_sockets_fails_once_for_each_after_a_restart(own_redis: RedisServer) -> None:
    pool = ListOfSockets(own_redis, 8)
    assert pool.failures(8) == 0
    own_redis.restart()
    assert pool.failures(100) == 8
    pool.close()


@pytest.fixture(scope="module")
def breakable() -> Any:
    """A server for all tests here that restart theirs."""
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@in_worlds(WORLDS)
async def test_nothing_fails_after_a_restart_under_idle_connections(
    world: World, breakable: RedisServer, mode: StopMode
) -> None:
    drop = drop_in(world, breakable, max_open=8)
    plain = world.pool(breakable.url(), max_open=8)
    for pool in (drop, plain):
        await fill(pool, 8)
    await world.aside(breakable.restart, mode)
    for pool in (drop, plain):
        await ask(pool, 100)
        assert pool.stats().connect_errors == 0
    await in_turns(drop, 4, 100)
    await done(plain.close())
    await done(drop.close() if world.blocking else drop.aclose())


@in_worlds(WORLDS)
async def test_nothing_fails_after_all_were_killed(world: World, breakable: RedisServer) -> None:
    label = name("label")
    async with using(world, breakable, max_open=8, client_name=label) as (_, pool):
        await fill(pool, 8)
        assert await world.aside(breakable.kill_connections, label) == 8
        await in_turns(pool, 8, 104)
        assert pool.stats().dead_on_acquire >= 1
        assert await world.aside(breakable.count_connections, label) == 8


@in_worlds(WORLDS)
async def test_a_server_that_is_down_is_named_and_one_that_comes_back_is_found(
    world: World, make_redis: MakeRedis
) -> None:
    server = make_redis()
    async with using(world, server, max_open=2, timeout="60s") as (client, _):
        assert await done(client.ping())
        await world.aside(server.stop)
        with pytest.raises(redis.ConnectionError, match="cannot connect: ConnectionError: Error 111"):
            await done(client.ping())
        await world.aside(server.start)
        assert await done(client.ping())


@in_worlds(WORLDS)
async def test_a_server_that_lets_nobody_ask_for_its_time_out_is_not_pinged(
    world: World, breakable: RedisServer
) -> None:
    admin = redis.Redis.from_url(breakable.url())
    admin.acl_setuser("shy", enabled=True, nopass=True, commands=["+@all", "-config"], keys=["*"])
    admin.close()
    url = breakable.url().replace(f"://:{breakable.password}@", "://shy:any@")
    async with entered(world.pool(url, keepalive="auto")) as pool:
        await ask(pool, 1)
        assert pool._core.keepalive == float("inf")
