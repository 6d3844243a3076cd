"""What a dialect has to do for the database handle."""

from __future__ import annotations

import asyncio
import tracemalloc
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from ..errors import ConfigError, NoRows, PoolTimeout, TxDone
from ..sql.dialect import BATCH
from ._contract import CheckList, Raises, Trial, block, collector, done, each, expect, run, same

CHECKS: CheckList = []
needs = collector(CHECKS, "dialect")

_TEXTS = ("plain", "it's", 'a "quote"', "50 % off %s ? $1", "back\\slash", "naïve ✓ 池", "two\nlines")
_STREAMED = 20_000
_SOON = 0.2
_AGAIN = 0.05
_LATE = 60.0


def idle(db: Any, when: str) -> None:
    """See that every connection is back."""
    expect(db.stats().in_use == 0, f"{when} no connection must be in use; {db.stats().in_use} are")


async def everything(rows: Any) -> list[Any]:
    """Read all rows of a query."""
    rows = await done(rows)
    taken: list[Any] = await done(rows.all())
    return taken


def numbers(trial: Trial, count: int) -> str:
    """Word a statement with so many rows."""
    return trial.subject.numbers.format(count=count)


@needs()
async def a_query_returns_rows_by_name_and_position(trial: Trial) -> None:
    db = await trial.table("one", "two")
    rows = await everything(db.query(trial.sql("select id, word from {table} order by id")))
    same(rows, [(1, "one"), (2, "two")], "the rows")
    same([rows[0].word, rows[1]["id"], rows[1][1]], ["one", 2, "two"], "by name and position")
    idle(db, "after a query")


@needs()
async def the_columns_are_known_by_name_even_without_rows(trial: Trial) -> None:
    for words in ((), ("one",)):
        db = await trial.table(*words)
        rows = await done(db.query(trial.sql("select id, word from {table}")))
        same([column.name for column in rows.columns], ["id", "word"], f"the columns of {len(words)} rows")
        same(await everything(rows), [(1, word) for word in words], "the rows")


@needs()
async def query_row_returns_the_first_row_or_says_that_there_is_none(trial: Trial) -> None:
    db = await trial.table("one", "two")
    row = await done(db.query_row(trial.sql("select word from {table} order by id")))
    same(row, ["one"], "the first row")
    same([row.word], ["one"], "the first row by name")
    async with Raises("query_row without a row", NoRows):
        await done(db.query_row(trial.sql("select word from {table} where id = {1}"), 99))
    idle(db, "after query_row")


@needs()
async def text_passes_through_parameters_unchanged(trial: Trial) -> None:
    same(await trial.words(await trial.table(*_TEXTS)), _TEXTS, "the texts")


@needs()
async def null_is_none_in_both_directions(trial: Trial) -> None:
    db = await trial.table(None, "")
    found = await done(db.query_row(trial.sql("select id from {table} where word is null")))
    same(found, [1], "the row with NULL")
    same(await trial.words(db), [None, ""], "NULL and the empty text")


@needs()
async def a_statement_without_parameters_may_hold_any_sign(trial: Trial) -> None:
    db = await trial.table("50 %")
    rows = await everything(db.query(trial.sql("select word from {table} where word like '%5%'")))
    same(rows, [("50 %",)], "the rows")


@needs()
async def exec_counts_the_rows_it_changed(trial: Trial) -> None:
    db = await trial.table("one", "two", "three")
    found = await done(db.exec(trial.sql("update {table} set word = {1} where id > {2}"), "more", 1))
    expect(found.rows_affected in (2, None), f"rows_affected must be 2 (or None), got {found.rows_affected}")
    found = await done(db.exec(trial.sql("delete from {table} where id = 99")))
    expect(found.rows_affected in (0, None), f"rows_affected must be 0 (or None), got {found.rows_affected}")
    same(await trial.words(db), ["one", "more", "more"], "the rows")
    idle(db, "after exec")


@needs()
async def exec_many_executes_for_each(trial: Trial) -> None:
    db = await trial.table()
    statement = trial.sql("insert into {table} values ({1}, {2})")
    await done(db.exec_many(statement, [(number, f"word {number}") for number in range(300)]))
    same(await trial.words(db), [f"word {number}" for number in range(300)], "the rows")
    idle(db, "after exec_many")


