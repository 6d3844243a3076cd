"""Whatever is dropped, wherever: the pool gets its connections back, and the server keeps no transaction.

Ten thousand uses are begun and abandoned in a random place, the same each time: a loop left early, an error,
a cancelled task, a generator closed, or nothing but the last reference gone.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Self

import pytest

from tests.patience import SAFETY
from tests.sql.stages import Stage
from tests.sql.subjects import SERVED, Subject, done, each, entered, on, take

ABANDONED = 10_000  # in sum, over all subjects
USERS = 4
LIMIT = 3  # connections: fewer than users, so that one who keeps a connection stops the others
SEED = 1_618_033

Drop = Callable[["Place", random.Random], Awaitable[None]]


class Place:
    """A handle, and what its users need to know."""

    def __init__(self, subject: Subject, db: Any) -> None:
        self.subject = subject
        self.db = db
        self.few = subject.numbers(3)
        self.many = subject.numbers(300)  # more than a batch: they keep their connection


class Left(Exception):
    """Raised by the users themselves."""


async def rows_left_early(at: Place, rng: random.Random) -> None:
    async with entered(await done(at.db.query(at.many))) as rows:
        await take(rows, rng.randrange(1, 300))


async def rows_dropped(at: Place, rng: random.Random) -> None:
    rows = await done(at.db.query(at.many if rng.random() < 0.1 else at.few))
    await take(rows, rng.randrange(1, 3))


async def rows_of_an_error(at: Place, rng: random.Random) -> None:
    with suppress(Left):
        async for row in each(await done(at.db.query(at.few))):
            if row.i == rng.randrange(1, 4):
                raise Left


async def generator_closed(at: Place, rng: random.Random) -> None:
    reading = each(await done(at.db.query(at.many if rng.random() < 0.1 else at.few)))
    await anext(reading)
    await reading.aclose()


async def stmt_dropped(at: Place, rng: random.Random) -> None:
    stmt = at.db.prepare(at.few)
    if rng.random() < 0.7:
        await done(stmt.query_row())


async def tx_of_an_error(at: Place, rng: random.Random) -> None:
    with suppress(Left):
        async with entered(at.db.begin()) as tx:
            if rng.random() < 0.5:
                await done(tx.query_row("select 1"))
            raise Left


async def tx_dropped(at: Place, rng: random.Random) -> None:
    tx = await done(at.db.begin())
    if rng.random() < 0.5:
        await take(await done(tx.query(at.few)), 1)


async def conn_of_an_error(at: Place, rng: random.Random) -> None:
    with suppress(Left):
        async with entered(at.db.conn()) as conn:
            if rng.random() < 0.5:
                await take(await done(conn.query(at.many)), 2)
            raise Left


async def conn_dropped(at: Place, rng: random.Random) -> None:
    conn = await done(at.db.conn())
    if rng.random() < 0.5:
        await done(conn.query_row("select 1"))


async def lease_dropped(at: Place, _: random.Random) -> None:
    lease = await done(at.db.pool.acquire())
    assert lease.connection is not None


async def lease_of_an_error(at: Place, _: random.Random) -> None:
    with suppress(Left):
        async with entered(at.db.driver_connection()):
            raise Left


# Those that close a connection, and so make the next one dial, are the dear ones: there are fewer of them.
CHEAP: list[Drop] = [rows_of_an_error, stmt_dropped, tx_of_an_error, lease_of_an_error, generator_closed]
DEAR: list[Drop] = [
    rows_left_early,
    rows_dropped,
    tx_dropped,
    conn_of_an_error,
    conn_dropped,
    lease_dropped,
]
DEAR_SHARE = 0.05


async def cancelled(at: Place, drop: Drop, rng: random.Random) -> None:
    """Do one of them in a task that is cancelled at some moment."""
    task = asyncio.ensure_future(drop(at, rng))
    for _ in range(rng.randrange(12)):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def use(at: Place, seed: int, times: int) -> None:
    rng = random.Random(seed)
    for _ in range(times):
        drop = rng.choice(DEAR if rng.random() < DEAR_SHARE else CHEAP)
        if not at.subject.blocking and rng.random() < 0.2:
            await cancelled(at, drop, rng)
        else:
            await drop(at, rng)


class Watch:
    """Looks at the server's own count all the time, from a thread."""

    def __init__(self, stage: Stage) -> None:
        self.most = 0
        self._stage = stage
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.02):
            self.most = max(self.most, self._stage.connections())


@pytest.fixture
def leaks() -> Iterator[list[warnings.WarningMessage]]:
    """Collect what the pool warns of, which elsewhere fails a test: here leaks are meant, and they alone."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


async def drain(db: Any) -> None:
    """Return when the pool has back what nobody holds any more: its events say when that may be."""
    end = monotonic() + SAFETY
    gc.collect()
    while db.stats().in_use and monotonic() < end:
        await done(db.ping())  # each operation first takes in what was dropped
        gc.collect()


@on(SERVED)
async def test_ten_thousand_abandoned_uses_leave_nothing_behind(
    subject: Subject, leaks: list[warnings.WarningMessage], stage: Stage
) -> None:
    times = ABANDONED // len(SERVED) // USERS + 1
    async with entered(subject.open(stage.url(subject), max_open=LIMIT, timeout=SAFETY)) as db:
        at = Place(subject, db)
        with Watch(stage) as watch:
            await subject.crowd(*(use(at, SEED + user, times) for user in range(USERS)))
        await drain(db)
        assert db.stats().in_use == 0
        assert tuple(await done(db.query_row("select 7"))) == (7,)
        await subject.aside(partial(stage.wait_for, statements=0, transactions=0))
        assert watch.most <= LIMIT
        assert db.stats().open_connections <= LIMIT
        assert db.stats().timeout_count == 0
    strange = [str(each.message) for each in leaks if "was dropped without release" not in str(each.message)]
    assert not strange
    assert len(leaks) >= 10
