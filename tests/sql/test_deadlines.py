"""A deadline is the caller's and the server's alike: both stop, and the connection is clean or closed.

The times asserted here are promises to the caller. A busy machine gets more chances, no weaker bound.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any

import pytest

import cenote
from tests.patience import CHANCES
from tests.sql.stages import SQLiteStage, Stage, proxied
from tests.sql.subjects import SERVED, SUBJECTS, Subject, done, entered, on

DEADLINE = 0.5
SHORT = 0.1
LATE = 0.1  # after its deadline the caller has its error within so many seconds, or the promise is broken
SERVER_IS_RID_OF_IT = 1.0
INFINITE = float("inf")

Ask = Callable[[Any, str, float], Awaitable[Any]]


async def by_argument(db: Any, statement: str, deadline: float) -> Any:
    return await done(db.query_row(statement, timeout=deadline))


async def by_block(db: Any, statement: str, deadline: float) -> Any:
    with cenote.timeout(deadline):
        return await done(db.query_row(statement))


async def by_transaction(db: Any, statement: str, deadline: float) -> Any:
    async with entered(db.begin(timeout=deadline)) as tx:
        return await done(tx.exec(statement))


async def run_out(ask: Ask, db: Any, statement: str, deadline: float) -> float:
    """Have a statement run into its deadline; say how much later the caller was told."""
    begun = monotonic()
    with pytest.raises(cenote.PoolTimeout) as caught:
        await ask(db, statement, deadline)
    waited = monotonic() - begun
    assert caught.value.phase == "statement"
    assert waited >= deadline
    if "before it was sent" in str(caught.value):  # the machine has paused: another chance
        return INFINITE
    assert "ran into its deadline" in str(caught.value)
    return waited - deadline


@on(SERVED)
async def test_a_statement_past_its_deadline_ends_for_the_caller_and_on_the_server(
    subject: Subject, stage: Stage
) -> None:
    times: list[tuple[float, float, int]] = []
    async with entered(subject.open(stage.url(subject), max_open=2)) as db:
        for _ in range(CHANCES):
            await done(db.query_row("select 1"))
            before = db.stats().connect_count
            late = await run_out(by_argument, db, subject.sleep(10), DEADLINE)
            gone = await subject.aside(partial(stage.wait_for, statements=0, transactions=0))
            assert tuple(await done(db.query_row("select 7"))) == (7,)
            assert db.stats().in_use == 0
            # The server has said that it stopped the statement, so the connection goes on.
            replaced = db.stats().connect_count - before
            times.append((late, gone, replaced))
            if late <= LATE and gone <= SERVER_IS_RID_OF_IT and not replaced:
                return
    raise AssertionError(f"in each of {CHANCES} runs somebody was late: {times}")


@on(SERVED)
@pytest.mark.parametrize("ask", [by_block, by_transaction])
async def test_so_does_one_whose_deadline_is_that_of_what_is_around_it(
    subject: Subject, ask: Ask, stage: Stage
) -> None:
    times: list[tuple[float, float]] = []
    async with entered(subject.open(stage.url(subject), max_open=2)) as db:
        for _ in range(CHANCES):
            await done(db.query_row("select 1"))
            late = await run_out(ask, db, subject.sleep(10), SHORT)
            gone = await subject.aside(partial(stage.wait_for, statements=0, transactions=0))
            times.append((late, gone))
            assert tuple(await done(db.query_row("select 7"))) == (7,)
            assert db.stats().in_use == 0
            if late <= LATE and gone <= SERVER_IS_RID_OF_IT:
                return
    raise AssertionError(f"in each of {CHANCES} runs somebody was late: {times}")


@on([subject for subject in SUBJECTS if subject.family == "sqlite"])
@pytest.mark.parametrize("ask", [by_argument, by_block, by_transaction])
async def test_a_statement_of_sqlite_past_its_deadline_is_interrupted(
    subject: Subject, ask: Ask, stage: SQLiteStage
) -> None:
    times: list[float] = []
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        for _ in range(CHANCES):
            await done(db.query_row("select 1"))
            times.append(await run_out(ask, db, subject.sleep(1000), SHORT))
            assert tuple(await done(db.query_row("select 7"))) == (7,)
            assert db.stats().in_use == 0
            if times[-1] <= LATE:
                return
    raise AssertionError(f"the caller waited too long each time: {times}")


@on(SERVED)
async def test_from_a_server_that_hangs_the_caller_has_its_timeout_all_the_same(
    subject: Subject, stage: Stage
) -> None:
    times: list[float] = []
    for _ in range(CHANCES):
        with proxied(stage, subject) as (proxy, url):
            async with entered(subject.open(url, max_open=1)) as db:
                await done(db.query_row("select 1"))
                proxy.freeze()
                times.append(await run_out(by_argument, db, "select 1", SHORT))
                assert db.stats().in_use == 0
                proxy.thaw()
                assert tuple(await done(db.query_row("select 7"))) == (7,)
                assert db.stats().connect_count == (1 if times[-1] == INFINITE else 2)
                assert db.stats().connect_errors == 0
        if times[-1] <= LATE:
            return
    raise AssertionError(f"the caller waited too long each time: {times}")


def refusing(blocking: bool) -> Callable[[Any], Any]:
    """Make a cancel request that the server refuses, with words that nobody may repeat."""

    def refuse(_: Any) -> None:
        raise OSError("refused for app-secret")

    async def refuse_later(connection: Any) -> None:
        refuse(connection)

    return refuse if blocking else refuse_later


@on(SERVED)
async def test_when_the_cancel_request_fails_the_caller_has_its_timeout_and_the_connection_is_closed(
    subject: Subject, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    times: list[float] = []
    caplog.set_level(logging.INFO)
    for chance in range(CHANCES):
        async with entered(subject.open(stage.url(subject), max_open=1)) as db:
            await done(db.query_row("select 1"))
            db._handle.dialect.cancel = refusing(subject.blocking)
            times.append(await run_out(by_argument, db, subject.sleep(2), SHORT))
            assert tuple(await done(db.query_row("select 7"))) == (7,)
            assert db.stats().discarded == (0 if times[-1] == INFINITE else 1)
            assert db.stats().connect_count == 1 + db.stats().discarded
            assert not caplog.records, chance
        if times[-1] <= LATE:
            return
    raise AssertionError(f"the caller waited too long each time: {times}")


@on(SUBJECTS)
async def test_a_timeout_says_what_became_of_the_statement_and_no_secret(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        await done(db.query_row("select 1"))
        with pytest.raises(cenote.PoolTimeout) as caught:
            await done(db.query_row(subject.sleep(1000), timeout=0.05))
        assert caught.value.phase == "statement"
        assert "secret" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
        assert db.name in str(caught.value)
        assert isinstance(caught.value, TimeoutError)
