"""Transactions on a scripted driver: what happens when two want the same one, and when its end goes wrong."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import pytest

import cenote
from cenote import _asyncio, _threads
from cenote.sql import _held
from tests.sql.scripted import Scripted
from tests.sql.worlds import done, using


class Trouble(Exception):
    """What a user's code raises inside a block."""


async def test_whoever_comes_while_a_statement_is_under_way_is_told(scripted: Scripted) -> None:
    db = scripted.open()
    tx = await done(db.begin())
    working = await scripted.held("execute", partial(tx.exec, "update"))
    for use in (partial(tx.exec, "update"), partial(tx.query, "select"), tx.commit):
        with pytest.raises(cenote.Error, match="two threads or tasks at once"):
            await done(use())
    scripted.release("execute")
    assert (await working.result()).rows_affected == 1
    await done(tx.commit())
    assert scripted.connector.connections[0].log == ["begin", "execute", "commit"]


async def test_a_rollback_while_a_statement_is_under_way_ends_the_connection(scripted: Scripted) -> None:
    db = scripted.open()
    tx = await done(db.begin())
    working = await scripted.held("execute", partial(tx.exec, "update"))
    await done(tx.rollback())
    assert tx.done
    assert db.stats().discarded == 1
    assert "rollback" not in scripted.connector.connections[0].log
    scripted.release("execute")
    await working.error()
    assert db.stats().in_use == 0


@pytest.mark.parametrize("work", ["exec", "query"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_connection_that_dies_at_the_end_is_closed_and_its_error_is_raised(
    scripted: Scripted, work: str, end: str
) -> None:
    db = scripted.open(max_open=1)
    tx = await done(db.begin())
    await done(getattr(tx, work)("statement"))
    gone = ConnectionResetError("the server has gone")
    for point in ("commit", "rollback"):
        scripted.dialect.controls[point].fail(gone)
    if end == "commit":
        with pytest.raises(ConnectionResetError, match="server has gone") as caught:
            await done(tx.commit())
        assert caught.value is gone
    else:  # what was not committed is undone by the server; there is nothing to tell
        await done(tx.rollback())
    assert tx.done
    assert db.stats().discarded == 1
    scripted.dialect.controls["commit"].succeed()
    scripted.dialect.controls["rollback"].succeed()
    assert (await done(db.exec("update"))).rows_affected == 1
    assert scripted.connector.peak == 1


async def test_a_commit_that_fails_is_rolled_back(scripted: Scripted) -> None:
    db = scripted.open(max_open=1)
    tx = await done(db.begin())
    scripted.fail("commit", ValueError("a deferred constraint"))
    with pytest.raises(ValueError, match="deferred"):
        await done(tx.commit())
    assert scripted.connector.connections[0].log == ["begin", "commit", "rollback"]
    assert db.stats().idle == 1
    with pytest.raises(cenote.TxDone, match="its commit failed"):
        await done(tx.rollback())


async def test_a_beginning_that_fails_gives_the_connection_back(scripted: Scripted) -> None:
    db = scripted.open(max_open=1)
    scripted.fail("begin", ValueError("not now"))
    with pytest.raises(ValueError, match="not now"):
        await done(db.begin())
    assert db.stats().in_use == 0
    assert await done(db.query_row("select")) == (1, "Alice")
    assert scripted.connector.connections[0].log == ["begin", "rollback", "query"]  # it may have begun


async def test_dead_connections_are_replaced_before_a_transaction_begins(scripted: Scripted) -> None:
    db = scripted.open()
    await done(db.ping())
    scripted.break_all()
    async with using(db.begin()) as tx:
        await done(tx.exec("update"))
    assert [one.log for one in scripted.connector.connections] == [
        ["ping", "close"],
        ["begin", "execute", "commit"],
    ]


async def expire(scripted: Scripted, tx: Any) -> Any:
    """Have its deadline's alarm go off."""
    return await (run_task if scripted.asynchronous else run_thread)(_held.expire(tx))


async def run_thread(steps: Any) -> Any:
    return _threads.run(steps)


async def run_task(steps: Any) -> Any:
    return await _asyncio.run(steps)


async def test_a_deadline_does_not_pull_a_statement_out_of_its_transaction(scripted: Scripted) -> None:
    db = scripted.open(max_open=1)
    tx = await done(db.begin(timeout=60))
    working = await scripted.held("execute", partial(tx.exec, "update"))
    assert not await expire(scripted, tx)
    assert not tx.done
    scripted.release("execute")
    assert (await working.result()).rows_affected == 1
    assert await expire(scripted, tx)
    with pytest.raises(cenote.TxDone, match="its deadline passed"):
        await done(tx.commit())
    assert scripted.connector.connections[0].log == ["begin", "execute", "rollback"]
    assert db.stats().idle == 1


async def test_a_block_whose_deadline_passed_does_not_end_as_if_nothing_was(
    scripted: Scripted,
) -> None:
    db = scripted.open()

    async def work(error: BaseException | None) -> None:
        async with using(db.begin(timeout=60)) as tx:
            await expire(scripted, tx)
            if error is not None:
                raise error

    with pytest.raises(cenote.PoolTimeout, match="its deadline passed, so it was rolled back") as caught:
        await work(None)
    assert caught.value.phase == "statement"
    with pytest.raises(Trouble):
        await work(Trouble())
    assert db.stats().in_use == 0


async def test_whoever_rolls_back_first_a_transaction_is_rolled_back_once(scripted: Scripted) -> None:
    db = scripted.open(max_open=1)
    for _ in range(20):
        tx = await done(db.begin(timeout=60))

        async def roll_back(tx: Any = tx) -> None:
            with suppress(cenote.TxDone):
                await done(tx.rollback())

        await scripted.together(roll_back, partial(expire, scripted, tx), roll_back)
        assert tx.done
    (connection,) = scripted.connector.connections
    assert connection.log == ["begin", "rollback"] * 20
