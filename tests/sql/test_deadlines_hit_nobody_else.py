"""A deadline hits its own statement or none: what is sent next on the same connection is never cancelled.

The hard case is a deadline that runs out just as the statement ends, so that the cancel request is under way
when the connection is given to somebody else.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cenote
from tests.sql.stages import Stage
from tests.sql.subjects import SERVED, SUBJECTS, Subject, done, entered, on

ATTEMPTS = 120  # for each subject, so that there are more than a thousand in sum
ATTEMPTS_ON_ONE = 40  # more, on a connection held for several statements
USERS = 2
SHORT = 0.004  # the deadline
# The lengths of the statements. Half of them end, with a round trip, around the deadline; the others in the
# time that it takes to stop one, which for a MySQL server is that of a statement on another connection.
NEAR, FAR = (0.0015, 0.0055), (0.004, 0.03)
CANARY = 0.002  # long enough for a cancel request on its way to arrive
SEED = 11_2358

IN_TIME, CUT_SHORT = "in time", "cut short"


async def sing(subject: Subject, place: Any, number: int) -> None:
    """Execute what must not be disturbed: it takes a moment, and has an answer of its own."""
    assert tuple(await done(place.query_row(subject.sleep(CANARY, number)))) == (number,)


async def race(subject: Subject, place: Any, rng: random.Random, number: int) -> str:
    """Send a statement that takes about as long as it may; say which of the two won."""
    try:
        statement = subject.sleep(rng.uniform(*rng.choice((NEAR, FAR))), -number)
        row = await done(place.query_row(statement, timeout=SHORT))
    except cenote.PoolTimeout as error:
        return CUT_SHORT if error.phase == "statement" else error.phase
    assert tuple(row) == (-number,)
    return IN_TIME


@on(SUBJECTS)
async def test_a_deadline_that_runs_out_as_the_statement_ends_never_hits_the_next_one(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=USERS, timeout=30)) as db:

        async def user(name: int) -> Counter[str]:
            rng, ends = random.Random(SEED + name), Counter[str]()
            while ends[IN_TIME] + ends[CUT_SHORT] < ATTEMPTS // USERS:
                ends[await race(subject, db, rng, ends.total())] += 1
                await sing(subject, db, name * ATTEMPTS + ends.total())
            return ends

        ends = sum(await subject.crowd(*(user(name) for name in range(USERS))), Counter[str]())
        assert ends[IN_TIME] >= ATTEMPTS / 40, ends
        assert ends[CUT_SHORT] >= ATTEMPTS / 40, ends
        assert db.stats().in_use == 0


@on(SUBJECTS)
async def test_nor_does_it_hit_the_next_statement_on_a_connection_of_ones_own(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=USERS, timeout=30)) as db:

        async def user(name: int) -> Counter[str]:
            rng, ends = random.Random(SEED - name), Counter[str]()
            while ends[IN_TIME] + ends[CUT_SHORT] < ATTEMPTS_ON_ONE // USERS:
                # After a cancel that nobody confirmed the connection refuses what follows, unsent.
                with suppress(cenote.Error):
                    async with entered(db.conn()) as conn:
                        for _ in range(8):
                            ends[await race(subject, conn, rng, ends.total())] += 1
                            await sing(subject, conn, name * ATTEMPTS + ends.total())
            return ends

        ends = sum(await subject.crowd(*(user(name) for name in range(USERS))), Counter[str]())
        assert ends[IN_TIME] >= ATTEMPTS_ON_ONE / 40, ends
        assert ends[CUT_SHORT] >= ATTEMPTS_ON_ONE / 40, ends
        assert db.stats().in_use == 0


class Post:
    """Holds a cancel request back until the test lets it go."""

    def __init__(self, subject: Subject, cancel: Callable[[Any], Any]) -> None:
        self._cancel = cancel
        self._asked, self._sent = threading.Event(), threading.Event()
        self._go = threading.Event()
        self.deliver = self._later if subject.blocking else self._later_in_the_loop

    def _later(self, connection: Any) -> None:
        self._asked.set()
        self._go.wait(30)
        try:
            self._cancel(connection)
        finally:
            self._sent.set()

    async def _later_in_the_loop(self, connection: Any) -> None:
        self._asked.set()
        await asyncio.to_thread(self._go.wait, 30)
        try:
            await self._cancel(connection)
        finally:
            self._sent.set()

    def let_go(self) -> None:
        """Let the request go, and return when it was sent."""
        assert self._asked.is_set()
        self._go.set()
        assert self._sent.wait(30)


@on(SERVED)
async def test_a_cancel_request_that_is_still_under_way_costs_its_own_connection_and_nothing_else(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        await done(db.query_row("select 1"))
        post = Post(subject, db._handle.dialect.cancel)
        db._handle.dialect.cancel = post.deliver
        # It ends by itself after the deadline and before the grace is over, with its own answer.
        with suppress(cenote.PoolTimeout):
            await done(db.query_row(subject.sleep(0.02, 3), timeout=0.01))
        assert db.stats().discarded == 1

        async def canary() -> None:
            assert tuple(await done(db.query_row(subject.sleep(0.3, 7)))) == (7,)

        await subject.crowd(canary(), subject.aside(post.let_go))
        assert db.stats().connect_count == 2
        assert db.stats().in_use == 0
