"""Connections the pool was not told about: what a callable returns, and PEP 249 modules."""

from __future__ import annotations

import asyncio
import functools
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import aiosqlite
import psycopg
import psycopg2
import pytest

from cenote.connector import Hooks
from cenote.drivers.callables import AsyncCallableConnector, CallableConnector
from cenote.drivers.dbapi import DBAPIConnector
from cenote.drivers.psycopg import PsycopgConnector
from cenote.errors import ConfigError
from tests.drivers.cases import TIMEOUT, Place

SECRET = "hunter2-hunter2"


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection without any protocol, and its peer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Bare:
    """The least a connection can be."""


async def open_bare() -> Bare:
    return Bare()


# ── any object ──────────────────────────────────────────────────────────────────────────────────


def test_a_bare_object_has_no_hooks_at_all() -> None:
    connector = CallableConnector(Bare)
    assert connector.hooks_for(connector.connect(TIMEOUT)) == Hooks()


def test_a_bare_object_goes_through_every_hook_unharmed() -> None:
    connector = CallableConnector(Bare)
    connection = connector.connect(TIMEOUT)
    assert connector.fileno(connection) is None
    assert connector.is_alive(connection)
    assert connector.in_transaction(connection) is False
    connector.ping(connection)
    connector.rollback(connection)
    connector.reset(connection)
    connector.terminate(connection)
    connector.close(connection)


async def test_a_bare_object_goes_through_every_awaited_hook_unharmed() -> None:
    connector = AsyncCallableConnector(open_bare)
    connection = await connector.connect(TIMEOUT)
    assert connector.in_transaction(connection) is False
    await connector.ping(connection)
    await connector.rollback(connection)
    await connector.reset(connection)
    connector.terminate(connection)
    await connector.close(connection)


def test_a_transaction_of_a_bare_object_is_refused() -> None:
    connector = CallableConnector(Bare)
    with pytest.raises(ConfigError, match=r"a Bare has no cursor\(\) and rollback\(\)"):
        connector.transaction(connector.connect(TIMEOUT))


