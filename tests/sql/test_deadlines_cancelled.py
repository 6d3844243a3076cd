"""A cancelled task leaves its connection clean, or closed, and the server does not go on for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import pytest

from tests.patience import CHANCES
from tests.sql.stages import Stage
from tests.sql.subjects import ASYNC, Subject, entered, on

SERVER_IS_RID_OF_IT = 1.0
SERVED = [subject for subject in ASYNC if subject.family != "sqlite"]
STREAMING = [subject for subject in ASYNC if subject.streams]
_tables = count(1)


async def scratch(db: Any) -> str:
    name = f"cancelled_{next(_tables)}"
    await db.exec(f"create table {name} (value integer)")
    return name


async def by_cancel(script: Awaitable[Any], ready: Awaitable[Any]) -> None:
    """Cancel a task when it is in the middle of it."""
    task = asyncio.ensure_future(script)
    await ready
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_timeout(script: Awaitable[Any], ready: Awaitable[Any]) -> None:
    """Have asyncio's own timeout do the same."""
    armed: list[asyncio.Timeout] = []

    async def user() -> None:
        async with asyncio.timeout(None) as limit:
            armed.append(limit)
            await script

    task = asyncio.ensure_future(user())
    await ready
    assert not task.done()
    armed[0].reschedule(0)
    with pytest.raises(TimeoutError):
        await task


WAYS = pytest.mark.parametrize("cancel", [by_cancel, by_timeout])
Cancel = Callable[[Awaitable[Any], Awaitable[Any]], Awaitable[None]]


async def under_way(subject: Subject, stage: Stage, db: Any) -> None:
    """Return when a statement is being executed."""
    if subject.family != "sqlite":
        await asyncio.to_thread(stage.wait_for, statements=1)
        return
    is_busy = db.pool._hooks.is_broken  # its thread is at work
    slots = db.pool._core.slots
    while not any(one.connection and is_busy(one.connection) for one in slots):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


async def check_clean(db: Any) -> None:
    """Prove that nothing is held, and that the next user finds a connection in order."""
    assert db.stats().in_use == 0
    for value in range(3):
        assert tuple(await db.query_row(f"select {value}")) == (value,)
    async with db.pool.connection() as connection:
        in_transaction = db.pool._hooks.in_transaction
        assert in_transaction is None or not in_transaction(connection)


@on(SERVED)
@WAYS
async def test_the_server_stops_the_statement_of_a_cancelled_task(
    subject: Subject, cancel: Cancel, stage: Stage
) -> None:
    times: list[float] = []
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        for _ in range(CHANCES):
            await cancel(db.query_row(subject.sleep(10)), under_way(subject, stage, db))
            times.append(await asyncio.to_thread(stage.wait_for, statements=0))
            await check_clean(db)
            if times[-1] <= SERVER_IS_RID_OF_IT:
                return
    raise AssertionError(f"the server went on too long each time: {times}")


@on(ASYNC)
@WAYS
@pytest.mark.parametrize("place", ["db", "conn", "tx", "stmt", "exec_many"])
async def test_a_task_cancelled_in_the_middle_of_a_statement_leaves_nothing_dirty(
    subject: Subject, cancel: Cancel, place: str, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        table = await scratch(db)
        long = subject.sleep(100)

        async def in_conn() -> None:
            async with db.conn() as conn:
                await conn.query_row(long)

        async def in_tx() -> None:
            async with db.begin() as tx:
                await tx.exec(f"insert into {table} values (1)")
                await tx.query_row(long)

        scripts: dict[str, Callable[[], Any]] = {
            "db": partial(db.exec, long),
            "conn": in_conn,
            "tx": in_tx,
            "stmt": db.prepare(long).query_row,
            "exec_many": partial(
                db.exec_many, f"insert into {table} {long.replace(' as value', '')}", [()] * 10
            ),
        }
        await cancel(scripts[place](), under_way(subject, stage, db))
        await check_clean(db)
        if subject.family != "sqlite":
            await asyncio.to_thread(stage.wait_for, statements=0, transactions=0)
        assert tuple(await db.query_row(f"select count(*) from {table}")) == (0,)


@on(STREAMING)
@WAYS
@pytest.mark.parametrize("held", [False, True], ids=["borrowed", "held"])
async def test_a_task_cancelled_among_rows_leaves_nothing_dirty(
    subject: Subject, cancel: Cancel, held: bool, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        reading = asyncio.Event()
        answers: list[tuple[int]] = []

        async def read(place: Any) -> None:
            async for row in place.query(subject.numbers()):
                if row.i == 1000:
                    reading.set()

        async def read_in_conn() -> None:
            async with db.conn() as conn:
                try:
                    await read(conn)
                finally:
                    # The same connection is in order at once, or refuses: some drivers close it.
                    with suppress(Exception):
                        answers.append(tuple(await conn.query_row("select 7")))

        await cancel(read_in_conn() if held else read(db), reading.wait())
        assert answers in ([], [(7,)])
        await check_clean(db)
        if subject.family != "sqlite":
            await asyncio.to_thread(stage.wait_for, statements=0, transactions=0)


@on([subject for subject in SERVED if subject.family == "postgresql"])
@WAYS
async def test_a_task_cancelled_while_it_commits_leaves_no_transaction(
    subject: Subject, cancel: Cancel, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        table = await scratch(db)
        await db.exec(
            f"create or replace function {table}_slowly() returns trigger language plpgsql"
            " as $$ begin perform pg_sleep(10); return null; end $$"
        )
        await db.exec(
            f"create constraint trigger slowly after insert on {table}"
            f" deferrable initially deferred for each row execute function {table}_slowly()"
        )

        async def commit(tx: Any) -> None:
            await tx.commit()

        tx = await db.begin()
        await tx.exec(f"insert into {table} values (1)")
        await cancel(commit(tx), under_way(subject, stage, db))
        assert tx.done
        await asyncio.to_thread(stage.wait_for, statements=0, transactions=0)
        await check_clean(db)


async def cut_short(life: Coroutine[Any, Any, None], turns: int, db: Any) -> None:
    """Let it live for some turns of the loop, and see that nothing is dirty after it."""
    task = asyncio.create_task(life)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() or task.exception() is None
    await check_clean(db)


@on(ASYNC)
async def test_a_task_cancelled_at_any_moment_of_its_life_leaves_nothing_dirty(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=2)) as db:
        table = await scratch(db)
        lived = 0

        async def live() -> None:
            nonlocal lived
            async with db.begin() as tx:
                await tx.exec(f"insert into {table} values (1)")
                async for row in tx.query(subject.numbers(1000)):
                    if row.i == 300:
                        break
                assert tuple(await tx.query_row("select 7")) == (7,)
            async with db.query(subject.numbers(1000)) as rows:
                async for row in rows:
                    if row.i == 300:
                        break
            lived += 1

        for turns in (*range(40), *(round(40 * 1.09**step) for step in range(60))):
            await cut_short(live(), turns, db)
        assert lived < 100
        while not lived:  # on a busy machine a life takes more turns
            turns *= 2
            await cut_short(live(), turns, db)
        if subject.family != "sqlite":
            await asyncio.to_thread(stage.wait_for, statements=0, transactions=0)
        assert db.stats().open_connections <= 2
