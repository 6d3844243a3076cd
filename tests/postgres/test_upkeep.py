"""What a pool does for its connections without being asked: refill, keepalive, expiry, reset, checks."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import pytest

import cenote
from tests.postgres.conftest import Log, Place, stopped
from tests.postgres.worlds import WORLDS, World, ask, done, entered, fill, in_worlds, pid_of, query
from tests.servers.home import free_port
from tests.servers.postgres import PostgresServer, Template


class Clock:
    """The real one, which a test may set ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return monotonic() + self.ahead


@in_worlds(WORLDS)
async def test_min_idle_is_filled_and_kept_filled(world: World, place: Place) -> None:
    log = Log()
    options = {"min_idle": 3, "max_open": 5, "keepalive": "50ms"}
    async with entered(place.pool(world, listener=log, **options)) as pool:
        await query(pool)
        await world.aside(log.wait_for, "connected", None, 3)
        await world.aside(place.wait_until, "true", 3)
        await world.aside(place.kill)
        await world.aside(log.wait_for, "closing", "keepalive", 3)
        await world.aside(log.wait_for, "connected", None, 6)
        await world.aside(place.wait_until, "true", 3)
        assert pool.stats().dead_on_acquire == 0


@in_worlds(WORLDS)
async def test_keepalive_speaks_on_an_idle_connection_and_keeps_it(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=1, keepalive="50ms")) as pool:
        (pid,) = await fill(pool, 1)
        with place.server.admin() as admin:
            row = admin.execute(
                "select state_change::text from pg_stat_activity where pid = %s", (pid,)
            ).fetchone()
        assert row is not None
        await world.aside(place.wait_until, f"state_change > '{row[0]}'")
        assert await fill(pool, 1) == [pid]


@in_worlds(WORLDS)
async def test_a_connection_past_its_lifetime_is_replaced_and_none_before(world: World, place: Place) -> None:
    clock = Clock()
    async with entered(
        place.pool(world, max_open=1, max_lifetime="1h", clock=clock, ping_after=None)
    ) as pool:
        (pid,) = await fill(pool, 1)
        clock.ahead += 600
        assert await fill(pool, 1) == [pid]
        clock.ahead += 3600
        assert await fill(pool, 1) != [pid]
        assert pool.stats().max_lifetime_closed == 1
        assert place.backends() == 1


@in_worlds(WORLDS)
async def test_idle_connections_go_after_their_time_and_the_server_sees_it(
    world: World, place: Place
) -> None:
    log = Log()
    async with entered(place.pool(world, max_open=4, max_idle_time="50ms", listener=log)) as pool:
        await query(pool)
        await world.aside(log.wait_for, "closing", "max_idle_time")
        await world.aside(log.wait_for, "closed")
        assert place.backends() == 0
        await query(pool)


@in_worlds(WORLDS)
async def test_a_long_idle_connection_whose_server_is_silent_is_replaced(world: World, place: Place) -> None:
    clock = Clock()
    async with entered(place.pool(world, max_open=2, clock=clock, connect_timeout="500ms")) as pool:
        (pid,) = await fill(pool, 1)
        clock.ahead += 61
        with stopped(pid):
            async with entered(pool.connection()) as connection:
                assert await pid_of(connection) != pid
        assert pool.stats().dead_on_acquire == 1