def test_a_socket_is_asked_through_its_fileno_and_cut_off(line: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = line
    connector = CallableConnector(lambda: ours)
    assert connector.fileno(connector.connect(TIMEOUT)) == ours.fileno()
    connector.ping(ours)
    connector.terminate(ours)
    assert theirs.recv(1) == b""
    connector.close(ours)
    assert connector.fileno(ours) is None


@pytest.mark.parametrize("gone", [True, False])
def test_a_ping_without_a_protocol_trusts_only_a_quiet_socket(
    line: tuple[socket.socket, socket.socket], *, gone: bool
) -> None:
    ours, theirs = line
    connector = CallableConnector(lambda: ours)
    if gone:
        theirs.close()
    else:
        theirs.sendall(b"?")
    with pytest.raises(ConnectionError, match="something to read"):
        connector.ping(ours)


def test_the_fileno_of_a_file_is_no_socket(tmp_path: Path) -> None:
    connector = CallableConnector((tmp_path / "file").open("w").__enter__)
    connection = connector.connect(TIMEOUT)
    assert connector.fileno(connection) is None
    assert connector.is_alive(connection)
    connector.close(connection)
    assert not connector.is_alive(connection)


async def test_aclose_comes_before_close() -> None:
    closed = []

    class Both:
        async def aclose(self) -> None:
            closed.append("aclose")

        def close(self) -> None:
            closed.append("close")

    async def make() -> Both:
        return Both()

    connector = AsyncCallableConnector(make)
    await connector.close(await connector.connect(TIMEOUT))
    assert closed == ["aclose"]


def test_a_property_that_raises_is_as_good_as_none() -> None:
    class Moody:
        @property
        def closed(self) -> bool:
            raise RuntimeError

    connector = CallableConnector(Moody)
    assert connector.is_alive(connector.connect(TIMEOUT))


# ── known kinds ─────────────────────────────────────────────────────────────────────────────────


def test_a_known_drivers_connection_is_looked_after_by_its_own_connector(place: Place) -> None:
    connector = CallableConnector(lambda: psycopg.connect(place.url("postgresql")))
    connection = connector.connect(TIMEOUT)
    assert connector.hooks_for(connection) == Hooks.of(PsycopgConnector)
    connector.close(connection)


def test_so_is_that_of_a_subclass(place: Place) -> None:
    class Mine(psycopg.Connection[Any]):
        pass

    connector = CallableConnector(lambda: Mine.connect(place.url("postgresql")))
    connection = connector.connect(TIMEOUT)
    assert connector.hooks_for(connection) == Hooks.of(PsycopgConnector)
    connector.close(connection)


def test_a_broken_connection_is_never_said_to_be_in_order(place: Place) -> None:
    connector = CallableConnector(lambda: psycopg.connect(place.url("postgresql")))
    connection = connector.connect(TIMEOUT)
    thread = threading.Thread(target=lambda: _ignored(lambda: connection.execute("select pg_sleep(3600)")))
    thread.start()
    place.wait_for_statement()
    assert connector.in_transaction(connection) is None
    connector.terminate(connection)
    thread.join()
    with pytest.raises(psycopg.OperationalError):
        connector.rollback(connection)
    connector.close(connection)


def _ignored(work: Any) -> None:
    with suppress(psycopg.Error):
        work()


@pytest.mark.parametrize("isolation", [None, "DEFERRED"])
def test_sqlite3_has_transactions_in_both_of_its_modes(tmp_path: Path, isolation: Any) -> None:
    connector = CallableConnector(lambda: sqlite3.connect(tmp_path / "app.db", isolation_level=isolation))
    connection = connector.connect(TIMEOUT)
    connection.execute("create table t (n)")
    with pytest.raises(ZeroDivisionError), connector.transaction(connection):
        connection.execute(f"insert into t values ({1 // 0})")
    with connector.transaction(connection):
        connection.execute("insert into t values (1)")
        connection.execute("insert into t values (2)")
    assert connection.execute("select count(*) from t").fetchone() == (2,)
    connector.close(connection)


# ── mistakes ────────────────────────────────────────────────────────────────────────────────────


def test_a_coroutine_function_is_refused_by_the_threaded_pool() -> None:
    with pytest.raises(ConfigError, match=r"open_bare\(\) is a coroutine function; use cenote.AsyncPool"):
        CallableConnector(open_bare)


def test_so_is_a_function_that_returns_a_coroutine() -> None:
    def opens() -> object:
        return open_bare()

    connector = CallableConnector(opens)
    with pytest.raises(ConfigError, match=r"returned a coroutine; use cenote.AsyncPool"):
        connector.connect(TIMEOUT)


async def test_a_blocking_function_is_refused_by_the_async_pool_and_its_connection_closed() -> None:
    ours, theirs = socket.socketpair()
    connector: AsyncCallableConnector[Any] = AsyncCallableConnector(lambda: ours)  # type: ignore[arg-type,return-value]
    with (
        theirs,
        pytest.raises(ConfigError, match=r"returned a socket, which cannot be awaited; .*cenote.Pool"),
    ):
        await connector.connect(TIMEOUT)
    assert ours.fileno() < 0


def test_a_function_that_returns_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="returned None"):
        CallableConnector(lambda: None).connect(TIMEOUT)


async def test_a_coroutine_that_does_not_end_is_given_up_at_the_deadline() -> None:
    connector = AsyncCallableConnector(asyncio.Event().wait)
    with pytest.raises(TimeoutError):
        await connector.connect(0)


def test_a_repr_shows_no_arguments() -> None:
    connectors = [
        CallableConnector(functools.partial(psycopg.connect, password=SECRET)),
        AsyncCallableConnector(functools.partial(psycopg.AsyncConnection.connect, password=SECRET)),
        DBAPIConnector(psycopg2, password=SECRET),
    ]
    assert SECRET not in repr(connectors)


# ── PEP 249 ─────────────────────────────────────────────────────────────────────────────────────


