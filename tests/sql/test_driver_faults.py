"""A driver that raises at any point: nobody hangs, no place is lost, no half conversation is passed on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

import cenote
from cenote.sql import _limits
from tests.patience import SAFETY, growing
from tests.sql.scripted import Point, Scripted
from tests.sql.worlds import done, using


class Panic(BaseException):
    """What is no `Exception`, as a KeyboardInterrupt is none."""


Use = Callable[[Any], Coroutine[Any, Any, Any]]


async def query(db: Any) -> Any:
    return await done((await done(db.query("select"))).all())


async def query_and_leave(db: Any) -> None:
    await done((await done(db.query("select"))).close())


async def query_row(db: Any) -> Any:
    return await done(db.query_row("select"))


async def execute(db: Any) -> Any:
    return await done(db.exec("update"))


async def execute_many(db: Any) -> Any:
    return await done(db.exec_many("update", [(1,), (2,)]))


async def prepare(db: Any) -> None:
    await done(db.prepare("select").close())
    await query_row(db)


async def statement_query(db: Any) -> Any:
    return await done((await done(db.prepare("select").query())).all())


async def statement_execute(db: Any) -> Any:
    return await done(db.prepare("update").exec())


async def transaction(db: Any) -> None:
    async with using(db.begin()) as tx:
        await done(tx.exec("update"))


async def rolled_back(db: Any) -> None:
    tx = await done(db.begin())
    await done(tx.rollback())


async def connection(db: Any) -> None:
    async with using(db.conn()) as conn:
        await query_row(conn)


async def ping(db: Any) -> None:
    await done(db.ping())


POINTS: list[tuple[Point, Use]] = [
    ("query", query),
    ("query", query_row),
    ("query", connection),
    ("query", statement_query),
    ("fetch", query),
    ("execute", execute),
    ("execute", execute_many),
    ("execute", statement_execute),
    ("execute", transaction),
    ("begin", transaction),
    ("commit", transaction),
]


async def fails(use: Use, db: Any, kind: type[BaseException]) -> BaseException:
    with pytest.raises(kind) as caught:
        await use(db)
    return caught.value


@pytest.mark.parametrize(("point", "use"), POINTS)
async def test_a_panic_in_the_driver_goes_through_and_nobody_hangs(
    scripted: Scripted, point: Point, use: Use
) -> None:
    db = scripted.open(max_open=1, timeout=SAFETY)
    await use(db)
    panic = Panic()
    scripted.fail(point, panic)
    error = await fails(use, db, BaseException)
    assert error is panic
    assert db.stats().in_use == 0
    for works in (use, execute, query_row):
        await works(db)
    assert scripted.connector.peak == 1


@pytest.mark.parametrize(("point", "use"), POINTS)
async def test_an_error_of_the_driver_is_raised_as_it_is_and_the_connection_stays(
    scripted: Scripted, point: Point, use: Use
) -> None:
    db = scripted.open(max_open=1, timeout=SAFETY)
    error = ValueError("as it is")
    scripted.fail(point, error)
    assert await fails(use, db, Exception) is error
    assert db.stats().in_use == 0
    await use(db)
    assert len(scripted.connector.connections) == 1


@pytest.mark.parametrize("use", [query_and_leave, rolled_back])
@pytest.mark.parametrize("point", ["finish", "rollback"])
async def test_what_goes_wrong_when_something_is_given_up_costs_the_connection(
    scripted: Scripted, point: Point, use: Use
) -> None:
    db = scripted.open(max_open=1, timeout=SAFETY)
    scripted.fail(point, ValueError("cannot tidy"))
    await use(db)
    concerned = (point == "finish") == (use is query_and_leave)
    assert db.stats().discarded == int(concerned)
    await execute(db)
    assert scripted.connector.peak == 1


RECONNECT: list[tuple[Point, Use]] = [
    ("execute", execute),
    ("execute", execute_many),
    ("query", query),
    ("query", query_row),
    ("query", prepare),
    ("query", connection),
    ("execute", statement_execute),
    ("query", statement_query),
    ("begin", transaction),
]


@pytest.mark.parametrize(("point", "use"), RECONNECT)
async def test_a_connection_that_dies_under_a_statement_is_replaced_and_nothing_is_sent_twice(
    scripted: Scripted, point: Point, use: Use
) -> None:
    db = scripted.open(max_open=1)
    await done(db.ping())
    died = ConnectionResetError("gone")
    scripted.connector.connections[0].alive = True
    control = scripted.dialect.controls[point]
    using_it = await scripted.held(point, partial(use, db))
    scripted.connector.connections[0].broken = True
    control.step(died)
    assert await using_it.error() is died
    control.release()
    assert control.count == 1
    assert db.stats().discarded == 1
    await use(db)
    assert len(scripted.connector.connections) == 2


MANY_DEAD: list[Use] = [
    query,
    query_row,
    execute,
    transaction,
    prepare,
    statement_execute,
    statement_query,
    connection,
    ping,
]


@pytest.mark.parametrize("use", MANY_DEAD)
async def test_however_many_idle_connections_are_dead_nobody_meets_them(scripted: Scripted, use: Use) -> None:
    db = scripted.open(max_open=4)
    conns = [await done(db.conn()) for _ in range(4)]
    for conn in conns:
        await done(conn.close())
    scripted.break_all()
    await use(db)
    assert db.stats().in_use == 0
    assert db.stats().dead_on_acquire >= 1
    assert scripted.connector.peak <= 4


async def test_a_connection_is_given_back_once(scripted: Scripted) -> None:
    db = scripted.open(max_open=2)
    conn = await done(db.conn())
    await scripted.together(*[partial(close, conn)] * 8)
    tx = await done(db.begin())
    await scripted.together(*[partial(end, tx)] * 8)
    rows = await done(db.query("select"))
    await scripted.together(*[partial(close, rows)] * 8)
    shelf = [slot for lane in db.pool._core.lanes.values() for slot in lane.idle]
    assert len(shelf) == len(set(shelf)) == db.stats().idle == db.stats().open_connections
    async with using(db.conn()) as one, using(db.conn()) as other:
        assert one.driver_connection is not other.driver_connection


async def close(what: Any) -> None:
    try:
        await done(what.close())
    except cenote.Error as error:
        if "two threads or tasks at once" not in str(error):
            raise


async def end(tx: Any) -> None:
    try:
        await done(tx.rollback())
    except cenote.TxDone:
        return


async def test_a_driver_whose_columns_are_wrong_hurts_nobody_else(scripted: Scripted) -> None:
    db = scripted.open(max_open=1)
    scripted.dialect.results = [[(1,)]]
    rows = await done(db.query("select"))
    assert (await done(rows.all()))[0].id == 1
    scripted.dialect.results = [[]]
    with pytest.raises(cenote.NoRows):
        await query_row(db)
    assert await query(db) == []
    assert db.stats().in_use == 0


async def test_a_dial_that_fails_once_is_tried_again_for_the_same_caller(scripted: Scripted) -> None:
    db = scripted.open(max_open=1)
    scripted.connector.connecting.fail(ConnectionRefusedError("not yet"))
    assert await query_row(db) == (1, "Alice")
    assert (db.stats().connect_errors, db.stats().connect_count) == (1, 1)


async def cancelled(scripted: Scripted, outcome: BaseException | None) -> Any:
    """Have a statement run into its deadline, and end in some way once the server was asked to stop it."""
    db = scripted.open(max_open=1)
    query_ = scripted.dialect.controls["query"]
    query_.hold()

    async def ask(deadline: float) -> Any:
        return await done(db.query_row("select", timeout=deadline))

    def decided() -> bool:
        return asking.over or scripted.dialect.cancelled.count == 1

    for deadline in growing(0.01):
        asking = scripted.start(partial(ask, deadline))
        await scripted.until(decided)
        if not asking.over:  # else its time was up before it was sent
            break
    query_.step(outcome)
    query_.release()
    return db, asking


async def test_a_statement_that_the_server_has_stopped_keeps_its_connection(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_limits, "GRACE", SAFETY)
    db, asking = await cancelled(scripted, InterruptedError("stopped as asked"))
    error = await asking.error()
    assert isinstance(error, cenote.PoolTimeout)
    assert isinstance(error.__cause__, InterruptedError)
    assert scripted.connector.connections[0].log == ["query", "cancel"]
    assert (db.stats().discarded, db.stats().idle) == (0, 1)


@pytest.mark.parametrize("outcome", [None, ValueError("something else")])
async def test_a_connection_on_which_a_cancel_request_may_still_hit_is_closed(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, outcome: BaseException | None
) -> None:
    monkeypatch.setattr(_limits, "GRACE", SAFETY)
    db, asking = await cancelled(scripted, outcome)
    if outcome is None:
        assert await asking.result() == (1, "Alice")  # it was done in the last moment
    else:
        assert isinstance(await asking.error(), cenote.PoolTimeout)
    assert db.stats().discarded == 1
    assert await query_row(db) == (1, "Alice")
    assert len(scripted.connector.connections) == 2
