"""SQLite's databases, in files and in memory, and the threads of aiosqlite."""

from __future__ import annotations

import asyncio
import gc
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cenote.drivers import async_connector_for, connector_for
from cenote.drivers.aiosqlite import AioSQLiteConnector
from cenote.drivers.sqlite import SQLiteConnector
from cenote.errors import ConfigError
from tests.drivers.cases import TIMEOUT, ask, done

MAKERS = [connector_for, async_connector_for]
WRITERS = 8
# Runs until it is interrupted.
FOREVER = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"


def at_once(work: Callable[[int], None]) -> list[BaseException]:
    """Run the work in several threads that start together; return what went wrong."""
    errors: list[BaseException] = []
    start = threading.Barrier(WRITERS)

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - reported to the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


async def pragma(connection: Any, name: str) -> Any:
    return (await ask(connection, f"pragma {name}"))[0][0]


@pytest.mark.parametrize("make", MAKERS, ids=["sqlite3", "aiosqlite"])
async def test_a_file_gets_a_write_ahead_log_and_waits_for_locks(make: Any, tmp_path: Path) -> None:
    connector = make(f"sqlite:///{tmp_path}/app.db")
    connection = await done(connector.connect(TIMEOUT))
    found = [
        await pragma(connection, name)
        for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
    ]
    assert found == ["wal", 1, 5000, 0]
    await done(connector.close(connection))


@pytest.mark.parametrize("make", MAKERS, ids=["sqlite3", "aiosqlite"])
async def test_the_settings_can_be_chosen(make: Any, tmp_path: Path) -> None:
    connector = make(
        f"sqlite:///{tmp_path}/app.db?busy_timeout=250ms&journal_mode=DELETE&synchronous=extra&foreign_keys=on"
    )
    connection = await done(connector.connect(TIMEOUT))
    found = [
        await pragma(connection, name)
        for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
    ]
    assert found == ["delete", 3, 250, 1]
    await done(connector.close(connection))


def test_a_short_dial_does_not_shorten_the_busy_timeout(tmp_path: Path) -> None:
    connector = SQLiteConnector(tmp_path / "app.db")
    connection = connector.connect(0.5)
    assert connection.execute("pragma busy_timeout").fetchone() == (5000,)
    connector.close(connection)


def test_without_a_write_ahead_log_sqlite_keeps_its_own_synchronous(tmp_path: Path) -> None:
    connector = SQLiteConnector(tmp_path / "app.db", journal_mode="truncate")
    connection = connector.connect(TIMEOUT)
    assert connection.execute("pragma synchronous").fetchone() == (2,)
    connector.close(connection)


def test_a_relative_file_stays_the_same_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    connector = connector_for("sqlite:///app.db")
    monkeypatch.chdir(tmp_path / "two")
    connector.close(connector.connect(TIMEOUT))
    assert [path.parent.name for path in tmp_path.glob("*/app.db")] == ["one"]


def test_a_file_name_may_have_every_character(tmp_path: Path) -> None:
    connector = connector_for(f"sqlite:///{tmp_path}/a%3Fb%23c%25d%20e.db")
    connector.close(connector.connect(TIMEOUT))
    assert (tmp_path / "a?b#c%d e.db").exists()


def test_a_read_only_connection_reads_and_writes_nothing(tmp_path: Path) -> None:
    writer = SQLiteConnector(tmp_path / "app.db")
    kept = writer.connect(TIMEOUT)
    kept.execute("create table t (n)")
    reader = connector_for(f"sqlite:///{tmp_path}/app.db?mode=ro")
    connection = reader.connect(TIMEOUT)
    assert isinstance(reader, SQLiteConnector)
    with reader.transaction(connection):
        assert connection.execute("select count(*) from t").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("insert into t values (1)")
    reader.close(connection)
    writer.close(kept)


def test_a_file_that_is_not_there_is_named_in_the_error(tmp_path: Path) -> None:
    connector = connector_for(f"sqlite:///{tmp_path}/no/app.db")
    with pytest.raises(sqlite3.OperationalError, match="unable to open") as caught:
        connector.connect(TIMEOUT)
    assert caught.value.__notes__ == [f"database: {tmp_path}/no/app.db"]


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    for attempt in range(20):
        connectors = [SQLiteConnector(tmp_path / f"{attempt}.db") for _ in range(WRITERS)]
        assert at_once(lambda number, at=connectors: at[number].close(at[number].connect(TIMEOUT))) == []  # type: ignore[misc]


def test_a_file_that_stays_locked_is_reported_after_the_busy_timeout(tmp_path: Path) -> None:
    blocker = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    blocker.execute("begin exclusive")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        SQLiteConnector(tmp_path / "app.db", busy_timeout="10ms").connect(TIMEOUT)
    blocker.close()