def module(**contents: object) -> ModuleType:
    made = ModuleType("driver")
    vars(made).update(contents)
    return made


@pytest.mark.parametrize(
    "wrong", [module(), module(apilevel="1.0", connect=print), module(apilevel="2.0"), sqlite3.connect]
)
def test_what_does_not_follow_pep_249_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="does not follow PEP 249"):
        DBAPIConnector(wrong)


@pytest.mark.parametrize("safety", [0, None])
def test_a_module_that_threads_may_not_share_is_refused(safety: int | None) -> None:
    with pytest.raises(ConfigError, match=rf"threadsafety={safety}, so threads may not share it"):
        DBAPIConnector(module(apilevel="2.0", connect=print, threadsafety=safety))


class Foreign:
    """A PEP 249 connection of a driver that says nothing about itself, on a real database."""

    def __init__(self, database: Path, *, autocommit: bool = False) -> None:
        self._connection = sqlite3.connect(database, check_same_thread=False)
        self.autocommit = autocommit
        self.cursor = self._connection.cursor
        self.commit = self._connection.commit
        self.rollback = self._connection.rollback
        self.close = self._connection.close


@pytest.fixture
def foreign(tmp_path: Path) -> DBAPIConnector:
    return DBAPIConnector(module(apilevel="2.0", threadsafety=1, connect=Foreign), tmp_path / "app.db")


def test_a_driver_that_says_nothing_is_rolled_back_on_every_release(foreign: DBAPIConnector) -> None:
    connection = foreign.connect(TIMEOUT)
    connection.cursor().execute("create table t (n)")
    connection.cursor().execute("insert into t values (1)")
    assert foreign.in_transaction(connection) is None
    assert foreign.hooks_for(connection).in_transaction is None
    foreign.rollback(connection)
    assert connection.cursor().execute("select count(*) from t").fetchone() == (0,)
    foreign.close(connection)


def test_a_driver_that_says_nothing_can_still_be_pinged(foreign: DBAPIConnector) -> None:
    connection = foreign.connect(TIMEOUT)
    foreign.ping(connection)
    foreign.close(connection)
    with pytest.raises(sqlite3.ProgrammingError):
        foreign.ping(connection)


def test_a_driver_that_says_nothing_has_transactions(foreign: DBAPIConnector) -> None:
    connection = foreign.connect(TIMEOUT)
    connection.cursor().execute("create table t (n)")
    with foreign.transaction(connection):
        connection.cursor().execute("insert into t values (1)")
    with pytest.raises(ZeroDivisionError), foreign.transaction(connection):
        connection.cursor().execute(f"insert into t values ({len('two')})").execute(f"{1 // 0}")
    connection.rollback()
    assert connection.cursor().execute("select count(*) from t").fetchone() == (1,)
    foreign.close(connection)


def test_a_transaction_in_autocommit_is_refused_where_pep_249_cannot_begin_one(tmp_path: Path) -> None:
    connector = CallableConnector(lambda: Foreign(tmp_path / "app.db", autocommit=True))
    connection = connector.connect(TIMEOUT)
    with pytest.raises(ConfigError, match="Foreign is in autocommit"), connector.transaction(connection):
        pass
    connector.close(connection)


@pytest.fixture
async def asynchronous(tmp_path: Path) -> AsyncIterator[tuple[AsyncCallableConnector[Any], Any]]:
    connector = AsyncCallableConnector(lambda: aiosqlite.connect(tmp_path / "app.db"))
    connection = await connector.connect(TIMEOUT)
    yield connector, connection
    await connector.close(connection)


async def test_an_awaited_driver_is_seen_as_well(
    asynchronous: tuple[AsyncCallableConnector[Any], aiosqlite.Connection],
) -> None:
    connector, connection = asynchronous
    await connection.execute("create table t (n)")
    async with connector.transaction(connection):
        await connection.execute("insert into t values (1)")
        assert connector.in_transaction(connection) is True
    assert connector.in_transaction(connection) is False
    await connector.ping(connection)
    rows = await connection.execute_fetchall("select n from t")
    assert list(rows) == [(1,)]
