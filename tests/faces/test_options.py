"""What a pool is made of and told, when it is made and while it runs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

import cenote
from cenote import AsyncPool, ConfigError, Options, Pool
from cenote.testing import AsyncScriptedConnector, FakeConnection, ScriptedConnector
from tests.faces.conftest import Make

FACES: list[Any] = [
    pytest.param(lambda **options: Pool(ScriptedConnector("reset"), **options), id="threads"),
    pytest.param(lambda **options: AsyncPool(AsyncScriptedConnector("reset"), **options), id="tasks"),
]
every_face = pytest.mark.parametrize("face", FACES)


@every_face
def test_an_unknown_option_suggests_the_nearest(face: Any) -> None:
    with pytest.raises(TypeError, match="unknown option 'max_opem'; did you mean 'max_open'"):
        face(max_opem=3)


@every_face
def test_a_bad_value_is_refused_when_the_pool_is_made(face: Any) -> None:
    with pytest.raises(ConfigError, match="max_open"):
        face(max_open=0)


@every_face
def test_no_limit_is_warned_of(face: Any) -> None:
    with pytest.warns(RuntimeWarning, match="max_open=None sets no limit") as caught:
        pool = face(max_open=None)
    assert pool.stats().max_open_connections is None
    assert caught[0].filename == __file__


@every_face
def test_no_limit_is_warned_of_when_it_is_set_later(face: Any) -> None:
    pool = face()
    with pytest.warns(RuntimeWarning, match="max_open=None sets no limit") as caught:
        pool.resize(max_open=None)
    assert caught[0].filename == __file__


def test_a_warning_that_is_an_error_does_not_lose_a_wake_up(make: Make) -> None:
    world = make(max_open=1)
    world.acquire()
    call = world.begin_acquire()
    world.settle()
    with pytest.raises(RuntimeWarning, match="no limit"):  # warnings are errors in this suite
        world.inside(lambda: world.pool.resize(max_open=None))
    assert call.result().connection.number == 2


@every_face
def test_a_bad_resize_changes_nothing(face: Any) -> None:
    pool = face(max_open=5)
    with pytest.raises(ConfigError, match="min_idle"):
        pool.resize(min_idle=9)
    with pytest.raises(TypeError, match="unknown option"):
        pool.resize(size=9)
    assert pool.options == face(max_open=5).options


@every_face
def test_every_option_can_be_changed_while_running(face: Any) -> None:
    pool = face()
    changes: dict[str, Any] = {
        "max_open": 7,
        "max_idle": 3,
        "min_idle": 0,
        "max_lifetime": timedelta(minutes=5),
        "max_idle_time": "2m",
        "keepalive": "30s",
        "ping_after": None,
        "timeout": 9,
        "connect_timeout": "3s",
        "max_waiting": 5,
        "max_connecting": 2,
        "name": "orders",
        "reset": "session",
        "warn_held": "1m",
    }
    pool.resize(**changes)
    assert pool.options == Options.of(**changes)
    assert pool.name == "orders"
    pool.resize(on_full="overflow", max_overflow=2)
    assert pool.options.limit == 9


@every_face
def test_the_setters_of_database_sql_are_there(face: Any) -> None:
    pool = face()
    pool.set_max_open_conns(7)
    pool.set_max_idle_conns(-1)
    pool.set_conn_max_lifetime("5m")
    pool.set_conn_max_idle_time(0)
    options = pool.options
    assert (options.max_open, options.max_idle) == (7, 0)
    assert (options.max_lifetime, options.max_idle_time) == (300, None)
    pool.set_conn_max_lifetime(0)
    assert pool.options.max_lifetime is None
    with pytest.warns(RuntimeWarning, match="no limit"):
        pool.set_max_open_conns(0)
    assert pool.options.max_open is None


def test_max_waiting_can_be_raised_while_somebody_is_refused(make: Make) -> None:
    world = make(max_open=1, max_waiting=0)
    lease = world.acquire()
    assert isinstance(world.begin_acquire().error(), cenote.PoolFull)
    world.pool.resize(max_waiting=None)
    call = world.begin_acquire()
    world.settle()
    assert not call.done
    world.release(lease)
    assert call.result().connection.number == 1


def test_repr_names_the_pool_and_counts(make: Make) -> None:
    world = make(name="orders", max_open=3)
    world.acquire()
    kind = type(world.pool).__name__
    text = repr(world.pool)
    assert text == f"<{kind} 'orders' [open 1 of 3, in use 1, idle 0, connecting 0, waiting 0]>"
    world.close(0)
    assert repr(world.pool) == f"<{kind} 'orders' closed>"


def test_stats_are_consistent_and_plain(make: Make) -> None:
    world = make(max_open=3)
    world.acquire()
    world.cycle()
    stats = world.stats
    assert stats.open_connections == stats.in_use + stats.idle + stats.connecting
    assert stats.acquire_count == 2
    assert stats.wait_time.count == 2
    assert stats.connect_time.count == 2
    with pytest.raises(AttributeError):
        stats.in_use = 0
    assert json.dumps(stats.in_use)


# ── targets ────────────────────────────────────────────────────────────────────────────────────────


def test_a_callable_will_do() -> None:
    with Pool(lambda: FakeConnection(7)) as pool, pool.connection() as connection:
        assert connection.number == 7


async def test_a_coroutine_function_will_do() -> None:
    async def dial() -> FakeConnection:
        return FakeConnection(7)

    async with AsyncPool(dial) as pool, pool.connection() as connection:
        assert connection.number == 7


def test_a_url_will_do() -> None:
    with Pool("sqlite:///:memory:?max_open=1&timeout=2s", name="memory") as pool:
        assert pool.options.max_open == 1
        assert pool.options.timeout == 2
        with pool.connection() as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_options_with_a_dsn_will_do() -> None:
    options = Options.from_url("sqlite:///:memory:", max_open=1)
    with Pool(options, timeout=1) as pool, pool.connection() as connection:
        assert pool.options.timeout == 1
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("kind", [Pool, AsyncPool])
def test_options_without_a_dsn_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="have no dsn"):
        kind(Options.of(max_open=1))


@pytest.mark.parametrize("kind", [Pool, AsyncPool])
def test_a_module_is_refused_with_the_remedy(kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"write cenote.dbapi\(json, "):
        kind(json)


@pytest.mark.parametrize("kind", [Pool, AsyncPool])
def test_what_cannot_connect_is_refused_by_its_type_alone(kind: Any) -> None:
    with pytest.raises(ConfigError, match="must be a URL, a Connector or a callable") as caught:
        kind({"password": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_password_appears_nowhere(make: Make) -> None:
    url = "postgresql://app:hunter2@db/app"
    pool = Pool(url)
    assert "hunter2" not in repr(pool) + pool.name + repr(pool.options)
    assert "app@db/app" in repr(pool)


def test_a_driver_s_error_that_quotes_the_password_is_scrubbed() -> None:
    pool = Pool("postgresql://app:hunter2@db/app", timeout="1ms")
    connector = ScriptedConnector()
    connector.connecting.fail(ConnectionRefusedError("cannot log in with hunter2"), None)
    pool._connector = connector
    pool._hooks = type(pool._hooks)()
    with pytest.raises((cenote.PoolTimeout, cenote.ConnectError)) as caught:
        pool.acquire()
    assert "hunter2" not in str(caught.value)
    pool.close()


def test_a_reset_that_the_connector_cannot_do_is_refused() -> None:
    for face in (Pool, AsyncPool):
        with pytest.raises(ConfigError, match=r"reset: .* cannot reset a session, got 'session'"):
            face("sqlite://", reset="session")
        pool = face("sqlite://")
        with pytest.raises(ConfigError, match="cannot reset a session"):
            pool.resize(reset="session", max_open=7)
        assert pool.options.max_open != 7
