"""A result of many rows passes through without being held: by Python, by the driver, or by its C library."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.sql.stages import Stage
from tests.sql.subjects import SUBJECTS, Subject, done, each, entered, on, take

ROOT = Path(__file__).resolve().parents[2]
ROWS = 100_000
TRACED_ROWS = 30_000  # tracing makes it slow
MEGABYTE = 2**20
# Held whole, the rows take 15 to 35 MB of the process, and the fewer ones more than 4 of Python's.
RESIDENT = 6 * MEGABYTE
PYTHONS = 3 * MEGABYTE

# In a process of its own, since what others have used before hides what this one asks for.
READER = """
import json, os, sys, tracemalloc
sys.path.insert(0, sys.argv[1])
from tests.sql.subjects import SUBJECTS, Tally, done, each, entered

(subject,) = [one for one in SUBJECTS if one.name == sys.argv[2]]
url, stream, many, traced = sys.argv[3], json.loads(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def read(db, rows):
    peak, count = resident(), 0
    async for _ in each(await done(db.query(subject.numbers(rows), stream=stream))):
        count += 1
        if count % 5000 == 0:
            peak = max(peak, resident())
    assert count == rows
    return peak

async def main():
    async with entered(subject.open(url, max_open=1)) as db:
        await read(db, 2000)  # what is needed once, of modules and buffers, is there before the count begins
        before = resident()
        grown = await read(db, many) - before
        tracemalloc.start()
        await read(db, traced)
        print(json.dumps([grown, tracemalloc.get_traced_memory()[1]]))

subject.run(main())
"""


def read_aside(subject: Subject, stage: Stage, *, stream: bool) -> tuple[int, int]:
    """Read many rows in a process of its own; return how much it grew, and what Python itself asked for."""
    arguments = (ROOT, subject.name, stage.url(subject), json.dumps(stream), ROWS, TRACED_ROWS)
    process = subprocess.run(
        [sys.executable, "-c", READER, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert process.returncode == 0, process.stderr
    resident, pythons = json.loads(process.stdout)
    return resident, pythons


@on(SUBJECTS)
async def test_streamed_rows_are_held_nowhere(subject: Subject, stage: Stage) -> None:
    resident, pythons = await subject.aside(partial(read_aside, subject, stage, stream=True))
    assert resident < RESIDENT
    assert pythons < PYTHONS


@on(SUBJECTS[:1])
async def test_rows_fetched_at_once_are_held_and_this_way_to_measure_shows_it(
    subject: Subject, stage: Stage
) -> None:
    resident, pythons = await subject.aside(partial(read_aside, subject, stage, stream=False))
    assert resident > RESIDENT
    assert pythons > PYTHONS


@on(SUBJECTS)
@pytest.mark.parametrize("read", [1, 256, 300])
async def test_an_early_end_gives_the_connection_back_in_order_or_closes_it(
    subject: Subject, read: int, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        for _ in range(3):
            async with entered(await done(db.query(subject.numbers(20_000), stream=True))) as rows:
                assert [row.i for row in await take(rows, read)] == list(range(1, read + 1))
            assert db.stats().in_use == 0
            assert tuple(await done(db.query_row("select 7"))) == (7,)
        assert db.stats().open_connections <= 1


@on(SUBJECTS)
async def test_in_a_transaction_the_rest_waits_in_memory_while_another_statement_has_the_connection(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        async with entered(db.begin()) as tx:
            rows = await done(tx.query(subject.numbers(1000), stream=True))
            assert [row.i for row in await take(rows, 10)] == list(range(1, 11))
            others = await done(tx.query(subject.numbers(600), stream=True))
            assert tuple(await done(tx.query_row("select 7"))) == (7,)
            assert [row.i for row in await take(rows, 990)] == list(range(11, 1001))
            assert [row.i for row in await take(others, 600)] == list(range(1, 601))
        assert db.stats().in_use == 0
        assert db.stats().connect_count == 1


@on(SUBJECTS)
async def test_rows_of_several_batches_come_whole_and_in_order(subject: Subject, stage: Stage) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        for count in (0, 1, 255, 256, 257, 512, 1000):
            for stream in (None, True, False):
                query = f"select * from ({subject.numbers(max(count, 1))}) as t where i <= {count}"
                rows = await done(db.query(query, stream=stream))
                assert [row.i async for row in each(rows)] == list(range(1, count + 1))
                assert db.stats().in_use == 0


@on([subject for subject in SUBJECTS if subject.name in ("psycopg", "psycopg-async")])
async def test_rows_come_whole_one_by_one_where_libpq_knows_no_chunks(
    subject: Subject, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cenote.dialects.psycopg._CHUNK", 1)  # as before libpq 17
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        for count in (0, 1, 256, 600):
            query = f"select * from ({subject.numbers(max(count, 1))}) as t where i <= {count}"
            rows = await done(db.query(query, stream=True))
            assert [row.i async for row in each(rows)] == list(range(1, count + 1))
