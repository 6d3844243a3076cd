"""What each driver's statements cost in round trips, counted between it and its server.

The expected numbers are a promise to users who choose a driver by them; where one is higher than it could be,
the reason stands beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.servers.proxy import CountingProxy
from tests.sql.stages import Stage, proxied
from tests.sql.subjects import SERVED, Subject, done, each, entered, on

Deed = Callable[[], Awaitable[Any]]

# One question, one answer: what a driver can do that has the parameters in the text, or all in one message.
LEAST = {
    "release": 0,
    "query_row": 1,
    "query_row with a parameter": 1,
    "query_row, interpolated": 1,
    "exec with a parameter": 1,
    "query of a small result": 1,
    "query of several batches": 1,
    "prepared, first": 1,
    "prepared, again": 1,
    "prepared query, again": 1,
    "begin": 1,
    "commit": 1,
    "roll back": 1,
}
PSYCOPG = {
    **LEAST,
    "prepared, first": 2,  # parse, then execute
    "roll back": 2,  # psycopg then has the server forget all prepared statements; 1 while there are none
}
ASYNCPG = {
    **{name: trips for name, trips in LEAST.items() if name != "query_row, interpolated"},  # it cannot
    # Whatever is new to a connection is parsed first, and kept; `bound` is so for query_row alone.
    "query_row": 2,
    "query_row with a parameter": 2,
    "query of several batches": 2,
    "prepared, first": 2,
}
EXPECTED: dict[str, dict[str, int]] = {
    "psycopg": PSYCOPG,
    "psycopg-async": PSYCOPG,
    "psycopg2": LEAST,
    "asyncpg": ASYNCPG,
    "pymysql": LEAST,
    "mysqldb": LEAST,
    "aiomysql": LEAST,
    "asyncmy": {**LEAST, "prepared, first": 2},  # parse, then execute
    "mysqlconnector": {
        **LEAST,
        "query_row with a parameter": 2,  # the first one of a connection: the driver asks for sql_mode
        "prepared, first": 2,
    },
}


async def count(proxy: CountingProxy, deed: Deed) -> int:
    proxy.mark()
    await deed()
    return proxy.round_trips()


def calls(subject: Subject, db: Any) -> dict[str, Deed]:
    """Name what is counted."""
    mark = subject.mark
    # No cast: the server finds out what a parameter is by what it is added to.
    bound = f"select 1 + {mark} as value"
    stmt, rows = db.prepare(f"select 2 + {mark} as value"), db.prepare(f"select 3 + {mark} as value")

    async def borrow() -> None:
        async with entered(db.driver_connection()):
            pass

    async def query(place: Any, *params: Any) -> None:
        async for _ in each(await done(place.query(*params))):
            pass

    found: dict[str, Deed] = {
        "release": borrow,
        "query_row": lambda: done(db.query_row("select 1")),
        "query_row with a parameter": lambda: done(db.query_row(bound, 1)),
        "exec with a parameter": lambda: done(db.exec(bound, 1)),
        "query of a small result": lambda: query(db, bound, 1),
        "query of several batches": lambda: query(db, subject.numbers(2000)),
        "prepared, first": lambda: done(stmt.query_row(1)),
        "prepared, again": lambda: done(stmt.query_row(2)),
    }
    if db._handle.dialect.binds != "server":
        found["query_row, interpolated"] = lambda: done(db.query_row(bound, 1, interpolate=True))

    async def prepared_query() -> None:
        await query(rows, 1)

    found["prepared query, again"] = prepared_query
    return found


async def measure(subject: Subject, db: Any, proxy: CountingProxy) -> dict[str, int]:
    await done(db.ping())  # connects
    await done(db.query_row("select 0"))
    deeds = calls(subject, db)
    await deeds["prepared query, again"]()
    costs = {name: await count(proxy, deed) for name, deed in deeds.items()}
    proxy.mark()
    tx = await done(db.begin())
    costs["begin"] = proxy.round_trips()
    costs["commit"] = await count(proxy, lambda: done(tx.commit()))
    tx = await done(db.begin())
    costs["roll back"] = await count(proxy, lambda: done(tx.rollback()))
    return costs


@on(SERVED)
async def test_each_statement_takes_as_many_round_trips_as_promised(subject: Subject, stage: Stage) -> None:
    with proxied(stage, subject) as (proxy, url):
        async with entered(subject.open(url, max_open=1)) as db:
            assert await measure(subject, db, proxy) == EXPECTED[subject.name]
            assert db.stats().connect_count == 1


@on(SERVED)
@pytest.mark.parametrize("statements", [1, 20])
async def test_a_transaction_costs_its_two_ends_and_what_is_in_it(
    subject: Subject, statements: int, stage: Stage
) -> None:
    with proxied(stage, subject) as (proxy, url):
        async with entered(subject.open(url, max_open=1)) as db:
            await done(db.query_row("select 1"))
            expected = EXPECTED[subject.name]
            proxy.mark()
            async with entered(db.begin()) as tx:
                for number in range(statements):
                    await done(tx.query_row(f"select 'number {number}'"))
            ends = expected["begin"] + expected["commit"]
            assert proxy.round_trips() == ends + statements * expected["query_row"]


BY_ITSELF = [1, 1, 1, 1, 1, 2, 1, 1]  # the sixth time psycopg parses it first, and keeps it


@on([subject for subject in SERVED if EXPECTED[subject.name] is PSYCOPG])
@pytest.mark.parametrize(("prepare", "expected"), [(None, BY_ITSELF), (False, [1] * 8)])
async def test_psycopg_prepares_by_itself_what_comes_again_and_again(
    subject: Subject, prepare: bool | None, expected: list[int], stage: Stage
) -> None:
    with proxied(stage, subject) as (proxy, url):
        async with entered(subject.open(url, max_open=1, prepare=prepare)) as db:
            await done(db.ping())
            costs = [await count(proxy, lambda: done(db.query_row("select 7"))) for _ in range(8)]
            assert costs == expected
