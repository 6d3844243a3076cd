"""Rows: they are read once, let go of their connection as early as they can, and never stop short."""

from __future__ import annotations

import re

import pytest

import cenote
from tests.sql.scripted import Scripted
from tests.sql.worlds import MANY, NO_TABLE, PEOPLE, World, done, each, first, using


async def test_a_query_returns_its_rows_in_order(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select * from people order by id"))
    assert [(*row[:3], bytes(row.photo)) async for row in each(rows)] == PEOPLE
    assert db.stats().in_use == 0
    assert db.stats().idle == 1


async def test_all_rows_are_a_list(world: World) -> None:
    db = await world.open_people()
    assert await done((await done(db.query("select name from people order by id"))).all()) == [
        ("Alice",),
        ("Bob",),
        ("Chris",),
    ]


async def test_a_query_without_rows_is_an_empty_list(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select name from people where id > 3"))
    assert [column.name for column in rows.columns] == ["name"]
    assert await done(rows.all()) == []


async def test_parameters_take_the_driver_s_own_placeholders(world: World) -> None:
    db = await world.open_people()
    statement = world.sql("select name from people where age > ? and id < ? order by id")
    assert await done((await done(db.query(statement, 31, 3))).all()) == [("Bob",)]


async def test_one_mapping_stands_for_named_parameters(world: World) -> None:
    db = await world.open_people()
    if world.kind.named is None:
        return  # the driver knows parameters by their numbers only
    statement = world.named("select name, age from people where name = :name and age = :age")
    assert tuple(await done(db.query_row(statement, {"age": 32, "name": "Bob"}))) == ("Bob", 32)


async def test_a_small_result_has_given_its_connection_back_before_its_first_row_is_read(
    world: World,
) -> None:
    db = await world.open_people(max_open=1)
    rows = await done(db.query("select name from people order by id"))
    assert db.stats().in_use == 0
    assert await world.count(db, "people") == 3  # there is but one connection
    assert len(await done(rows.all())) == 3


async def test_a_large_result_keeps_its_connection_until_it_is_read(world: World) -> None:
    db = world.open()
    rows = await done(db.query(world.numbers(MANY)))
    assert db.stats().in_use == int(world.kind.holds)
    assert [row.i async for row in each(rows)] == list(range(1, MANY + 1))
    assert db.stats().in_use == 0
    assert db.stats().discarded == 0


@pytest.mark.parametrize("last", [1, 3, MANY])
async def test_closing_rows_early_gives_the_connection_back(world: World, last: int) -> None:
    db = world.open(max_open=1)
    async with using(await done(db.query(world.numbers(last)))) as rows:
        assert await first(rows) == [(1,)]
    assert db.stats().in_use == 0
    assert (await done(db.query_row("select 7")))[0] == 7  # and nothing of the rest lies on it


async def test_rows_are_read_once(world: World) -> None:
    db = world.open()
    rows = await done(db.query(world.numbers(MANY)))
    assert len(await done(rows.all())) == MANY
    with pytest.raises(cenote.RowsClosed, match="read to the end"):
        await done(rows.all())
    await done(rows.close())
    await done(rows.close())


async def test_an_empty_result_too_is_read_once(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select id from things"))
    assert await done(rows.all()) == []
    with pytest.raises(cenote.RowsClosed, match="read to the end"):
        await done(rows.all())


@pytest.mark.parametrize("last", [3, MANY])
async def test_closed_rows_cannot_be_read(world: World, last: int) -> None:
    db = world.open()
    rows = await done(db.query(world.numbers(last)))
    await done(rows.close())
    await done(rows.close())
    with pytest.raises(cenote.RowsClosed, match="are closed"):
        await done(rows.all())
    assert db.stats().in_use == 0


async def test_a_second_loop_goes_on_where_the_first_one_stopped(world: World) -> None:
    db = world.open()
    rows = await done(db.query(world.numbers(MANY)))
    assert await first(rows, 300) == [(i,) for i in range(1, 301)]
    assert [row.i async for row in each(rows)] == list(range(301, MANY + 1))


async def test_two_results_are_read_side_by_side_on_two_connections(world: World) -> None:
    db = world.open(max_open=2)
    one = await done(db.query(world.numbers(MANY)))
    other = await done(db.query(world.numbers(MANY)))
    assert db.stats().in_use == 2 * int(world.kind.holds)
    for _ in range(3):
        assert len(await first(one, 250)) == len(await first(other, 250)) == 250
    assert [row.i async for row in each(one)] == [row.i async for row in each(other)]
    assert db.stats().in_use == 0


async def test_one_connection_is_enough_for_one_result_after_the_other(world: World) -> None:
    db = world.open(max_open=1)
    for _ in range(3):
        async with using(await done(db.query(world.numbers(MANY)))) as rows:
            await first(rows)
    assert db.stats().max_open_connections == 1
    assert db.stats().in_use == 0


async def test_rows_are_closed_before_a_connection_that_is_not_kept(world: World) -> None:
    db = world.open(max_idle=0)
    async with using(await done(db.query(world.numbers(MANY)))):
        pass
    assert db.stats().open_connections - db.stats().in_use <= 1  # its goodbye may be under way


async def test_columns_are_known_before_and_after_the_rows(world: World) -> None:
    db = await world.open_people()
    for statement in (
        "select id, name from people",
        f"select i as id, 'x' as name from ({world.numbers(MANY)}) n",
    ):
        rows = await done(db.query(statement))
        assert [column.name for column in rows.columns] == ["id", "name"]
        await done(rows.all())
        assert [column.name for column in rows.columns] == ["id", "name"]


async def test_columns_have_types_where_the_server_tells(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select id, name from people"))
    types = " ".join(column.type for column in rows.columns)
    await done(rows.close())
    named = {"sqlite": " ", "postgresql": r"int4 varchar(\(40\))?", "mysql": "int varchar"}
    assert re.fullmatch(named[world.database], types)


async def test_a_statement_that_returns_no_rows_has_no_columns(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("insert into things values (1, 'nut', 3)"))
    assert rows.columns == ()
    assert await done(rows.all()) == []
    assert await world.count(db) == 1


async def test_there_is_no_next_result_of_a_plain_statement(world: World) -> None:
    db = world.open()
    rows = await done(db.query(world.numbers(3)))
    assert await done(rows.next_result()) is False


async def test_query_row_returns_the_first_of_several(world: World) -> None:
    db = await world.open_people()
    assert await done(db.query_row("select name, age from people order by id")) == ("Alice", 31)
    assert await done(db.query_row(world.sql("select age from people where name = ?"), "Bob")) == (32,)
    assert db.stats().in_use == 0
    assert db.stats().connect_count == 1


async def test_query_row_without_a_row_raises_no_rows(world: World) -> None:
    db = await world.open_people()
    with pytest.raises(cenote.NoRows, match="returned no row"):
        await done(db.query_row("select name from people where id > 3"))
    with pytest.raises(cenote.NoRows):
        await done(db.query_row("insert into things values (1, 'nut', 3)"))
    assert db.stats().in_use == 0
    assert db.stats().discarded == 0


async def test_a_failing_query_raises_at_once_and_lets_go(world: World) -> None:
    db = world.open(max_open=1, max_idle=0)
    with pytest.raises(Exception, match=NO_TABLE):
        await done(db.query("select name from nowhere"))
    assert db.stats().in_use == 0
    assert (await done(db.query_row("select 7")))[0] == 7


async def test_rows_may_be_read_by_another_thread_or_task(world: World) -> None:
    db = world.open()
    rows = await done(db.query(world.numbers(MANY)))
    here = await first(rows, 300)

    async def read_on() -> list[object]:
        return [row async for row in each(rows)]

    (there,) = await world.together(read_on)
    assert [row[0] for row in [*here, *there]] == list(range(1, MANY + 1))


async def test_rows_after_a_rollback_say_that_the_rest_is_gone(world: World) -> None:
    db = world.open()
    tx = await done(db.begin())
    rows = await done(tx.query(world.numbers(MANY)))
    await first(rows)
    await done(tx.rollback())
    if world.kind.holds:
        with pytest.raises(cenote.RowsClosed, match="did not come"):
            await done(rows.all())
    else:
        assert len(await done(rows.all())) == MANY - 1


async def test_rows_of_a_closed_connection_say_that_the_rest_is_gone(world: World) -> None:
    db = world.open()
    async with using(db.conn()) as conn:
        rows = await done(conn.query(world.numbers(MANY)))
        await first(rows)
    if world.kind.holds:
        with pytest.raises(cenote.RowsClosed, match="did not come"):
            await done(rows.all())
    else:
        assert len(await done(rows.all())) == MANY - 1


# ── what only a scripted driver does at the right moment ─────────────────────────────────────────


async def test_an_error_in_the_middle_reaches_the_reader_once_and_frees_the_connection(
    scripted: Scripted,
) -> None:
    db = scripted.open(max_open=1)
    rows = await done(db.query("select"))
    failure = ValueError("the third row is broken")
    scripted.fail("fetch", failure)
    seen: list[object] = []

    async def read() -> None:
        async for row in each(rows):
            seen.append(row)  # noqa: PERF401 - what was read before the error is kept

    with pytest.raises(ValueError, match="third row") as caught:
        await read()
    assert caught.value is failure
    assert seen == [(1, "Alice"), (2, "Bob")]
    assert db.stats().in_use == 0
    with pytest.raises(cenote.RowsClosed):
        await done(rows.all())


async def test_an_error_when_rows_are_given_up_costs_the_connection_and_nobody_hears_of_it(
    scripted: Scripted,
) -> None:
    db = scripted.open(max_open=1)
    rows = await done(db.query("select"))
    scripted.fail("finish", ValueError("cannot close"))
    await done(rows.close())
    assert db.stats().discarded == 1
    assert await done(db.query_row("select")) == (1, "Alice")
    assert scripted.connector.peak == 1


async def test_a_connection_that_is_not_in_order_after_its_rows_were_given_up_is_closed(
    scripted: Scripted,
) -> None:
    db = scripted.open(max_open=1)
    scripted.dialect.in_order = False
    await done((await done(db.query("select"))).close())
    assert db.stats().discarded == 1
    assert await done(db.query_row("select")) == (1, "Alice")


async def test_rows_read_to_the_end_need_no_close(scripted: Scripted) -> None:
    db = scripted.open(max_open=1)
    scripted.fail("finish", ValueError("cannot close"))
    async with using(await done(db.query("select"))) as rows:
        assert len(await done(rows.all())) == 3
    assert db.stats().discarded == 0
    assert scripted.dialect.controls["finish"].count == 0


async def test_rows_are_not_fetched_past_their_deadline(scripted: Scripted) -> None:
    db = scripted.open(frozen=True, max_open=1)
    rows = await done(db.query("select", timeout=60))
    scripted.clock.advance(61)
    with pytest.raises(cenote.PoolTimeout, match="ran into its deadline") as caught:
        await done(rows.all())
    assert caught.value.phase == "statement"
    assert db.stats().in_use == 0


async def test_a_deadline_after_the_last_row_harms_nobody(scripted: Scripted) -> None:
    db = scripted.open(frozen=True)
    rows = await done(db.query("select", timeout=60))
    assert len(await done(rows.all())) == 3
    scripted.clock.advance(61)
    await done(rows.close())
    assert db.stats().discarded == 0


async def test_a_statement_may_have_several_results(scripted: Scripted) -> None:
    scripted.dialect.results = [[(1, "Alice"), (2, "Bob"), (3, "Chris")], [(4, "Dora")], [(5, "Emil")]]
    db = scripted.open()
    rows = await done(db.query("call"))
    assert [row.id async for row in each(rows)] == [1, 2, 3]
    assert await done(rows.next_result()) is True
    assert [row.id async for row in each(rows)] == [4]
    assert await done(rows.next_result()) is True
    assert db.stats().in_use == 0  # nothing more can follow
    assert await done(rows.all()) == [(5, "Emil")]
    assert await done(rows.next_result()) is False


async def test_the_rest_of_a_result_is_given_up_for_the_next(scripted: Scripted) -> None:
    scripted.dialect.results = [[(i, "x") for i in range(10)], [(11, "y")]]
    db = scripted.open()
    rows = await done(db.query("call"))
    await first(rows)
    assert await done(rows.next_result()) is True
    assert await done(rows.all()) == [(11, "y")]
    assert db.stats().in_use == 0


async def test_two_who_read_the_same_rows_at_once_are_told(scripted: Scripted) -> None:
    db = scripted.open()
    rows = await done(db.query("select"))

    async def read() -> list[object]:
        return [row async for row in each(rows)]

    reading = await scripted.held("fetch", read)
    with pytest.raises(cenote.Error, match="two threads or tasks at once"):
        await done(rows.close())
    scripted.release("fetch")
    assert len(await reading.result()) == 3
    assert db.stats().in_use == 0
