"""What a connector has to do for a pool."""

from __future__ import annotations

import os
import stat
import threading
import warnings
from inspect import iscoroutinefunction
from typing import Any

from .. import _asyncio, _threads
from ..connector import AsyncConnector, Connector
from ._contract import CheckList, Raises, Trial, block, collector, done, expect, same

CHECKS: CheckList = []
needs = collector(CHECKS)

_TALKING = ("close", "ping", "rollback", "reset")
_QUIET = ("fileno", "is_alive", "is_clean", "is_broken", "in_transaction", "terminate")


def pool_of(trial: Trial, **options: Any) -> Any:
    """Open a pool on the connector."""
    return (_asyncio.AsyncPool if trial.asynchronous else _threads.Pool)(trial.connector, **options)


def in_good_order(trial: Trial, connection: Any, when: str) -> None:
    """Look at a connection as the pool does on release and on acquire."""
    hooks = trial.hooks
    expect(hooks.is_alive is None or hooks.is_alive(connection), f"{when} is_alive() must be true")
    expect(hooks.is_broken is None or not hooks.is_broken(connection), f"{when} is_broken() must be false")
    is_open = hooks.in_transaction is not None and hooks.in_transaction(connection)
    expect(not is_open, f"{when} in_transaction() must be False, or None if nobody can tell")


def distrusted(trial: Trial, connection: Any, when: str) -> None:
    """See that the pool would not hand this connection out."""
    hooks = trial.hooks
    expect(hooks.is_alive is None or not hooks.is_alive(connection), f"{when} is_alive() must be false")
    expect(hooks.is_broken is None or hooks.is_broken(connection), f"{when} is_broken() must be true")
    expect(hooks.is_clean is None or not hooks.is_clean(connection), f"{when} is_clean() must be false")


@needs()
async def it_is_a_connector_for_one_world(trial: Trial) -> None:
    kind = AsyncConnector if trial.asynchronous else Connector
    expect(isinstance(trial.connector, kind), "it must have connect(timeout) and close(connection)")
    for name in _QUIET:
        hook = getattr(trial.connector, name, None)
        expect(not iscoroutinefunction(hook), f"{name} talks to nobody, so it must be a plain function")
    for name in _TALKING:
        hook = getattr(trial.connector, name, None)
        if not trial.asynchronous:
            expect(not iscoroutinefunction(hook), f"{name} must be a plain function, as connect is")


@needs()
async def its_repr_shows_no_password(trial: Trial) -> None:
    shown = repr(trial.connector)
    for name in ("password", "secret"):
        expect(f"{name}=" not in shown or f"{name}=***" in shown, f"repr must hide the {name}: {shown}")


@needs()
async def a_fresh_connection_is_in_good_order(trial: Trial) -> None:
    in_good_order(trial, await trial.connect(), "after connect")


@needs("ping")
async def a_ping_leaves_no_state(trial: Trial) -> None:
    connection = await trial.connect()
    await done(trial.connector.ping(connection))
    in_good_order(trial, connection, "after ping")


@needs("ping")
async def a_ping_of_a_closed_connection_raises(trial: Trial) -> None:
    connection = await trial.connect()
    await done(trial.connector.close(connection))
    async with Raises("ping of a closed connection"):
        await done(trial.connector.ping(connection))


@needs()
async def a_closed_connection_is_not_trusted(trial: Trial) -> None:
    connection = await trial.connect()
    await done(trial.connector.close(connection))
    distrusted(trial, connection, "after close")


@needs()
async def closing_twice_is_harmless(trial: Trial) -> None:
    connection = await trial.connect()
    await done(trial.connector.close(connection))
    await done(trial.connector.close(connection))


@needs("fileno")
async def its_fileno_is_a_socket_until_it_is_closed(trial: Trial) -> None:
    connection = await trial.connect()
    number = trial.connector.fileno(connection)
    if number is None:  # it may have none, such as a file
        return
    expect(stat.S_ISSOCK(os.fstat(number).st_mode), "fileno() must give a socket")
    await done(trial.connector.close(connection))
    expect(trial.connector.fileno(connection) in (None, -1), "after close fileno() must give None")


@needs("terminate")
async def terminate_from_another_thread_cuts_it_off(trial: Trial) -> None:
    connection = await trial.connect()
    for _ in range(2):  # what is cut off already takes no harm
        thread = threading.Thread(target=trial.connector.terminate, args=(connection,))
        thread.start()
        thread.join()
    if "ping" in trial.traits() and trial.hooks.fileno and trial.hooks.fileno(connection) is not None:
        async with Raises("ping of a terminated connection"):
            await done(trial.connector.ping(connection))
    await done(trial.connector.close(connection))
    trial.connector.terminate(connection)


@needs("rollback")
async def rolling_back_nothing_is_harmless(trial: Trial) -> None:
    connection = await trial.connect()
    await done(trial.connector.rollback(connection))
    in_good_order(trial, connection, "after rollback")