@needs()
async def a_query_that_returns_no_rows_has_none(trial: Trial) -> None:
    db = await trial.table("one")
    rows = await done(db.query(trial.sql("update {table} set word = 'two'")))
    same(rows.columns, [], "the columns of an update")
    same(await everything(rows), [], "the rows of an update")
    same(await trial.words(db), ["two"], "the rows")


@needs()
async def results_of_every_size_come_whole_and_in_order(trial: Trial) -> None:
    db = trial.open(max_open=1)
    for stream in (None, False, True) if trial.subject.streams else (None, False):
        for count in (1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 7):
            rows = await everything(db.query(numbers(trial, count), stream=stream))
            same([row.i for row in rows], range(1, count + 1), f"{count} rows with stream={stream}")
            idle(db, "after the last row")
    expect(db.stats().connect_count == 1, "what was read to the end must leave its connection in order")


@needs()
async def an_error_is_the_drivers_own_and_harms_nobody(trial: Trial) -> None:
    db = await trial.table("one")
    for ask in (db.query, db.query_row, db.exec):
        async with Raises("a statement that the server refuses") as caught:
            await done(ask(trial.subject.failing))
        expect(not isinstance(caught.error, NoRows | ConfigError | PoolTimeout), f"got {caught.error!r}")
        idle(db, "after an error")
        same(await trial.words(db), ["one"], "the rows after an error")


@needs()
async def rows_closed_early_give_their_connection_back(trial: Trial) -> None:
    db = trial.open(max_open=1)
    for stream in (None, True) if trial.subject.streams else (None,):
        async with block(db.query(numbers(trial, 5 * BATCH), stream=stream)) as rows:
            async for row in each(rows):
                if row.i == BATCH // 2:
                    break
        idle(db, "after an early close")
        same(await everything(db.query(numbers(trial, 3))), [(1,), (2,), (3,)], "the next query")


@needs()
async def a_transaction_commits(trial: Trial) -> None:
    db = await trial.table("one")
    async with block(db.begin()) as tx:
        await done(tx.exec(trial.sql("insert into {table} values ({1}, {2})"), 2, "two"))
        found = await done(tx.query_row(trial.sql("select count(*) from {table}")))
        same(found, [2], "what the transaction sees")
    same(await trial.words(db), ["one", "two"], "the rows after commit")
    idle(db, "after commit")


@needs()
async def a_transaction_rolls_back_on_an_error_and_when_told(trial: Trial) -> None:
    db = await trial.table("one")
    async with Raises("a transaction that fails", ZeroDivisionError), block(db.begin()) as tx:
        await done(tx.exec(trial.sql("delete from {table}")))
        raise ZeroDivisionError
    async with block(db.begin()) as tx:
        await done(tx.exec(trial.sql("delete from {table}")))
        await done(tx.rollback())
    async with Raises("a statement after rollback", TxDone):
        await done(tx.exec(trial.sql("delete from {table}")))
    same(await trial.words(db), ["one"], "the rows after rollback")
    idle(db, "after rollback")
    expect(db.stats().connect_count == 1, "a rollback must leave its connection in order")


@needs()
async def a_transaction_in_which_a_statement_failed_can_be_rolled_back(trial: Trial) -> None:
    db = await trial.table("one")
    async with block(db.begin()) as tx:
        await done(tx.exec(trial.sql("delete from {table}")))
        async with Raises("a statement that the server refuses"):
            await done(tx.exec(trial.subject.failing))
        await done(tx.rollback())
    same(await trial.words(db), ["one"], "the rows after rollback")
    expect(db.stats().connect_count == 1, "a rollback must leave its connection in order")


@needs("tells_rollback")
async def a_commit_says_whether_it_was_done(trial: Trial) -> None:
    db = await trial.table()
    tx = await done(db.begin())
    await done(tx.exec(trial.sql("insert into {table} values ({1}, {2})"), 1, "one"))
    async with Raises("a statement that the server refuses"):
        await done(tx.exec(trial.subject.failing))
    try:
        await done(tx.commit())
    except TxDone:
        same(await trial.words(db), [], "the rows after a commit that raised TxDone")
    else:
        same(await trial.words(db), ["one"], "the rows after a commit that raised nothing")


