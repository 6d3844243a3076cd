"""One contract for every connector, in both worlds, on real databases."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

import pytest

from cenote.connector import AsyncConnector, Connector, Hooks
from tests.drivers.cases import CASES, Case, MariaDBPlace, ask, block, done
from tests.drivers.conftest import Driven

Mark = Callable[[Any], Any]


def every(wanted: Callable[[Case], bool] = lambda _: True) -> Mark:
    """Run a test over every case, or every one of a kind."""
    cases = [case for case in CASES if wanted(case)]
    mark: Mark = pytest.mark.parametrize("driven", cases, ids=[case.name for case in cases], indirect=True)
    return mark


def has_server(case: Case) -> bool:
    return case.has_server


def has_no_server(case: Case) -> bool:
    return not case.has_server


def tells_broken(case: Case) -> bool:
    return case.tells_broken


def has_server_and_tells_broken(case: Case) -> bool:
    return case.has_server and case.tells_broken


# What drivers say of a connection that is gone. Some of those for MySQL have a number for it, and no words.
GONE = r"(?i)terminat|closed|lost|gone|not connected|not available|eof|reset|does not exist|\((0|2006), ''\)"


async def table(driven: Driven) -> None:
    """Make an empty table for the test, in place of the last test's."""
    if isinstance(driven.place, MariaDBPlace):
        driven.place.server.execute("create or replace table app.notes (word text)")
        return
    connection = await driven.connect()
    await ask(connection, "drop table if exists notes")
    await ask(connection, "create table notes (word text)")
    if hasattr(connection, "commit"):
        await done(connection.commit())


@every()
async def test_it_is_a_connector_and_its_connections_answer(driven: Driven) -> None:
    connect = driven.connector.connect
    assert isinstance(driven.connector, AsyncConnector if iscoroutinefunction(connect) else Connector)
    connection = await driven.connect()
    assert await ask(connection, "select 1") == [(1,)]


@every()
async def test_a_fresh_connection_is_in_good_order(driven: Driven) -> None:
    connection = await driven.connect()
    assert driven.connector.is_alive(connection)
    assert driven.connector.in_transaction(connection) is False
    if driven.case.tells_broken:
        assert not driven.connector.is_broken(connection)


@every()
async def test_a_transaction_left_open_is_seen_and_rolled_back(driven: Driven) -> None:
    await table(driven)
    connection = await driven.connect()
    await ask(connection, "begin")
    await ask(connection, "insert into notes values ('left open')")
    assert driven.connector.in_transaction(connection) is True
    await done(driven.connector.rollback(connection))
    assert driven.connector.in_transaction(connection) is False
    assert await ask(connection, "select count(*) from notes") == [(0,)]


@every(has_server)
async def test_a_failed_transaction_is_seen_and_rolled_back(driven: Driven) -> None:
    connection = await driven.connect()
    await ask(connection, "begin")
    with pytest.raises(Exception, match=driven.case.dialect.failure):
        await ask(connection, driven.case.dialect.failing)
    assert driven.connector.in_transaction(connection) is True
    await done(driven.connector.rollback(connection))
    assert driven.connector.in_transaction(connection) is False
    assert await ask(connection, "select 1") == [(1,)]


@every()
async def test_rolling_back_nothing_is_harmless(driven: Driven) -> None:
    connection = await driven.connect()
    await done(driven.connector.rollback(connection))
    assert await ask(connection, "select 1") == [(1,)]


@every(has_server)
async def test_reset_forgets_a_setting(driven: Driven) -> None:
    connection = await driven.connect()
    await ask(connection, driven.case.dialect.change)
    if hasattr(connection, "commit"):
        await done(connection.commit())
    await done(driven.connector.reset(connection))
    assert await ask(connection, driven.case.dialect.changed) == [(driven.case.dialect.unchanged,)]


@every(has_server)
async def test_reset_ends_an_open_transaction(driven: Driven) -> None:
    connection = await driven.connect()
    await ask(connection, "begin")
    await done(driven.connector.reset(connection))
    assert driven.connector.in_transaction(connection) is False


@every()
async def test_a_ping_leaves_no_state(driven: Driven) -> None:
    connection = await driven.connect()
    await done(driven.connector.ping(connection))
    assert driven.connector.in_transaction(connection) is False
    if driven.case.tells_broken:
        assert not driven.connector.is_broken(connection)


