"""The listener hears of everything but plain hits and releases, outside the lock, and can do no harm."""

from __future__ import annotations

import logging

import pytest

from cenote import AsyncPool, Event, Pool
from cenote.testing import AsyncScriptedConnector, EventLog, FakeConnection, ScriptedConnector
from tests.faces.worlds import BOTH, World, world_of


@pytest.mark.parametrize("kind", BOTH, ids=[kind.name for kind in BOTH])
def test_events_tell_the_life_of_a_connection(kind: type[World]) -> None:
    with world_of(kind, max_open=1) as world:
        world.cycle()
        world.cycle()
        world.settle()
        assert world.log.kinds == ["queued", "connecting", "connected", "granted"]
        assert world.log.events[0].at == world.clock()
        world.log.clear()
        world.close()
        world.settle()
        assert world.log.kinds == ["shut", "closing", "closed"]
        assert world.log.reasons("closing") == ["shut"]


@pytest.mark.parametrize("kind", BOTH, ids=[kind.name for kind in BOTH])
def test_events_tell_of_failures(kind: type[World]) -> None:
    with world_of(kind, max_open=1) as world:
        world.connector.connecting.fail(ConnectionRefusedError())
        call = world.begin_acquire(1)
        world.settle()
        assert world.log.reasons("failed") == ["ConnectionRefusedError"]
        call.cancel()
        assert world.log.reasons("gave_up") == ["cancelled"]


def test_the_listener_is_called_without_the_lock() -> None:
    held: list[bool] = []

    def listener(event: Event) -> None:
        held.append(pool._core.budget.owned())

    pool: Pool[FakeConnection] = Pool(ScriptedConnector(), listener=listener)
    with pool.connection():
        pass
    pool.close()
    assert held
    assert not any(held)


def test_a_listener_may_use_the_pool() -> None:
    seen: list[int] = []

    def listener(event: Event) -> None:
        seen.append(pool.stats().open_connections)
        pool.resize(max_open=3)

    pool: Pool[FakeConnection] = Pool(ScriptedConnector(), listener=listener)
    with pool.connection():
        pass
    pool.close()
    assert len(seen) >= 4


def raising(event: Event) -> None:
    raise ValueError("a listener's own mistake")


def test_a_listener_that_raises_is_logged_and_costs_nobody_a_wake_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = Pool(ScriptedConnector(), max_open=1, listener=raising)
    with caplog.at_level(logging.ERROR, "cenote"):
        with pool.connection() as connection:
            assert connection.number == 1
        pool.close()
    assert "a listener's own mistake" in caplog.text
    assert pool.stats().open_connections == 0


async def test_an_async_pool_s_listener_that_raises_costs_nobody_a_wake_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = AsyncPool(AsyncScriptedConnector(), max_open=1, listener=raising)
    with caplog.at_level(logging.ERROR, "cenote"):
        async with pool, pool.connection() as connection:
            assert connection.number == 1
    assert "a listener's own mistake" in caplog.text


def test_an_event_log_says_what_did_not_come() -> None:
    log = EventLog()
    log(Event("queued", 1.0))
    assert log.wait("queued")[0].at == 1.0
    with pytest.raises(TimeoutError, match="0 times 'closed' after 0 s, not 1"):
        log.wait("closed", timeout=0)


async def test_an_event_log_can_be_awaited() -> None:
    log = EventLog()
    async with AsyncPool(AsyncScriptedConnector(), listener=log) as pool:
        async with pool.connection():
            pass
        (event,) = await log.arrival("connected")
        assert event.connection == 1