# ── in memory ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://?foreign_keys=on"]
)
@pytest.mark.parametrize("make", MAKERS, ids=["sqlite3", "aiosqlite"])
async def test_a_database_in_memory_is_shared_and_outlives_its_connections(make: Any, url: str) -> None:
    connector = make(url)
    first = await done(connector.connect(TIMEOUT))
    await ask(first, "create table t (n)")
    await ask(first, "insert into t values (42)")
    second = await done(connector.connect(TIMEOUT))
    assert await ask(second, "select n from t") == [(42,)]
    await done(connector.close(first))
    await done(connector.close(second))
    third = await done(connector.connect(TIMEOUT))
    assert await ask(third, "select n from t") == [(42,)]
    await done(connector.close(third))


def test_each_connector_has_a_database_in_memory_of_its_own() -> None:
    one, two = connector_for("sqlite://"), connector_for("sqlite://")
    first, second = one.connect(TIMEOUT), two.connect(TIMEOUT)
    first.execute("create table t (n)")
    assert second.execute("select count(*) from sqlite_master").fetchone() == (0,)
    one.close(first)
    two.close(second)


@pytest.mark.parametrize("in_memory", [True, False])
def test_eight_threads_write_at_once_and_nobody_is_told_that_the_database_is_locked(
    tmp_path: Path, *, in_memory: bool
) -> None:
    connector = SQLiteConnector(":memory:" if in_memory else tmp_path / "app.db", busy_timeout="60s")
    kept = connector.connect(TIMEOUT)
    kept.execute("create table t (writer, n)")

    def write(writer: int) -> None:
        connection = connector.connect(TIMEOUT)
        for _ in range(25):
            with connector.transaction(connection):
                (seen,) = connection.execute("select count(*) from t").fetchone()
                connection.execute("insert into t values (?, ?)", (writer, seen))
            connection.execute("select max(n) from t").fetchone()
        connector.close(connection)

    assert at_once(write) == []
    # Each saw what all before it had written.
    assert [n for (n,) in kept.execute("select n from t order by n")] == list(range(25 * WRITERS))
    connector.close(kept)


def test_nothing_is_opened_before_the_first_connection_and_all_is_closed_with_the_connector() -> None:
    connector = SQLiteConnector()
    assert vars(connector)["_anchor"] is None
    connection = connector.connect(TIMEOUT)
    anchor = vars(connector)["_anchor"]
    connector.close(connection)
    del connector
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        anchor.execute("select 1")