@needs("dialect", "rollback")
async def a_transaction_left_open_is_seen_and_rolled_back(trial: Trial) -> None:
    db = await trial.table()
    connection = await trial.connect()
    await _leave_open(trial, connection)
    clean = trial.hooks.is_clean is not None and trial.hooks.is_clean(connection)
    expect(not clean, "in a transaction is_clean() must be false")
    told = None if trial.hooks.in_transaction is None else trial.hooks.in_transaction(connection)
    expect(told is not False, "in a transaction in_transaction() must not be False")
    await done(trial.connector.rollback(connection))
    in_good_order(trial, connection, "after rollback")
    same(await trial.words(db), [], "the rows after rollback")


async def _leave_open(trial: Trial, connection: Any) -> None:
    assert trial.dialect is not None
    await trial.steps(trial.dialect.begin(connection, None, read_only=False))
    await trial.ask(connection, trial.sql("insert into {table} values (1, 'left open')"))


@needs("dialect", "rollback")
async def a_pool_rolls_back_what_was_left_open(trial: Trial) -> None:
    db = await trial.table()
    pool = pool_of(trial, max_open=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the pool names who left it open
            async with block(pool.connection()) as connection:
                await _leave_open(trial, connection)
        same(await trial.words(db), [], "the rows after release")
        expect(pool.stats().in_use == 0, "a released connection must not be in use")
    finally:
        await done(pool.close())


@needs("dialect", "rollback")
async def after_a_failed_statement_a_connection_can_be_brought_into_order(trial: Trial) -> None:
    connection = await trial.connect()
    async with Raises("a statement that the server refuses"):
        await trial.ask(connection, trial.subject.failing)
    expect(trial.hooks.is_broken is None or not trial.hooks.is_broken(connection), "it is not broken")
    await done(trial.connector.rollback(connection))
    in_good_order(trial, connection, "after a failed statement and rollback")


@needs("reset")
async def reset_leaves_it_in_good_order(trial: Trial) -> None:
    connection = await trial.connect()
    await done(trial.connector.reset(connection))
    in_good_order(trial, connection, "after reset")


@needs("transaction", "dialect")
async def its_transaction_block_commits(trial: Trial) -> None:
    db = await trial.table()
    connection = await trial.connect()
    async with block(trial.connector.transaction(connection)):
        await _insert(trial, connection)
    in_good_order(trial, connection, "after a transaction block")
    same(await trial.words(db), ["in a block"], "the rows after a transaction block")


@needs("transaction", "dialect")
async def its_transaction_block_rolls_back_on_an_error_and_lets_it_through(trial: Trial) -> None:
    db = await trial.table()
    connection = await trial.connect()
    async with (
        Raises("a transaction block that fails", ZeroDivisionError),
        block(trial.connector.transaction(connection)),
    ):
        await _insert(trial, connection)
        raise ZeroDivisionError
    in_good_order(trial, connection, "after a transaction block that failed")
    same(await trial.words(db), [], "the rows after a transaction block that failed")


async def _insert(trial: Trial, connection: Any) -> None:
    """Execute without a commit of the dialect's own: the block has to do that."""
    cursor = getattr(connection, "cursor", None)
    statement = trial.sql("insert into {table} values (1, 'in a block')")
    if cursor is None or not hasattr(connection, "commit"):
        await trial.ask(connection, statement)
        return
    opened = await done(cursor())
    await done(opened.execute(statement))
    await done(opened.close())


@needs()
async def a_pool_uses_a_connection_again(trial: Trial) -> None:
    pool = pool_of(trial, max_open=1)
    try:
        for _ in range(3):
            async with block(pool.connection()):
                pass
        expect(pool.stats().connect_count == 1, "an idle connection in good order must be used again")
    finally:
        await done(pool.close())


@needs()
async def a_pool_closes_what_it_has(trial: Trial) -> None:
    pool = pool_of(trial, max_open=1)
    async with block(pool.connection()) as connection:
        pass
    await done(pool.close())
    expect(pool.stats().open_connections == 0, "a closed pool must have no connection")
    distrusted(trial, connection, "after the pool was closed")


@needs("end", "ping")
async def a_ping_of_a_connection_that_the_server_ended_raises(trial: Trial) -> None:
    connection = await trial.connect()
    _end(trial)
    async with Raises("ping of a connection that the server has ended"):
        await done(trial.connector.ping(connection))
    expect(trial.hooks.is_broken is None or trial.hooks.is_broken(connection), "then it must be broken")


@needs("end")
async def closing_a_connection_that_the_server_ended_is_quiet(trial: Trial) -> None:
    connection = await trial.connect()
    _end(trial)
    await done(trial.connector.close(connection))


@needs("end", "ping")
async def a_pool_replaces_a_connection_that_the_server_ended(trial: Trial) -> None:
    pool = pool_of(trial, max_open=1, ping_after=0)
    try:
        await done(pool.ping())
        _end(trial)
        await done(pool.ping())
        expect(pool.stats().connect_count > 1, "the dead connection must be replaced")
    finally:
        await done(pool.close())


def _end(trial: Trial) -> None:
    assert trial.subject.end is not None
    trial.subject.end()
