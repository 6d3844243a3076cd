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
from tests.patience import SAFETY, growing
from tests.sql.stages import Stage
from tests.sql.subjects import SERVED, SUBJECTS, Subject, done, entered, on

ATTEMPTS = 120  # for each subject, so that there are more than a thousand in sum
ATTEMPTS_ON_ONE = 40  # more, on a connection held for several statements
USERS = 2
LEAST = 3  # of either end, for each user
# The lengths of the statements. Half of them end, with a round trip, around the deadline; the others after
# it, in the time that it takes to stop one, which for a MySQL server is that of a statement on another
# connection.
NEAR, FAR = (0.0015, 0.0055), 0.026
FIRST = 0.004  # deadline
STEP = (1.1, 1.4)
CANARY = 0.002  # long enough for a cancel request on its way to arrive
SEED = 11_2358

IN_TIME, CUT_SHORT = "in time", "cut short"


async def sing(subject: Subject, place: Any, number: int) -> None:
    """Execute what must not be disturbed: it takes a moment, and has an answer of its own."""
    assert tuple(await done(place.query_row(subject.sleep(CANARY, number)))) == (number,)


class Race:
    """A user's statements that take about as long as they may.

    The deadline follows those that end near it: it is shorter after one that came in time, longer after one
    that was cut short. So the race is close on any machine, and both ends keep occurring.
    """

    def __init__(self, subject: Subject, user: int) -> None:
        self.subject = subject
        self.ends = Counter[str]()  # with other phases of a timeout, which count for nothing
        self._rng = random.Random(SEED + user)
        self._first = user * 1_000_000
        self._deadline = FIRST

    @property
    def number(self) -> int:
        """What no other statement has for an answer."""
        return self._first + self.ends.total() + 1

    def goes_on(self, attempts: int) -> bool:
        """Whether there were too few of either end, or of both together."""
        ends = (self.ends[IN_TIME], self.ends[CUT_SHORT])
        return sum(ends) < attempts or min(ends) < LEAST

    async def run(self, place: Any) -> None:
        """Send one, and note which of the two won."""
        near = self._rng.random() < 0.5
        length = self._rng.uniform(*NEAR) if near else self._deadline + self._rng.uniform(0, FAR)
        end = await self._end(place, length)
        self.ends[end] += 1
        if near and end in {IN_TIME, CUT_SHORT}:
            step = self._rng.uniform(*STEP)
            self._deadline *= step if end == CUT_SHORT else 1 / step

    async def _end(self, place: Any, length: float) -> str:
        number = self.number
        try:
            row = await done(place.query_row(self.subject.sleep(length, -number), timeout=self._deadline))
        except cenote.PoolTimeout as error:
            return CUT_SHORT if error.phase == "statement" else error.phase
        assert tuple(row) == (-number,)
        return IN_TIME


@on(SUBJECTS)
async def test_a_deadline_that_runs_out_as_the_statement_ends_never_hits_the_next_one(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=USERS, timeout=SAFETY)) as db:

        async def user(name: int) -> None:
            race = Race(subject, name)
            while race.goes_on(ATTEMPTS // USERS):
                await race.run(db)
                await sing(subject, db, race.number)

        await subject.crowd(*(user(name) for name in range(USERS)))
        assert db.stats().in_use == 0


@on(SUBJECTS)
async def test_nor_does_it_hit_the_next_statement_on_a_connection_of_ones_own(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=USERS, timeout=SAFETY)) as db:

        async def user(name: int) -> None:
            race = Race(subject, USERS + name)
            while race.goes_on(ATTEMPTS_ON_ONE // USERS):
                # After a cancel that nobody confirmed the connection refuses what follows, unsent.
                with suppress(cenote.Error):
                    async with entered(db.conn()) as conn:
                        for _ in range(8):
                            await race.run(conn)
                            await sing(subject, conn, race.number)

        await subject.crowd(*(user(name) for name in range(USERS)))
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
        self._go.wait(SAFETY)
        try:
            self._cancel(connection)
        finally:
            self._sent.set()

    async def _later_in_the_loop(self, connection: Any) -> None:
        self._asked.set()
        await asyncio.to_thread(self._go.wait, SAFETY)
        try:
            await self._cancel(connection)
        finally:
            self._sent.set()

    def let_go(self) -> None:
        """Let the request go, and return when it was sent."""
        assert self._asked.wait(SAFETY)
        self._go.set()
        assert self._sent.wait(SAFETY)


@on(SERVED)
async def test_a_cancel_request_that_is_still_under_way_costs_its_own_connection_and_nothing_else(
    subject: Subject, stage: Stage
) -> None:
    async with entered(subject.open(stage.url(subject), max_open=1)) as db:
        await done(db.query_row("select 1"))
        post = Post(subject, db._handle.dialect.cancel)
        db._handle.dialect.cancel = post.deliver
        for deadline in growing(0.01):
            # It ends by itself after the deadline and before the grace is over, with its own answer.
            with suppress(cenote.PoolTimeout):
                await done(db.query_row(subject.sleep(deadline + 0.01, 3), timeout=deadline))
            if db.stats().discarded:  # else it was late to be sent, or the request was
                break
        assert db.stats().discarded == 1

        async def canary() -> None:
            assert tuple(await done(db.query_row(subject.sleep(0.3, 7)))) == (7,)

        await subject.crowd(canary(), subject.aside(post.let_go))
        assert db.stats().connect_count == 2
        assert db.stats().in_use == 0
