"""Giving back: what is kept, what is rolled back first, and what is closed instead."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import cenote
from cenote import AsyncPool, ConfigError, Pool
from cenote.testing import AsyncScriptedConnector, FakeConnection, ScriptedConnector
from tests.faces.conftest import Make


def test_a_lease_is_given_back_once(make: Make) -> None:
    world = make(max_open=2)
    lease = world.acquire()
    world.release(lease, lease)
    world.discard(lease)
    assert world.stats.idle == 1
    assert world.stats.acquire_count == 1
    assert world.stats.discarded == 0


def test_a_lease_that_was_given_back_has_no_connection(make: Make) -> None:
    world = make()
    lease = world.acquire()
    assert repr(lease) == f"<{type(lease).__name__}: connection 1>"
    world.release(lease)
    assert repr(lease) == f"<{type(lease).__name__}: no connection>"
    with pytest.raises(cenote.Error, match="holds no connection"):
        lease.connection  # noqa: B018 - a property that raises


def test_a_discarded_lease_is_harmless_to_release(make: Make) -> None:
    world = make()
    lease = world.acquire()
    world.discard(lease)
    world.discard(lease)
    world.release(lease)
    world.settle()
    assert world.stats.discarded == 1
    assert world.connector.connections[0].closed
    assert world.stats.in_use == 0


def test_an_open_transaction_is_rolled_back_with_a_warning_that_names_the_site(make: Make) -> None:
    world = make("in_transaction", "rollback")
    lease = world.acquire()
    lease.connection.in_transaction = True
    with pytest.warns(RuntimeWarning, match=f"rolled back the transaction left open.*{world.site}"):
        world.release(lease)
    assert lease_log(world) == ["rollback"]
    assert world.cycle() == 1


def test_a_clean_release_talks_to_nobody(make: Make) -> None:
    world = make("in_transaction", "rollback", "is_broken", "reset", "ping", "is_alive")
    world.cycle()
    assert lease_log(world) == []


def test_a_driver_that_cannot_tell_is_rolled_back_without_a_warning(make: Make) -> None:
    world = make("in_transaction", "rollback")
    lease = world.acquire()
    lease.connection.in_transaction = None
    world.release(lease)
    assert lease_log(world) == ["rollback"]


def test_a_connector_without_in_transaction_always_rolls_back(make: Make) -> None:
    world = make("rollback")
    world.cycle()
    assert lease_log(world) == ["rollback"]


def test_reset_session_resets_on_every_release(make: Make) -> None:
    world = make("in_transaction", "rollback", "reset", reset="session")
    world.cycle()
    world.cycle()
    assert lease_log(world) == ["reset", "reset"]


def test_reset_can_be_switched_on_while_running(make: Make) -> None:
    world = make("reset")
    world.cycle()
    world.pool.resize(reset="session")
    world.cycle()
    assert lease_log(world) == ["reset"]


@pytest.mark.parametrize("hook", ["is_broken", "in_transaction"])
def test_a_connector_whose_look_raises_on_release_loses_the_connection_not_the_place(
    make: Make, hook: Any
) -> None:
    world = make(hook, max_open=1)
    lease = world.acquire()
    del lease.connection.__dict__["broken" if hook == "is_broken" else "in_transaction"]
    world.release(lease)
    world.settle()
    assert world.stats.in_use == 0
    assert world.stats.discarded == 1
    assert world.cycle() == 2


def test_a_failed_reset_discards(make: Make) -> None:
    world = make("reset", reset="session", max_open=1)
    world.connector.resetting.fail(ConnectionResetError("gone"))
    assert world.cycle() == 1
    world.settle()
    assert world.stats.discarded == 1
    assert world.cycle() == 2


def test_a_release_cancelled_while_it_talks_closes_the_connection(make: Make) -> None:
    world = make("rollback", max_open=1)
    lease = world.acquire()
    world.connector.rolling_back.hold()
    call = world.begin_release(lease)
    world.connector.rolling_back.wait_blocked()
    waiting = world.begin_acquire()
    world.cancel_talking(call, world.connector.rolling_back)
    assert waiting.result().connection.number == 2
    world.connector.rolling_back.release()
    assert world.connector.connections[0].closed


def lease_log(world: Any) -> list[str]:
    log: list[str] = world.connector.connections[0].log
    return log


# ── the with block, in the own words of each face ──────────────────────────────────────────────────


def test_warnings_that_are_errors_reach_the_user_and_cost_one_connection() -> None:
    pool = Pool(ScriptedConnector("in_transaction", "rollback"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="rolled back"), pool.connection() as connection:
            connection.in_transaction = True
    assert pool.stats().in_use == 0
    assert pool.stats().discarded == 1
    pool.close()


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), TimeoutError(), ConnectionResetError(), GeneratorExit()]
)
def test_an_error_that_may_have_cut_a_conversation_short_closes_the_connection(error: BaseException) -> None:
    pool = Pool(ScriptedConnector())
    with pytest.raises(type(error)), pool.connection():
        raise error
    assert pool.stats().discarded == 1
    assert pool.stats().in_use == 0
    pool.close()


def test_an_ordinary_error_does_not() -> None:
    pool = Pool(ScriptedConnector())
    with pytest.raises(ValueError, match="mine"), pool.connection():
        raise ValueError("mine")
    assert pool.stats().idle == 1
    pool.close()


def test_a_driver_that_tells_broken_is_believed_after_an_interrupt() -> None:
    pool = Pool(ScriptedConnector("is_broken"))
    with pytest.raises(KeyboardInterrupt), pool.connection():
        raise KeyboardInterrupt
    assert pool.stats().idle == 1
    pool.close()


def test_an_explicit_lease_can_serve_as_a_with_block() -> None:
    pool = Pool(ScriptedConnector())
    with pool.acquire() as connection:
        assert connection.number == 1
    assert pool.stats().idle == 1
    pool.close()


async def test_an_explicit_async_lease_can_serve_as_a_with_block() -> None:
    async with AsyncPool(AsyncScriptedConnector()) as pool:
        async with await pool.acquire() as connection:
            assert connection.number == 1
        assert pool.stats().idle == 1


def test_a_pool_is_a_context_manager_that_closes_itself() -> None:
    connector = ScriptedConnector()
    with Pool(connector) as pool, pool.connection():
        pass
    assert pool.closed
    assert connector.open == 0


# ── transactions ───────────────────────────────────────────────────────────────────────────────────


def test_a_transaction_commits_on_success() -> None:
    connector = ScriptedConnector("transaction", "in_transaction", "rollback")
    with Pool(connector) as pool:
        with pool.transaction() as connection:
            assert connection.log == ["begin"]
        assert connection.log == ["begin", "commit"]
        assert pool.stats().idle == 1


def test_a_transaction_rolls_back_on_an_error() -> None:
    connector = ScriptedConnector("transaction", "in_transaction", "rollback")
    with Pool(connector) as pool:
        with pytest.raises(ValueError, match="mine"), pool.transaction() as connection:
            raise ValueError("mine")
        assert connection.log == ["begin", "rollback"]
        assert pool.stats().idle == 1


def test_a_transaction_whose_begin_fails_is_discarded() -> None:
    connector = ScriptedConnector("transaction")
    with Pool(connector) as pool:
        pool._hooks = type(pool._hooks)(transaction=_no_begin)
        with pytest.raises(ConnectionResetError), pool.transaction():
            pass
        assert pool.stats().discarded == 1
        assert pool.stats().in_use == 0


def test_a_transaction_whose_commit_fails_says_so_and_gives_the_connection_up() -> None:
    connector = ScriptedConnector("transaction", "in_transaction", "rollback")
    with Pool(connector) as pool:
        with pytest.raises(ConnectionResetError), pool.transaction() as connection:
            connection.alive = False
        assert pool.stats().discarded == 1
        assert pool.stats().in_use == 0


async def test_an_async_transaction_commits_on_success() -> None:
    connector = AsyncScriptedConnector("transaction", "in_transaction", "rollback")
    async with AsyncPool(connector) as pool:
        async with pool.transaction() as connection:
            assert connection.log == ["begin"]
        assert connection.log == ["begin", "commit"]
        assert pool.stats().idle == 1


async def test_an_async_transaction_rolls_back_on_an_error() -> None:
    connector = AsyncScriptedConnector("transaction", "in_transaction", "rollback")
    async with AsyncPool(connector) as pool:
        with pytest.raises(ValueError, match="mine"):
            async with pool.transaction() as connection:
                raise ValueError("mine")
        assert connection.log == ["begin", "rollback"]
        assert pool.stats().idle == 1


async def test_an_async_transaction_whose_begin_fails_is_discarded() -> None:
    async with AsyncPool(AsyncScriptedConnector("transaction")) as pool:
        pool._hooks = type(pool._hooks)(transaction=_no_begin)
        with pytest.raises(ConnectionResetError):
            async with pool.transaction():
                pass
        assert pool.stats().in_use == 0
        assert pool.stats().discarded == 1


async def test_an_async_transaction_whose_commit_fails_gives_the_connection_up() -> None:
    connector = AsyncScriptedConnector("transaction", "in_transaction", "rollback")
    async with AsyncPool(connector) as pool:
        with pytest.raises(ConnectionResetError):
            async with pool.transaction() as connection:
                connection.alive = False
        assert pool.stats().in_use == 0
        assert pool.stats().discarded == 1


def _no_begin(connection: FakeConnection) -> Any:
    raise ConnectionResetError


@pytest.mark.parametrize(
    "pool", [Pool(ScriptedConnector()), AsyncPool(AsyncScriptedConnector())], ids=["threads", "tasks"]
)
def test_a_connector_without_transactions_is_told_before_anything_is_opened(pool: Any) -> None:
    with pytest.raises(ConfigError, match=r"has no transaction\(\); use connection\(\)"):
        pool.transaction()
    assert pool.stats().open_connections == 0
