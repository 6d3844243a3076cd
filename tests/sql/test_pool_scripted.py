"""The handle's pool on a scripted driver, with a clock that stands still where time has to pass."""

from __future__ import annotations

from typing import Any

import pytest

import cenote
from cenote import _upkeep
from tests.sql.scripted import Scripted
from tests.sql.worlds import done, using


async def test_lifetime_replaces_the_connection_between_two_uses(scripted: Scripted) -> None:
    db = scripted.open(frozen=True, max_open=10, max_lifetime=None)
    one = await done(db.begin())
    scripted.clock.advance(1)
    other = await done(db.begin())
    await done(one.commit())
    await done(other.commit())
    db.set_conn_max_lifetime(10)
    scripted.clock.advance(20)
    async with using(db.begin()), using(db.begin()):
        pass
    assert db.stats().connect_count == 4
    assert db.stats().max_lifetime_closed == 2
    assert scripted.connector.peak <= 10


async def test_idle_time_is_counted(scripted: Scripted) -> None:
    db = scripted.open(frozen=True, max_open=5, max_idle_time="1m", min_idle=0)
    conns = [await done(db.conn()) for _ in range(5)]
    for conn in conns:
        await done(conn.close())
    scripted.clock.advance(50)
    async with using(db.conn()), using(db.conn()):
        pass
    scripted.clock.advance(30)
    async with using(db.conn()):
        pass
    _upkeep.turn(db.pool)
    await scripted.until(lambda: db.stats().max_idle_time_closed == 3)
    assert db.stats().connect_count == 5


@pytest.mark.parametrize("state", ["in order", "expired", "broken"])
async def test_a_waiter_gets_a_good_connection_whatever_comes_back(scripted: Scripted, state: str) -> None:
    db = scripted.open(frozen=True, max_open=1, max_lifetime=10)
    conn = await done(db.conn())

    async def ask() -> Any:
        async with using(db.conn()) as mine:
            assert not mine.driver_connection.broken
            return mine.driver_connection.number

    asking = scripted.start(ask)
    await scripted.until(lambda: db.stats().waiting == 1)
    if state == "expired":
        scripted.clock.advance(11)
    conn.driver_connection.broken = state == "broken"
    await done(conn.close())
    assert await asking.result() == (1 if state == "in order" else 2)
    assert scripted.connector.peak == 1


async def test_all_callers_learn_that_the_server_is_down_not_only_the_first(scripted: Scripted) -> None:
    db = scripted.open(max_open=2, max_idle=0)
    offline = ConnectionRefusedError("offline")
    scripted.connector.connecting.fail(offline, times=None)

    async def ask() -> BaseException | None:
        with pytest.raises(cenote.ConnectError, match="offline") as caught:
            await done(db.exec("update"))
        return caught.value.__cause__

    assert await scripted.together(*[ask] * 6) == [offline] * 6
    await scripted.until(lambda: db.stats().open_connections == 0)
    scripted.connector.connecting.succeed()
    assert (await done(db.exec("update"))).rows_affected == 1


async def test_a_new_connection_that_nobody_needs_any_more_is_not_lost(scripted: Scripted) -> None:
    db = scripted.open(max_open=2)
    conn = await done(db.conn())
    scripted.connector.connecting.hold()

    async def ask() -> Any:
        return await done(db.query_row("select"))

    asking = scripted.start(ask)
    await scripted.until(lambda: scripted.connector.connecting.blocked == 1)
    await done(conn.close())  # which serves the one who waits
    assert await asking.result() == (1, "Alice")
    scripted.connector.connecting.release()
    await scripted.until(lambda: db.stats().idle == 2)


async def test_a_ping_tells_that_the_server_does_not_answer(scripted: Scripted) -> None:
    db = scripted.open()
    await done(db.ping())
    scripted.connector.pinging.fail(ConnectionResetError("gone"))
    with pytest.raises(cenote.ConnectError, match="gone"):
        await done(db.ping())
    assert db.stats().in_use == 0
    await done(db.ping())


async def test_a_session_option_that_the_driver_does_not_have_is_refused(scripted: Scripted) -> None:
    with pytest.raises(cenote.ConfigError, match=r"reset: .* cannot reset a session"):
        scripted.open(reset="session")