# ── mistakes ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite://app.db", "write sqlite:///relative.db"),
        ("sqlite:///a#b.db", "written as %23"),
        ("sqlite:///app.db?tmeout=1s", r"unknown parameter 'tmeout' .*did you mean 'timeout'\?"),
        ("sqlite:///app.db?cache=shared", "unknown parameter 'cache'"),
        ("sqlite:///app.db?busy_timeout=5", r"busy_timeout: .*unit"),
        ("sqlite:///app.db?busy_timeout=5s&timeout=5s", "write busy_timeout alone"),
        ("sqlite:///app.db?mode=readonly", "mode: must be one of rwc, rw, ro, got 'readonly'"),
        ("sqlite:///app.db?journal_mode=none", "journal_mode: must be one of wal"),
        ("sqlite:///app.db?synchronous=2", "synchronous: must be one of off"),
        ("sqlite:///app.db?foreign_keys=maybe", "foreign_keys: must be on or off, got 'maybe'"),
        ("sqlite:///app.db?cached_statements=-1", "cached_statements: must be a whole number"),
        ("sqlite://?mode=ro", "a new database in memory is empty"),
    ],
)
@pytest.mark.parametrize("make", MAKERS, ids=["sqlite3", "aiosqlite"])
def test_a_mistake_in_the_url_is_named_with_its_remedy(make: Any, url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make(url)


def test_an_empty_file_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty name"):
        SQLiteConnector("")


def test_the_parameter_timeout_is_the_busy_timeout() -> None:
    connector = connector_for("sqlite://?timeout=7s")
    connection = connector.connect(TIMEOUT)
    assert connection.execute("pragma busy_timeout").fetchone() == (7000,)
    connector.close(connection)


# ── threads ─────────────────────────────────────────────────────────────────────────────────────


def test_terminate_interrupts_a_statement_of_another_thread() -> None:
    connector = SQLiteConnector()
    connection = connector.connect(TIMEOUT)
    running = threading.Event()
    errors: list[sqlite3.Error] = []

    def run() -> None:
        connection.set_progress_handler(running.set, 1000)
        try:
            connection.execute(FOREVER).fetchall()
        except sqlite3.Error as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    running.wait()
    connector.terminate(connection)
    thread.join()
    assert str(errors[0]) == "interrupted"
    connector.close(connection)


async def busy(connector: AioSQLiteConnector) -> tuple[Any, asyncio.Task[Any]]:
    """Open a connection and have its thread work on something endless."""
    connection = await connector.connect(TIMEOUT)
    running = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        loop.call_soon_threadsafe(running.set)

    await connection.set_progress_handler(tell, 1000)
    task = asyncio.create_task(ask(connection, FOREVER))
    await running.wait()
    return connection, task


async def test_closing_aiosqlite_ends_its_thread() -> None:
    connector = AioSQLiteConnector()
    connection = await connector.connect(TIMEOUT)
    assert connection._thread.is_alive()
    await connector.close(connection)
    assert not connection._thread.is_alive()


async def test_aiosqlite_is_broken_while_its_thread_works_on_a_cancelled_statement() -> None:
    connector = AioSQLiteConnector()
    connection, task = await busy(connector)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connector.is_broken(connection)
    await connector.close(connection)  # interrupts it, or this would not return
    assert not connection._thread.is_alive()


async def test_aiosqlite_that_is_terminated_fails_its_statement_and_ends_its_thread() -> None:
    connector = AioSQLiteConnector()
    connection, task = await busy(connector)
    await asyncio.to_thread(connector.terminate, connection)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await task
    connection._thread.join()
    assert connector.is_broken(connection)
    assert not connector.is_alive(connection)


def test_aiosqlite_can_be_terminated_when_its_loop_is_closed() -> None:
    connector = AioSQLiteConnector()
    connection = asyncio.run(connector.connect(TIMEOUT))
    connector.terminate(connection)
    connection._thread.join()
    assert connection._connection is None


def test_aiosqlite_can_be_terminated_when_its_loop_was_closed_during_a_statement() -> None:
    connector = AioSQLiteConnector()

    async def leave() -> Any:
        return (await busy(connector))[0]

    connection = asyncio.run(leave())
    connector.terminate(connection)
    connection._thread.join()


class Telling(AioSQLiteConnector):
    """Shows what it has opened."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opened: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    def open(self, timeout: float) -> sqlite3.Connection:
        connection = super().open(timeout)
        self.opened.put(connection)
        return connection


async def dialing(connector: Telling) -> tuple[asyncio.Task[Any], threading.Thread]:
    """Begin a dial."""
    before = set(threading.enumerate())
    dial = asyncio.create_task(connector.connect(TIMEOUT))
    await asyncio.sleep(0)
    new = set(threading.enumerate()) - before
    (thread,) = [one for one in new if not one.name.startswith("cenote-")]  # but for other pools' workers
    return dial, thread


async def gives_up(dial: asyncio.Task[Any]) -> None:
    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial


def assert_closed(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("select 1")


async def test_a_dial_of_aiosqlite_cancelled_while_it_opens_leaves_neither_thread_nor_connection(
    tmp_path: Path,
) -> None:
    blocker = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    blocker.execute("begin exclusive")
    connector = Telling(tmp_path / "app.db")
    dial, thread = await dialing(connector)
    await gives_up(dial)
    blocker.close()
    thread.join()
    assert_closed(connector.opened.get())


async def test_a_dial_of_aiosqlite_cancelled_when_it_has_just_opened_leaves_neither() -> None:
    connector = Telling()
    dial, thread = await dialing(connector)
    connection = connector.opened.get()  # the loop stands still meanwhile, and learns of nothing
    await gives_up(dial)
    thread.join()
    assert_closed(connection)


async def test_an_aiosqlite_connection_left_open_does_not_keep_the_interpreter_from_exiting() -> None:
    connector = AioSQLiteConnector()
    connection = await connector.connect(TIMEOUT)
    assert connection._thread.daemon
    await connector.close(connection)


def test_a_closed_connection_holds_no_lock_though_a_cursor_of_it_lives(tmp_path: Path) -> None:
    connector = SQLiteConnector(tmp_path / "app.db", busy_timeout=0)
    first, second = connector.connect(1), connector.connect(1)
    first.execute("create table orders (id integer)")
    first.execute("begin immediate")
    first.executemany("insert into orders values (?)", [(1,), (2,)])
    cursor = first.execute("select * from orders")
    cursor.fetchone()
    connector.close(first)
    second.execute("insert into orders values (3)")
    assert second.execute("select count(*) from orders").fetchone() == (1,)
    del cursor
    connector.close(second)


async def test_a_closed_connection_holds_no_lock_though_a_cursor_of_it_lives_in_asyncio(
    tmp_path: Path,
) -> None:
    connector = AioSQLiteConnector(tmp_path / "app.db", busy_timeout=0)
    first, second = await connector.connect(1), await connector.connect(1)
    await first.execute("create table orders (id integer)")
    await first.execute("begin immediate")
    await first.executemany("insert into orders values (?)", [(1,), (2,)])
    cursor = await first.execute("select * from orders")
    await cursor.fetchone()
    await connector.close(first)
    await second.execute("insert into orders values (3)")
    del cursor
    await connector.close(second)
