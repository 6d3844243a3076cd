"""Procedures of MySQL return several results: all are read in their order, and nothing of them is left."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sql.fixtures import worlds
from tests.sql.worlds import KINDS, MANY, World, done, each, first, using

world = worlds([kind for kind in KINDS if kind.database == "mysql"])


async def with_procedure(world: World, last: int) -> Any:
    """Open a handle of one connection, on a database whose procedure returns two results."""
    db = world.open(max_open=1)
    body = f"{world.numbers(last)}; select 'sum' as what, 7 as value"
    await done(db.exec(f"create or replace procedure both_of_{last}() begin {body}; end"))
    return db


@pytest.mark.parametrize("last", [1, 3, MANY])
async def test_a_procedure_returns_one_result_after_the_other(world: World, last: int) -> None:
    db = await with_procedure(world, last)
    for _ in range(2):
        rows = await done(db.query(f"call both_of_{last}()"))
        assert [row.i async for row in each(rows)] == list(range(1, last + 1))
        assert await done(rows.next_result()) is True
        assert [column.name for column in rows.columns] == ["what", "value"]
        assert await done(rows.all()) == [("sum", 7)]
        assert await done(rows.next_result()) is False
    assert await done(db.query_row(f"call both_of_{last}()")) == (1,)
    await done(db.exec(f"call both_of_{last}()"))
    assert (await done(db.query_row("select 7")))[0] == 7
    assert db.stats().in_use == 0
    assert db.stats().discarded == 0


@pytest.mark.parametrize("last", [3, MANY])
async def test_results_of_a_procedure_left_unread_do_not_reach_the_next(world: World, last: int) -> None:
    db = await with_procedure(world, last)
    async with using(db.begin()) as tx:
        rows = await done(tx.query(f"call both_of_{last}()"))
        await first(rows)
        assert (await done(tx.query_row("select 7")))[0] == 7
        assert len(await done(rows.all())) == last - 1
        assert await done(rows.next_result()) is True
        assert await done(rows.all()) == [("sum", 7)]
        await first(await done(tx.query(f"call both_of_{last}()")))
    assert db.stats().discarded == 0
    async with using(await done(db.query(f"call both_of_{last}()"))) as rows:
        await first(rows)
    assert (await done(db.query_row("select 7")))[0] == 7
    assert db.stats().in_use == 0