@needs()
async def in_a_transaction_the_rest_of_the_rows_waits_for_other_statements(trial: Trial) -> None:
    db = await trial.table("one")
    for stream in (None, True) if trial.subject.streams else (None,):
        seen = []
        async with block(db.begin()) as tx:
            rows = await done(tx.query(numbers(trial, 3 * BATCH), stream=stream))
            async for row in each(rows):
                seen.append(row.i)
                if row.i % BATCH == 1:
                    found = await done(tx.query_row(trial.sql("select count(*) from {table}")))
                    same(found, [1], "a statement between rows")
        same(seen, range(1, 3 * BATCH + 1), "the rows around other statements")
    idle(db, "after the transaction")


@needs()
async def one_connection_serves_several_statements_and_transactions(trial: Trial) -> None:
    db = await trial.table("one")
    async with block(db.conn()) as conn:
        for number in (2, 3):
            async with block(conn.begin()) as tx:
                await done(tx.exec(trial.sql("insert into {table} values ({1}, {2})"), number, "more"))
        same(await everything(conn.query(trial.sql("select count(*) from {table}"))), [(3,)], "the count")
    same(await trial.words(db), ["one", "more", "more"], "the rows")
    idle(db, "after the connection")


@needs()
async def a_statement_is_prepared_and_used_again(trial: Trial) -> None:
    db = await trial.table("one", "two", "three")
    stmt = db.prepare(trial.sql("select word from {table} where id = {1}"))
    for _ in range(3):
        same([(await done(stmt.query_row(n))).word for n in (1, 2, 3)], ["one", "two", "three"], "the words")
        same(await everything(stmt.query(2)), [("two",)], "the rows")
    insert = db.prepare(trial.sql("insert into {table} values ({1}, {2})"))
    async with block(db.begin()) as tx:
        await done(tx.stmt(insert).exec(4, "four"))
        same(await done(tx.stmt(stmt).query_row(4)), ["four"], "what the transaction sees")
    idle(db, "after prepared statements")


@needs()
async def it_says_how_it_binds_and_prepares(trial: Trial) -> None:
    dialect = trial.dialect
    assert dialect is not None
    db = await trial.table("one")
    statement = trial.sql("select word from {table} where id = {1}")
    expect(dialect.binds in ("client", "server", "both"), f"binds must not be {dialect.binds!r}")
    for interpolate, able in ((True, dialect.binds != "server"), (False, dialect.binds != "client")):
        if able:
            same(await done(db.query_row(statement, 1, interpolate=interpolate)), ["one"], "the row")
        else:
            async with Raises(f"interpolate={interpolate} with binds={dialect.binds!r}", ConfigError):
                await done(db.query_row(statement, 1, interpolate=interpolate))
    db = trial.open(prepare=False, max_open=1)
    for _ in range(2):
        same(await done(db.query_row(statement, 1)), ["one"], "the row with prepare=False")
        same(await everything(db.query(statement, 1)), [("one",)], "the rows with prepare=False")


@needs()
async def an_isolation_level_that_is_none_is_refused(trial: Trial) -> None:
    db = trial.open(max_open=1)
    async with Raises("an unknown isolation level", ConfigError), block(db.begin("no such level")):
        pass
    idle(db, "after a refused transaction")


@needs()
async def several_users_share_a_handle(trial: Trial) -> None:
    db = await trial.table(*(f"word {number}" for number in range(1, 9)))
    statement = trial.sql("select word from {table} where id = {1}")

    async def user(number: int) -> None:
        for _ in range(10):
            same(await done(db.query_row(statement, number)), [f"word {number}"], "each user's own row")

    if trial.asynchronous:
        await asyncio.gather(*(user(number) for number in range(1, 9)))
    else:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: run(user(number), asynchronous=False), range(1, 9)))
    idle(db, "after all users")
    expect(db.stats().open_connections <= 2, "there must not be more connections than max_open")  # noqa: PLR2004 - the table's handle has 2