@every(has_server)
async def test_a_ping_of_a_connection_the_server_killed_raises(driven: Driven) -> None:
    connection = await driven.connect()
    driven.kill()
    with pytest.raises(Exception, match=GONE):
        await done(driven.connector.ping(connection))


@every()
async def test_a_ping_of_a_closed_connection_raises(driven: Driven) -> None:
    connection = await driven.connect()
    await done(driven.connector.close(connection))
    with pytest.raises(Exception, match=rf"{GONE}|active"):
        await done(driven.connector.ping(connection))


@every(has_server)
async def test_its_fileno_is_a_socket_until_it_is_closed(driven: Driven) -> None:
    connection = await driven.connect()
    number = driven.connector.fileno(connection)
    assert stat.S_ISSOCK(os.fstat(number).st_mode)
    await done(driven.connector.close(connection))
    assert driven.connector.fileno(connection) is None


@every(has_no_server)
async def test_a_connection_without_a_socket_has_no_fileno(driven: Driven) -> None:
    connection = await driven.connect()
    fileno = Hooks.of(driven.connector).fileno
    assert fileno is None or fileno(connection) is None


@every(has_server_and_tells_broken)
async def test_a_connection_that_failed_because_the_server_killed_it_is_broken(driven: Driven) -> None:
    connection = await driven.connect()
    driven.kill()
    with pytest.raises(Exception, match=GONE):
        await ask(connection, "select 1")
    assert driven.connector.is_broken(connection)
    assert not driven.connector.is_alive(connection)


@every(tells_broken)
async def test_a_closed_connection_is_broken_and_not_alive(driven: Driven) -> None:
    connection = await driven.connect()
    await done(driven.connector.close(connection))
    assert driven.connector.is_broken(connection)
    assert not driven.connector.is_alive(connection)


@every()
async def test_closing_twice_is_harmless(driven: Driven) -> None:
    connection = await driven.connect()
    await done(driven.connector.close(connection))
    await done(driven.connector.close(connection))


@every(has_server)
async def test_closing_a_connection_the_server_killed_is_quiet(driven: Driven) -> None:
    connection = await driven.connect()
    driven.kill()
    await done(driven.connector.close(connection))
    assert driven.connector.fileno(connection) is None


@every(has_server)
async def test_terminate_from_another_thread_cuts_the_connection(driven: Driven) -> None:
    connection = await driven.connect()
    thread = threading.Thread(target=driven.connector.terminate, args=(connection,))
    thread.start()
    thread.join()
    with pytest.raises(Exception, match=GONE):
        await ask(connection, "select 1")
    driven.place.wait_for_connections(0)


@every()
async def test_terminate_then_close_is_harmless(driven: Driven) -> None:
    connection = await driven.connect()
    driven.connector.terminate(connection)
    driven.connector.terminate(connection)
    await done(driven.connector.close(connection))
    driven.connector.terminate(connection)


@every()
async def test_a_transaction_commits(driven: Driven) -> None:
    await table(driven)
    connection = await driven.connect()
    async with block(driven.connector.transaction(connection)):
        await ask(connection, "insert into notes values ('kept')")
        assert driven.connector.in_transaction(connection) is True
    assert driven.connector.in_transaction(connection) is False
    assert await ask(await driven.connect(), "select word from notes") == [("kept",)]


@every()
async def test_a_transaction_rolls_back_on_an_error_and_lets_it_through(driven: Driven) -> None:
    await table(driven)
    connection = await driven.connect()

    async def fail() -> None:
        async with block(driven.connector.transaction(connection)):
            await ask(connection, "insert into notes values ('lost')")
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        await fail()
    assert driven.connector.in_transaction(connection) is False
    assert await ask(await driven.connect(), "select word from notes") == []


@every(has_server)
async def test_a_transaction_on_a_connection_the_server_killed_reports_its_death(driven: Driven) -> None:
    connection = await driven.connect()

    async def die() -> None:
        async with block(driven.connector.transaction(connection)):
            await ask(connection, "select 1")
            driven.kill()
            await ask(connection, "select 1")

    with pytest.raises(Exception, match=GONE):
        await die()
