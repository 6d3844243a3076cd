"""What the handle does with its pool: never more than allowed, everything given back, whatever the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

import cenote
from tests.sql.fixtures import worlds
from tests.sql.worlds import INSERT, KINDS, MAIN, MANY, World, done, each, first, using

world = worlds(MAIN)  # what is asked here is no driver's matter,
everywhere = worlds(KINDS)  # unless a test says so
End = Callable[[World, Any], Awaitable[None]]


# ── however a use ends, the connection is back ───────────────────────────────────────────────────


async def rows_read(world: World, db: Any) -> None:
    await done((await done(db.query(world.numbers(MANY)))).all())


async def rows_closed(world: World, db: Any) -> None:
    async with using(await done(db.query(world.numbers(MANY)))) as rows:
        await first(rows)


async def rows_past_their_deadline(world: World, db: Any) -> None:
    with pytest.raises(cenote.PoolTimeout):
        await done(db.query(world.slow, timeout=0.02))


async def query_failed(world: World, db: Any) -> None:
    with pytest.raises(Exception, match="nowhere"):
        await done(db.query("select name from nowhere"))


async def row_found(world: World, db: Any) -> None:
    await done(db.query_row("select name from people"))


async def no_row_found(world: World, db: Any) -> None:
    with pytest.raises(cenote.NoRows):
        await done(db.query_row("select name from things"))


async def no_time_left(world: World, db: Any) -> None:
    with pytest.raises(cenote.PoolTimeout) as caught:
        await done(db.query_row("select name from people", timeout=0))
    assert caught.value.phase == "statement"


async def executed(world: World, db: Any) -> None:
    assert (await done(db.exec(world.sql(INSERT), 1, "nut", 3))).rows_affected == 1


async def executed_many(world: World, db: Any) -> None:
    await done(db.exec_many(world.sql(INSERT), [(i, "nut", 3) for i in range(5)]))


async def executed_in_vain(world: World, db: Any) -> None:
    with pytest.raises(Exception, match=r"(?i)null"):
        await done(db.exec(world.sql(INSERT), 1, None, 3))


async def statement_queried(world: World, db: Any) -> None:
    await done((await done(db.prepare(world.numbers(MANY)).query())).all())


async def statement_failed(world: World, db: Any) -> None:
    with pytest.raises(Exception, match="nowhere"):
        await done(db.prepare("select name from nowhere").query_row())


async def committed(world: World, db: Any) -> None:
    async with using(db.begin()) as tx:
        await done(tx.exec(world.sql(INSERT), 1, "nut", 3))


async def rolled_back(world: World, db: Any) -> None:
    tx = await done(db.begin())
    await done(tx.exec(world.sql(INSERT), 1, "nut", 3))
    await done(tx.rollback())


async def failed_in_a_transaction(world: World, db: Any) -> None:
    async def work() -> None:
        async with using(db.begin()) as tx:
            await done(tx.query(world.numbers(MANY)))
            await done(tx.exec("delete from nowhere"))

    with pytest.raises(Exception, match="nowhere"):
        await work()


async def rows_of_a_transaction_left(world: World, db: Any) -> None:
    async with using(db.begin()) as tx:
        await first(await done(tx.query(world.numbers(MANY))))


async def connection_closed(world: World, db: Any) -> None:
    async with using(db.conn()) as conn:
        await first(await done(conn.query(world.numbers(MANY))))


async def driver_connection_returned(world: World, db: Any) -> None:
    async with using(db.driver_connection()):
        pass


async def pinged(world: World, db: Any) -> None:
    await done(db.ping())


ENDS: list[End] = [
    rows_read,
    rows_closed,
    rows_past_their_deadline,
    query_failed,
    row_found,
    no_row_found,
    no_time_left,
    executed,
    executed_many,
    executed_in_vain,
    statement_queried,
    statement_failed,
    committed,
    rolled_back,
    failed_in_a_transaction,
    rows_of_a_transaction_left,
    connection_closed,
    driver_connection_returned,
    pinged,
]


async def test_after_every_kind_of_end_the_connection_is_back(everywhere: World) -> None:
    db = await everywhere.open_people(max_open=1)
    for end in ENDS:
        before = db.stats().connect_count
        await end(everywhere, db)
        assert db.stats().in_use == 0, end.__name__
        assert db.stats().waiting == 0, end.__name__
        assert db.holders() == [], end.__name__
        assert await everywhere.count(db, "people") == 3, end.__name__
        await done(db.exec("delete from things"))
        if end is rows_closed and not everywhere.kind.spares:
            assert db.stats().connect_count == before + 1
        elif end is not rows_past_their_deadline:  # that one may cost the connection
            assert db.stats().connect_count == before, end.__name__


# ── as Go's tests of its pool ────────────────────────────────────────────────────────────────────


async def test_opening_connects_to_nothing_and_a_ping_does(world: World) -> None:
    db = world.open()
    assert db.stats().connect_count == 0
    await done(db.ping())
    assert db.stats().connect_count == db.stats().idle == 1


async def test_max_open_bounds_the_statements_under_way(world: World) -> None:
    db = world.open(max_open=5)
    stmt = db.prepare(world.numbers(3))

    async def ask() -> int:
        return len(await done((await done(stmt.query())).all()))

    for _ in range(2):
        assert await world.together(*[ask] * 50) == [3] * 50
    assert db.stats().open_connections <= 5
    assert db.stats().connect_count <= 5
    await world.until(lambda: not db.stats().connecting)  # dials that nobody needed in the end
    db.set_max_open_conns(2)
    assert db.stats().open_connections <= 2
    db.set_max_open_conns(5)
    db.set_max_idle_conns(0)
    assert db.stats().idle == 0


async def test_lowering_max_open_spares_who_is_at_work(world: World) -> None:
    db = world.open(max_open=3)
    conns = [await done(db.conn()) for _ in range(3)]
    db.set_max_open_conns(2)
    assert db.stats().in_use == 3
    for conn in conns:
        assert (await done(conn.query_row("select 7")))[0] == 7
        await done(conn.close())
    await done(db.ping())
    assert db.stats().open_connections == 2


async def test_no_idle_connections_means_a_new_one_each_time(world: World) -> None:
    db = world.open(max_open=1, max_idle=0, max_lifetime=None)
    for _ in range(10):
        await done((await done(db.query("select 1"))).close())
    assert db.stats().max_idle_closed == db.stats().connect_count == 10
    assert db.stats().idle == 0


async def test_one_idle_connection_serves_one_after_the_other(world: World) -> None:
    db = world.open(max_open=1, max_idle=1, max_lifetime=None)
    for _ in range(10):
        await done((await done(db.query("select 1"))).close())
    assert db.stats().max_idle_closed == 0
    assert db.stats().connect_count == 1


async def test_a_closed_handle_refuses_everything_and_does_not_hang(world: World) -> None:
    db = world.open()
    await done(db.ping())
    await done(db.close())
    await done(db.close())
    assert db.closed
    for _ in range(2):
        for use in (partial(db.query, "select 1"), partial(db.exec, "select 1"), db.begin, db.conn, db.ping):
            with pytest.raises(cenote.PoolClosed):
                await done(use())
    assert db.stats().open_connections == 0


async def test_a_handle_is_a_block_that_closes_it(world: World) -> None:
    async with using(world.open()) as db:
        await done(db.ping())
    assert db.closed


async def test_a_handle_shows_its_pool(world: World) -> None:
    db = world.open(max_open=7, name="orders")
    assert (db.name, db.options.max_open, db.stats().max_open_connections) == ("orders", 7, 7)
    db.set_conn_max_lifetime("10m")
    db.set_conn_max_idle_time(60)
    db.resize(max_open=8)
    assert (db.options.max_lifetime, db.options.max_idle_time, db.options.max_open) == (600, 60, 8)
    assert "'orders'" in repr(db)
    assert "secret" not in repr(db)


async def test_a_connector_can_be_opened_in_place_of_a_url(world: World) -> None:
    connector = world.open().pool._connector
    db = world.open(connector)
    assert (await done(db.query_row("select 7")))[0] == 7
    options = world.open(cenote.Options.from_url(world.url, max_open=3))
    assert (await done(options.query_row("select 7")))[0] == 7
    assert options.options.max_open == 3


async def test_whoever_cannot_wait_longer_leaves_the_queue_and_nothing_is_lost(world: World) -> None:
    db = world.open(max_open=2)
    held = [await done(db.conn()) for _ in range(2)]

    async def give_up() -> None:
        with pytest.raises(cenote.PoolTimeout) as caught:
            await done(db.query_row("select 1", timeout=0.01))
        assert caught.value.phase == "wait"
        assert "test_pool.py" in str(caught.value)  # the holders, in the user's own code

    await world.together(*[give_up] * 6)
    assert db.stats().waiting == 0
    assert db.stats().timeout_count == 6
    for conn in held:
        await done(conn.close())
    assert await world.together(*[partial(first_value, db, "select 7")] * 6) == [7] * 6


async def first_value(db: Any, statement: str) -> Any:
    return (await done(db.query_row(statement)))[0]


async def test_statements_with_hardly_any_time_end_one_way_or_the_other(everywhere: World) -> None:
    db = everywhere.open(max_open=3)
    stmt = db.prepare(everywhere.numbers(300))
    chance = random.Random(20160)

    async def ask(timeout: float) -> bool:
        try:
            rows = await done(stmt.query(timeout=timeout))
            await done(rows.close())
        except cenote.PoolTimeout:
            return False
        return True

    await everywhere.together(*(partial(ask, chance.random() / 300) for _ in range(60)))
    await everywhere.until(lambda: db.stats().in_use == 0)
    assert (await done(db.query_row("select 7")))[0] == 7


async def test_a_cancelled_task_gives_back_what_it_had(world: World) -> None:
    if not world.asynchronous:
        return  # a thread cannot be cancelled
    db = world.open(max_open=2, connect_timeout="10m")  # so long a rollback may take: nobody waits for one

    begun = asyncio.Event()

    async def work() -> None:
        async for _ in db.query(world.numbers(MANY)):
            async with db.begin() as tx:
                begun.set()
                await tx.query_row(world.slow)

    for _ in range(3):
        working = world.start(work)
        await begun.wait()
        begun.clear()
        assert db.stats().in_use == (2 if world.kind.holds else 1)
        working.cancel()
        await working.error()
        await world.until(lambda: db.stats().in_use == 0)
    assert (await done(db.query_row("select 7")))[0] == 7


# ── the short way of a single row, which takes no lease ──────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:.*dropped without release:ResourceWarning")
def test_an_error_that_is_kept_does_not_hide_that_the_next_user_loses_the_connection() -> None:
    with cenote.open("sqlite://", max_open=1) as db:
        with pytest.raises(cenote.NoRows) as kept:
            db.query_row("select 1 where false")
        lease = db.pool.acquire()
        del lease
        db.ping()  # waits until the pool has it back
        assert str(kept.value)
        assert db.stats().discarded == 1


def test_a_row_that_leaves_a_transaction_open_has_it_rolled_back() -> None:
    with cenote.open("sqlite://", max_open=1) as db:
        with pytest.warns(RuntimeWarning, match="rolled back"), pytest.raises(cenote.NoRows):
            db.query_row("begin")
        with db.driver_connection() as connection:
            assert not connection.in_transaction


# ── many at once ─────────────────────────────────────────────────────────────────────────────────


async def test_everything_at_once(everywhere: World) -> None:
    """Go's nine concurrent tests in one: handle, statements, transactions and their statements, at random."""
    db = await everywhere.open_people(max_open=4)
    select, change = "select name from people order by id", "update people set age = 33 where name = 'Chris'"
    query, execute = db.prepare(select), db.prepare(change)

    async def rows_of(asked: Any) -> None:
        assert [row.name async for row in each(await done(asked))] == ["Alice", "Bob", "Chris"]

    async def in_transaction(work: Callable[[Any], Awaitable[Any]]) -> None:
        async with using(db.begin()) as tx:
            await work(tx)

    uses: list[Callable[[], Any]] = [
        lambda: rows_of(db.query(select)),
        lambda: done(db.exec(change)),
        lambda: rows_of(query.query()),
        lambda: done(execute.exec()),
        lambda: in_transaction(lambda tx: rows_of(tx.query(select))),
        lambda: in_transaction(lambda tx: done(tx.exec(change))),
        lambda: in_transaction(lambda tx: rows_of(tx.stmt(query).query())),
        lambda: in_transaction(lambda tx: done(tx.stmt(execute).exec())),
    ]
    chance = random.Random(9)

    async def work(chosen: list[Callable[[], Any]]) -> None:
        for use in chosen:
            await use()

    await everywhere.together(*(partial(work, [*chance.choices(uses, k=5), *uses]) for _ in range(8)))
    assert db.stats().in_use == 0
    assert db.stats().discarded == 0
    assert db.stats().connect_count <= 4