@needs("cancel")
async def a_cancel_that_comes_too_late_hits_nothing(trial: Trial) -> None:
    assert trial.dialect is not None
    assert trial.dialect.cancel is not None
    connection = await trial.connect()
    for _ in range(20):
        await trial.ask(connection, numbers(trial, 1), seconds=_LATE)
        await done(trial.dialect.cancel(connection))
        same(await trial.ask(connection, numbers(trial, 2)), [(1,), (2,)], "the statement after it")


@needs("cancel", "sleep")
async def cancel_stops_a_statement_and_its_error_is_recognised(trial: Trial) -> None:
    dialect = trial.dialect
    assert dialect is not None
    assert dialect.cancel is not None
    assert trial.subject.sleep is not None
    connection = await trial.connect()
    await trial.ask(connection, numbers(trial, 1), seconds=_LATE)
    statement = trial.ask(connection, trial.subject.sleep, seconds=_LATE)
    if trial.asynchronous:
        task = asyncio.create_task(statement)
        while not task.done():  # what comes before the statement stops nothing
            await done(dialect.cancel(connection))
            await asyncio.wait({task}, timeout=_AGAIN)
        error = task.exception()
    else:
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(run, statement, asynchronous=False)
            while not future.done():
                dialect.cancel(connection)
                wait({future}, timeout=_AGAIN)
        error = future.exception()
    expect(error is not None, "a cancelled statement must raise")
    expect(error is not None and dialect.is_cancelled(error), f"is_cancelled() must know {error!r}")
    expect(trial.hooks.is_broken is None or not trial.hooks.is_broken(connection), "it is not broken")
    same(await trial.ask(connection, numbers(trial, 2)), [(1,), (2,)], "the statement after it")


@needs("sleep")
async def a_deadline_ends_a_statement(trial: Trial) -> None:
    db = await trial.table("one")
    for ask in (db.query_row, db.query, db.exec):
        phase = None
        for timeout in (_SOON, 0.5, 0.8):  # on a busy machine it may pass before the statement is sent
            async with Raises("a statement past its deadline", PoolTimeout) as caught:
                await done(ask(trial.subject.sleep, timeout=timeout))
            phase = getattr(caught.error, "phase", None)
            if phase == "statement":
                break
        same([phase], ["statement"], "the phase of the timeout")
        idle(db, "after a deadline")
        same(await trial.words(db), ["one"], "the rows after a deadline")


@needs("sleep")
async def a_deadline_rolls_a_transaction_back(trial: Trial) -> None:
    db = await trial.table("one")
    async with Raises("a transaction past its deadline", PoolTimeout), block(db.begin(timeout=_SOON)) as tx:
        await done(tx.exec(trial.sql("delete from {table}")))
        await done(tx.query_row(trial.subject.sleep))
    idle(db, "after a deadline")
    same(await trial.words(db), ["one"], "the rows after a deadline")


@needs("sleep", "asyncio")
async def a_cancelled_task_leaves_nothing_behind(trial: Trial) -> None:
    db = await trial.table("one")
    async with Raises("a task that is cancelled", TimeoutError):
        async with asyncio.timeout(_SOON):
            await done(db.query_row(trial.subject.sleep))
    idle(db, "after a cancelled task")
    same(await trial.words(db), ["one"], "the rows after a cancelled task")


@needs("streams")
async def a_stream_takes_little_memory(trial: Trial) -> None:
    """Python's part only: what a driver's C library holds is not seen."""
    db = trial.open(max_open=1)
    tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = await everything(db.query(numbers(trial, _STREAMED), stream=False))
        whole = tracemalloc.get_traced_memory()[0] - before
        kept.clear()
        tracemalloc.reset_peak()
        before, count = tracemalloc.get_traced_memory()[0], 0
        async for _ in each(db.query(numbers(trial, _STREAMED), stream=True)):
            count += 1
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()
    same([count], [_STREAMED], "the rows of the stream")
    expect(peak * 4 < whole, f"a stream took {peak:,} bytes; all of its rows at once are {whole:,}")
