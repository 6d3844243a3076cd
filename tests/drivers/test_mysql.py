"""What is particular to each MySQL driver."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiomysql.cursors
import asyncmy.cursors
import pymysql
import pymysql.cursors
import pytest
import uvloop
from MySQLdb.cursors import SSCursor as MySQLdbSSCursor
from pymysql.constants import FIELD_TYPE

from cenote.drivers import async_connector_for, connector_for
from cenote.drivers._mysql import Session, kill
from cenote.drivers.aiomysql import AiomysqlConnector
from cenote.drivers.asyncmy import AsyncmyConnector
from cenote.drivers.pymysql import PyMySQLConnector
from tests.conftest import MakeMariaDB
from tests.drivers.cases import MYSQL, TIMEOUT, Case, MariaDBPlace, ask, done
from tests.drivers.conftest import Driven

FOREVER = "select sleep(3600)"
ROOT = Path(__file__).resolve().parent.parent.parent

BLOCKING = MYSQL[:3]
AWAITED = MYSQL[3:]


def every(cases: list[Case]) -> Callable[[Any], Any]:
    mark: Callable[[Any], Any] = pytest.mark.parametrize(
        "driven", cases, ids=[case.name for case in cases], indirect=True
    )
    return mark


each_loop = pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


def make_table(driven: Driven) -> None:
    assert isinstance(driven.place, MariaDBPlace)
    driven.place.server.execute("create or replace table app.notes (word text)")


# ── what a release has to see ───────────────────────────────────────────────────────────────────


@every(MYSQL)
async def test_a_connection_is_clean_after_a_select_an_insert_an_error_and_a_transaction(
    driven: Driven,
) -> None:
    make_table(driven)
    connection = await driven.connect()
    await ask(connection, "insert into notes values ('one'), ('two')")
    assert not driven.connector.is_broken(connection)
    assert len(await ask(connection, "select * from notes")) == 2
    assert not driven.connector.is_broken(connection)
    with pytest.raises(Exception, match="doesn't exist"):
        await ask(connection, "select nothing from nowhere")
    assert not driven.connector.is_broken(connection)
    for statement in ("begin", "commit", "select 1"):
        await ask(connection, statement)
        assert not driven.connector.is_broken(connection)
    assert driven.connector.in_transaction(connection) is False


@every(MYSQL)
async def test_a_transaction_begun_by_switching_autocommit_off_is_not_overlooked(driven: Driven) -> None:
    make_table(driven)
    connection = await driven.connect()
    await ask(connection, "set autocommit = 0")
    await ask(connection, "select * from notes")
    assert driven.connector.in_transaction(connection) is not False  # None: who asks rolls back
    await ask(connection, "insert into notes values ('x')")
    assert driven.connector.in_transaction(connection) is True


@every(BLOCKING[:2])
async def test_rows_left_unread_make_a_connection_broken(driven: Driven) -> None:
    connection = await driven.connect()
    kind: Any = pymysql.cursors.SSCursor if driven.case.name == "pymysql" else MySQLdbSSCursor
    cursor = connection.cursor(kind)
    cursor.execute("select 1 union select 2")
    assert driven.connector.is_broken(connection)
    with suppress(Exception):
        cursor.close()


async def test_rows_left_unread_make_a_connection_of_mysqlconnector_broken(maria_place: MariaDBPlace) -> None:
    connector: Any = connector_for(maria_place.url("mysql+mysqlconnector"))
    connection = connector.connect(TIMEOUT)
    cursor = connection.cursor()
    cursor.execute("select 1 union select 2")
    assert connector.is_broken(connection)
    cursor.fetchall()
    assert not connector.is_broken(connection)
    connector.close(connection)


@pytest.mark.parametrize("scheme", ["mysql", "mysql+aiomysql"])
async def test_rows_left_unread_make_an_awaited_connection_broken(
    maria_place: MariaDBPlace, scheme: str
) -> None:
    connector: Any = async_connector_for(maria_place.url(scheme))
    connection = await connector.connect(TIMEOUT)
    driver: Any = aiomysql if scheme.endswith("aiomysql") else asyncmy
    made = connection.cursor(driver.cursors.SSCursor)
    cursor = await made if hasattr(made, "__await__") else made
    await cursor.execute("select 1 union select 2")
    assert connector.is_broken(connection)
    await cursor.fetchall()
    await cursor.close()
    assert not connector.is_broken(connection)
    await connector.close(connection)


def test_an_answer_that_could_not_be_decoded_leaves_a_broken_pymysql(maria_place: MariaDBPlace) -> None:
    given: Any = connector_for(maria_place.url("mysql"))
    unreadable = {FIELD_TYPE.LONG: lambda _: 1 / 0}
    connector = PyMySQLConnector(**given._kwargs, conv=unreadable)
    connection = connector.connect(TIMEOUT)
    with pytest.raises(ZeroDivisionError), connection.cursor() as cursor:
        cursor.execute("select cast(1 as signed) union select 2")
    assert connector.is_broken(connection)
    connector.close(connection)


def test_closing_a_prepared_statement_of_mysqlconnector_breaks_nothing(maria_place: MariaDBPlace) -> None:
    connector: Any = connector_for(maria_place.url("mysql+mysqlconnector"))
    connection = connector.connect(TIMEOUT)
    cursor = connection.cursor(prepared=True)
    cursor.execute("select %s", (7,))
    assert cursor.fetchall() == [(7,)]
    cursor.close()
    assert not connector.is_broken(connection)
    connector.close(connection)


def test_asyncmy_forgets_its_cached_statements_on_reset(maria_place: MariaDBPlace) -> None:
    async def script() -> None:
        given: Any = async_connector_for(maria_place.url("mysql"))
        connector = AsyncmyConnector(**given._kwargs, stmt_cache_size=10)
        connection: Any = await connector.connect(TIMEOUT)
        for _ in range(2):
            cursor = connection.cursor()
            await cursor.execute("select %s", (7,))
            assert await cursor.fetchall() == ((7,),)
            await cursor.close()
            await connector.reset(connection)
        await connector.close(connection)

    asyncio.run(script())


# ── what runs on after its use ──────────────────────────────────────────────────────────────────


@every(AWAITED)
async def test_a_cancelled_statement_is_ended_on_the_server_when_its_connection_is_closed(
    driven: Driven,
) -> None:
    connection = await driven.connect()
    sent = asyncio.create_task(ask(connection, FOREVER))
    await asyncio.to_thread(driven.place.wait_for_statement)
    assert driven.connector.is_broken(connection)
    sent.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sent
    assert driven.connector.is_broken(connection)
    await driven.connector.close(connection)
    driven.place.wait_for_connections(0)


@every(AWAITED)
async def test_a_statement_is_cancelled_from_another_connection_and_its_own_lives_on(driven: Driven) -> None:
    connection = await driven.connect()
    sent = asyncio.create_task(ask(connection, FOREVER))
    await asyncio.to_thread(driven.place.wait_for_statement)
    await driven.connector.cancel(connection)
    with pytest.raises(Exception, match="Query execution was interrupted"):
        await sent
    assert not driven.connector.is_broken(connection)
    assert await ask(connection, "select 1") == [(1,)]


@every(BLOCKING)
async def test_cancel_ends_what_another_thread_waits_for_and_its_connection_lives_on(driven: Driven) -> None:
    connection = await driven.connect()
    ends: list[BaseException] = []

    def wait() -> None:
        cursor = connection.cursor()
        try:
            cursor.execute(FOREVER)
            cursor.fetchall()
        except Exception as error:  # noqa: BLE001 - every driver has its own
            ends.append(error)
        cursor.close()

    thread = threading.Thread(target=wait)
    thread.start()
    driven.place.wait_for_statement()
    driven.connector.cancel(connection)
    thread.join()
    assert "Query execution was interrupted" in str(ends)
    assert not driven.connector.is_broken(connection)


@every(BLOCKING)
async def test_what_another_thread_still_waits_for_is_ended_when_the_connection_is_closed(
    driven: Driven,
) -> None:
    connection = await driven.connect()
    ends: list[BaseException] = []

    def wait() -> None:
        try:
            connection.cursor().execute(FOREVER)
        except Exception as error:  # noqa: BLE001 - every driver has its own
            ends.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    driven.place.wait_for_statement()
    driven.connector.close(connection)
    thread.join()
    assert len(ends) == 1
    driven.place.wait_for_connections(0)


def test_a_pymysql_that_was_interrupted_is_ended_on_the_server(maria_place: MariaDBPlace) -> None:
    connector: Any = connector_for(f"{maria_place.url('mysql')}?read_timeout=1s")
    connection = connector.connect(TIMEOUT)
    with pytest.raises(pymysql.OperationalError, match="timed out"):
        connection.cursor().execute(FOREVER)
    assert connector.is_broken(connection)
    connector.close(connection)
    maria_place.wait_for_connections(0)


def test_nothing_is_killed_on_a_server_that_is_younger_than_the_session(maria_place: MariaDBPlace) -> None:
    connector: Any = connector_for(maria_place.url("mysql"))
    connection = connector.connect(TIMEOUT)
    before = connector._sessions[connection]
    kill(connector, Session(before.thread_id, before.since - 1e6), query_only=False)
    connection.ping(reconnect=False)
    kill(connector, before, query_only=False)
    with pytest.raises(pymysql.Error):
        connection.ping(reconnect=False)
    connector.close(connection)


@every(BLOCKING)
async def test_killing_on_a_server_that_is_not_there_is_quiet(driven: Driven) -> None:
    connection = await driven.connect()
    connector = driven.connector
    connector._kwargs = {**connector._kwargs, "port": 1}
    connector.cancel(connection)


@pytest.mark.parametrize("case", MYSQL, ids=lambda case: case.name)
async def test_a_dial_to_a_server_that_says_nothing_ends_at_its_limit(case: Case) -> None:
    class Silent:
        def url(self, scheme: str) -> str:
            host, port = listener.getsockname()
            return f"{scheme}://app:secret@{host}:{port}/app"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        connector = case.make(Silent())
        with pytest.raises(Exception, match=r"(?i)time|lost|connect|^$"):  # hangs otherwise
            await done(connector.connect(1.0))


# ── transports and loops ────────────────────────────────────────────────────────────────────────


@each_loop
@pytest.mark.parametrize("kind", [AsyncmyConnector, AiomysqlConnector])
# uvloop itself closes the socket with the loop, and says so; it hangs when that is made an error.
@pytest.mark.filterwarnings("ignore:unclosed resource:ResourceWarning")
def test_terminate_closes_a_connection_whose_loop_is_closed(
    maria_place: MariaDBPlace, make_loop: Any, kind: type[Any]
) -> None:
    connector = kind.from_url(maria_place.url("mysql"))
    with asyncio.Runner(loop_factory=make_loop) as runner:
        connection = runner.run(connector.connect(TIMEOUT))
    assert connector.fileno(connection) is None
    connector.terminate(connection)
    assert not connector.is_alive(connection)
    assert connector.is_broken(connection)
    maria_place.wait_for_connections(0)
    del connection
    gc.collect()  # a ResourceWarning here is an error


@each_loop
@pytest.mark.parametrize("kind", [AsyncmyConnector, AiomysqlConnector])
def test_terminate_from_another_thread_is_seen_by_the_running_loop(
    maria_place: MariaDBPlace, make_loop: Any, kind: type[Any]
) -> None:
    async def cut() -> None:
        asyncio.get_running_loop().set_debug(True)  # makes every call from another thread an error
        connector = kind.from_url(maria_place.url("mysql"))
        connection = await connector.connect(TIMEOUT)
        sent = asyncio.create_task(ask(connection, FOREVER))
        await asyncio.to_thread(maria_place.wait_for_statement)
        await asyncio.to_thread(connector.terminate, connection)
        with pytest.raises(Exception, match=r"(?i)lost|gone|closed|not connected"):
            await sent
        assert connector.is_broken(connection)
        await connector.close(connection)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(cut())


# ── MySQL Connector's implementation in C ───────────────────────────────────────────────────────

IN_C = """
import _mysql_connector  # before Python loads an OpenSSL that may be too old for it
import sys
import cenote

url, idle = sys.argv[1], 8
with cenote.Pool(url + "?use_pure=false", max_open=idle) as pool:
    leases = [pool.acquire() for _ in range(idle)]
    assert all(pool._hooks.fileno(lease.connection) is not None for lease in leases)
    for lease in leases:
        lease.release()
    print("idle", flush=True)
    input()
    for number in range(100):
        with pool.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(f"select {number}")
            assert cursor.fetchall() == [(number,)]
            cursor.execute("begin")
            assert pool._hooks.in_transaction(connection)
            cursor.execute("rollback")
            cursor.close()
    assert pool.stats().dead_on_acquire >= 1
print("done", flush=True)
"""


def test_mysqlconnector_in_c_survives_a_restart_under_idle_connections_too(
    make_mariadb: MakeMariaDB,
) -> None:
    server = make_mariadb()
    command = [sys.executable, "-c", IN_C, server.url("mysql+mysqlconnector")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        assert program.stdout.readline() == "idle\n"
        server.restart()
        assert program.communicate("\n")[0] == "done\n"
