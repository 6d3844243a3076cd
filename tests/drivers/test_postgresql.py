"""What is particular to each PostgreSQL driver."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import asyncpg
import psycopg
import pytest
import uvloop

from cenote.drivers import async_connector_for, connector_for
from cenote.drivers.asyncpg import AsyncpgConnector
from cenote.drivers.psycopg import AsyncPsycopgConnector, PsycopgConnector
from cenote.drivers.psycopg2 import Psycopg2Connector
from tests.drivers.cases import TIMEOUT, Place, ask

FOREVER = "select pg_sleep(3600)"


each_loop = pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


# ── psycopg ─────────────────────────────────────────────────────────────────────────────────────


def test_psycopg_is_in_autocommit_and_a_keyword_may_say_otherwise(place: Place) -> None:
    for keywords, expected in (({}, True), ({"autocommit": False}, False)):
        connector = PsycopgConnector(place.url("postgresql"), **keywords)
        connection = connector.connect(TIMEOUT)
        assert connection.autocommit is expected
        connector.close(connection)


def test_psycopg_prepares_as_usual_unless_told_otherwise(place: Place) -> None:
    for query, expected in (("", 5), ("&prepare_threshold=none", None), ("&prepare_threshold=0", 0)):
        connector = connector_for(place.url("postgresql") + query)
        connection = connector.connect(TIMEOUT)
        assert connection.prepare_threshold == expected
        connector.close(connection)


def test_pinging_psycopg_prepares_nothing(place: Place) -> None:
    connector = PsycopgConnector(place.url("postgresql"), prepare_threshold=0)
    connection = connector.connect(TIMEOUT)
    for _ in range(3):
        connector.ping(connection)
    assert connection.execute("select count(*) from pg_prepared_statements", prepare=False).fetchone() == (0,)
    connector.close(connection)


def test_psycopg_forgets_its_prepared_statements_on_reset(place: Place) -> None:
    connector = PsycopgConnector(place.url("postgresql"), prepare_threshold=0)
    connection = connector.connect(TIMEOUT)
    for _ in range(2):
        assert connection.execute("select 42").fetchone() == (42,)
        connector.reset(connection)
    assert connection.execute("select count(*) from pg_prepared_statements", prepare=False).fetchone() == (0,)
    connector.close(connection)


@pytest.mark.parametrize("autocommit", [True, False])
def test_reset_works_with_autocommit_on_or_off_and_leaves_it_so(place: Place, *, autocommit: bool) -> None:
    connectors: list[Any] = [
        PsycopgConnector(place.url("postgresql")),
        Psycopg2Connector(place.url("postgresql")),
    ]
    for connector in connectors:
        connection = connector.connect(TIMEOUT)
        connection.autocommit = autocommit
        connection.cursor().execute("set statement_timeout = '1h'")
        connector.reset(connection)
        assert connection.autocommit is autocommit
        assert not connector.in_transaction(connection)
        connector.close(connection)


async def test_async_psycopg_is_broken_while_a_cancelled_statement_runs_on_and_can_be_closed(
    place: Place,
) -> None:
    connector = async_connector_for(place.url("postgresql"))
    assert isinstance(connector, AsyncPsycopgConnector)
    connection = await connector.connect(TIMEOUT)
    sent = asyncio.create_task(ask(connection, FOREVER))
    await asyncio.to_thread(place.wait_for_statement)
    assert connector.is_broken(connection)
    connector.terminate(connection)
    with pytest.raises(psycopg.OperationalError):
        await sent
    assert connector.is_broken(connection)
    await connector.close(connection)


async def test_async_psycopg_can_be_closed_after_a_cancelled_statement(place: Place) -> None:
    connector = AsyncPsycopgConnector(place.url("postgresql"))
    connection = await connector.connect(TIMEOUT)
    sent = asyncio.create_task(ask(connection, FOREVER))
    await asyncio.to_thread(place.wait_for_statement)
    sent.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sent
    await connector.close(connection)
    assert connector.is_broken(connection)
    place.server.wait_for_backends(0, place.name)


def test_terminate_cuts_psycopg_off_in_the_middle_of_a_statement_of_another_thread(place: Place) -> None:
    connector = PsycopgConnector(place.url("postgresql"))
    connection = connector.connect(TIMEOUT)
    errors: list[psycopg.Error] = []

    def wait() -> None:
        try:
            connection.execute(FOREVER)
        except psycopg.Error as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    place.wait_for_statement()
    connector.terminate(connection)
    thread.join()
    assert isinstance(errors[0], psycopg.OperationalError)
    assert connector.is_broken(connection)


async def test_a_connection_of_psycopg_that_was_terminated_goes_without_a_warning(place: Place) -> None:
    connector = AsyncPsycopgConnector(place.url("postgresql"))
    connector.terminate(await connector.connect(TIMEOUT))
    gc.collect()  # a ResourceWarning here is an error
    place.server.wait_for_backends(0, place.name)


# ── psycopg2 ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fails", [False, True])
def test_psycopg2_has_transactions_with_autocommit_off_too(place: Place, *, fails: bool) -> None:
    connector = Psycopg2Connector(place.url("postgresql"))
    connection = connector.connect(TIMEOUT)
    connection.autocommit = False
    try:
        with connector.transaction(connection), connection.cursor() as cursor:
            cursor.execute("set statement_timeout = '42s'")
            assert not fails
    except AssertionError:
        pass
    with connection.cursor() as cursor:
        cursor.execute("show statement_timeout")
        assert cursor.fetchall() == [("0" if fails else "42s",)]
    connector.close(connection)


# ── asyncpg ─────────────────────────────────────────────────────────────────────────────────────


async def test_asyncpg_is_broken_while_an_operation_is_in_progress_and_not_after(place: Place) -> None:
    connector = AsyncpgConnector(place.url("postgresql"))
    connection = await connector.connect(TIMEOUT)
    await connection.execute("select pg_advisory_lock(4711)")
    second = await connector.connect(TIMEOUT)
    sent = asyncio.create_task(second.execute("select pg_advisory_lock(4711)"))
    await asyncio.to_thread(place.wait_for_statement)
    assert connector.is_alive(second)
    assert connector.is_broken(second)
    assert not connector.is_broken(connection)
    await connection.execute("select pg_advisory_unlock(4711)")
    await sent
    assert not connector.is_broken(second)
    await connector.close(connection)
    await connector.close(second)


async def test_asyncpg_is_broken_while_it_cancels_a_statement(place: Place) -> None:
    connector = AsyncpgConnector(place.url("postgresql"))
    connection = await connector.connect(TIMEOUT)
    sent = asyncio.create_task(connection.execute(FOREVER))
    await asyncio.to_thread(place.wait_for_statement)
    sent.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sent
    assert connector.is_broken(connection)
    await connector.close(connection)
    place.server.wait_for_backends(0, place.name)


async def test_rolling_back_asyncpg_also_ends_the_block_asyncpg_remembers(place: Place) -> None:
    connector = AsyncpgConnector(place.url("postgresql"))
    connection = await connector.connect(TIMEOUT)
    await connection.transaction().start()
    await connector.rollback(connection)
    await connection.transaction().start()  # a savepoint would be refused outside a transaction
    assert await ask(connection, "select pg_current_xact_id_if_assigned() is null") == [(True,)]
    await connector.reset(connection)
    assert not connector.in_transaction(connection)
    await connector.close(connection)


async def in_asyncpg(place: Place) -> tuple[AsyncpgConnector, Any, int]:
    """Open one, and leave it to its loop's end."""
    connector = AsyncpgConnector(place.url("postgresql"))
    connection = await connector.connect(TIMEOUT)
    await connection.execute("select 1")
    number = connector.fileno(connection)
    assert number is not None
    return connector, connection, number


@pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
# uvloop itself closes the socket with the loop, and says so; it hangs when that is made an error.
@pytest.mark.filterwarnings("ignore:unclosed resource:ResourceWarning")
def test_terminate_closes_an_asyncpg_connection_whose_loop_is_closed(place: Place, make_loop: Any) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        connector, connection, _ = runner.run(in_asyncpg(place))
    assert connector.fileno(connection) is None
    connector.terminate(connection)
    assert not connector.is_alive(connection)
    assert connector.is_broken(connection)
    place.server.wait_for_backends(0, place.name)
    del connection
    gc.collect()  # a ResourceWarning here is an error


@pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_terminate_of_asyncpg_from_another_thread_is_seen_by_its_running_loop(
    place: Place, make_loop: Any
) -> None:
    async def cut() -> None:
        asyncio.get_running_loop().set_debug(True)  # makes every call from another thread an error
        connector, connection, _ = await in_asyncpg(place)
        sent = asyncio.create_task(connection.execute(FOREVER))
        await asyncio.to_thread(place.wait_for_statement)
        assert connector.is_broken(connection)
        await asyncio.to_thread(connector.terminate, connection)
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await sent
        assert connector.is_broken(connection)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(cut())


def test_terminate_of_asyncpg_in_its_own_loop_cuts_it_off(place: Place) -> None:
    async def cut() -> None:
        connector, connection, _ = await in_asyncpg(place)
        connector.terminate(connection)
        assert connector.is_broken(connection)

    asyncio.run(cut())
    place.server.wait_for_backends(0, place.name)