@in_worlds(WORLDS)
async def test_a_check_that_outlasts_the_deadline_says_so(
    world: World, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    async with entered(place.pool(world, max_open=1, clock=clock)) as pool:
        (pid,) = await fill(pool, 1)
        clock.ahead += 61
        with stopped(pid), pytest.raises(cenote.PoolTimeout) as caught:
            async with entered(pool.connection("200ms")):
                pass
        assert caught.value.phase == "check"
        # Psycopg, if cancelled, asks the silent server to stop, waits five seconds for it, and logs that.
        assert [record for record in caplog.records if record.name == "psycopg"] == []
        await query(pool)


@in_worlds(WORLDS)
async def test_reset_forgets_settings_locks_and_temporary_tables(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=1, reset="session")) as pool:
        async with entered(pool.connection()) as connection:
            pid = await pid_of(connection)
            await ask(connection, "set search_path to nowhere")
            await ask(connection, "select pg_advisory_lock(4711)")
            if "asyncpg" not in world.scheme:
                await ask(connection, "create temporary table passing (number int)")
        async with entered(pool.connection()) as connection:
            assert await pid_of(connection) == pid
            assert await ask(connection, "show search_path") == [('"$user", public',)]
            assert await ask(connection, "select to_regclass('passing') is null") == [(True,)]
            locks = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711"
            assert await ask(connection, locks) == [(0,)]


@in_worlds(WORLDS)
async def test_without_reset_the_session_stays_as_it_was_left(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            await ask(connection, "set search_path to nowhere")
        async with entered(pool.connection()) as connection:
            assert await ask(connection, "show search_path") == [("nowhere",)]


# ── ping ────────────────────────────────────────────────────────────────────────────────────────


@in_worlds(WORLDS)
async def test_ping_of_a_server_that_answers_is_quiet_and_leaves_one_connection(
    world: World, place: Place
) -> None:
    async with entered(place.pool(world)) as pool:
        await done(pool.ping())
        assert (pool.stats().idle, pool.stats().in_use, place.backends()) == (1, 0, 1)


@in_worlds(WORLDS)
async def test_ping_with_a_wrong_password_tells_the_servers_reason(world: World, place: Place) -> None:
    async with entered(world.pool(place.url(world, password="wr0ng-s3cret"))) as pool:
        with pytest.raises(cenote.ConnectError, match="password authentication failed for user") as caught:
            await done(pool.ping())
        assert "wr0ng-s3cret" not in str(caught.value)


@in_worlds(WORLDS)
async def test_ping_of_an_unknown_database_names_it(world: World, place: Place) -> None:
    async with entered(world.pool(place.url(world, database="nowhere"))) as pool:
        with pytest.raises(cenote.ConnectError, match='database "nowhere" does not exist'):
            await done(pool.ping())


@in_worlds(WORLDS)
async def test_ping_of_a_port_where_nobody_listens_says_refused(world: World) -> None:
    port = free_port()
    async with entered(world.pool(f"{world.scheme}://app:s3cret@127.0.0.1:{port}/app")) as pool:
        with pytest.raises(cenote.ConnectError, match=f"(?s){port}.*refused|Connect call failed.*{port}"):
            await done(pool.ping())


@pytest.fixture(scope="module")
def impatient(postgres_template: Template) -> Iterator[Place]:
    """A place whose server ends sessions that were idle for two seconds."""
    with PostgresServer(template=postgres_template) as server:
        with server.admin() as admin:
            admin.execute("alter role app set idle_session_timeout = '2s'")
        yield Place(server, "impatient")


@in_worlds(WORLDS)
async def test_keepalive_found_out_by_asking_keeps_the_server_from_hanging_up(
    world: World, impatient: Place
) -> None:
    async with entered(impatient.pool(world, max_open=3, keepalive="auto")) as pool:
        pids = await fill(pool, 3)
        with impatient.server.admin() as admin:
            await world.aside(admin.execute, "select pg_sleep(2.5)")
        assert sorted(await fill(pool, 3)) == sorted(pids)
        stats = pool.stats()
        assert (stats.connect_count, stats.dead_on_acquire, stats.dead_on_keepalive) == (3, 0, 0)


@in_worlds(WORLDS)
async def test_a_server_without_a_time_out_is_not_pinged(world: World, place: Place) -> None:
    async with entered(place.pool(world, max_open=1, keepalive="auto")) as pool:
        await fill(pool, 1)
        assert pool._core.keepalive == float("inf")
        assert pool.options.keepalive == "auto"
