"""Every driver that the handle speaks through, as one list, and the SQL that its server takes.

A test is a coroutine, run once for each subject as `tests.postgres.worlds` explains. To prove another driver,
add a line to `SUBJECTS`.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

import pytest

import cenote
from tests.postgres.worlds import World, done, entered

__all__ = [
    "ASYNC",
    "PGBOUNCER",
    "POSTGRESQL",
    "SERVED",
    "SUBJECTS",
    "Subject",
    "Tally",
    "at_rest",
    "done",
    "each",
    "entered",
    "on",
    "take",
]

Family = Literal["postgresql", "mysql", "sqlite"]

_SLEEP = {
    "postgresql": "select {value} as value from pg_sleep({seconds:.6f})",
    # A sleep that is stopped at the last moment may return 1 instead of an error.
    "mysql": "select {value} + least(sleep({seconds:.6f}), 0) as value",
    # SQLite has no clock to wait for. This much work takes about that long, and longer on a slow machine.
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n limit {steps})"
    " select {value} + 0 * count(*) as value from n",
}
_NUMBERS = {
    # In the list of columns, so that the server makes them one by one; in `from` it would make all first.
    "postgresql": "select i, 'row ' || i as label from (select generate_series(1, {count}) as i) as numbers",
    "mysql": "select seq as i, concat('row ', seq) as label from seq_1_to_{count}",
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n limit {count})"
    " select i, 'row ' || i as label from n",
}
STEPS_A_SECOND = 3_000_000


@dataclass(frozen=True, kw_only=True)
class Subject(World):
    """One driver in one world; `pool` opens the handle."""

    family: Family
    mark: str = "%s"  # the first placeholder
    streams: bool = True  # rows are fetched as they are read, unless told otherwise

    __str__ = World.__str__

    def open(self, url: str, **options: Any) -> Any:
        """Open the handle."""
        return self.pool(url, **options)

    def sleep(self, seconds: float, value: int = 1) -> str:
        """Word a statement that takes so long and returns the value."""
        steps = max(1, round(seconds * STEPS_A_SECOND))
        return _SLEEP[self.family].format(seconds=seconds, steps=steps, value=value)

    def numbers(self, count: int | None = None) -> str:
        """Word a statement that returns so many rows of a number and a label, or more than one can read."""
        if count is None:
            # A MySQL server sends what is left to the very end, even to somebody who says goodbye.
            count = 1_000_000 if self.family == "mysql" else 1_000_000_000
        return _NUMBERS[self.family].format(count=count)


PSYCOPG = Subject("psycopg", "postgresql", cenote.open, blocking=True, family="postgresql")
ASYNC_PSYCOPG = Subject(
    "psycopg-async", "postgresql+psycopg", cenote.open_async, blocking=False, family="postgresql"
)
PSYCOPG2 = Subject(
    "psycopg2", "postgresql+psycopg2", cenote.open, blocking=True, family="postgresql", streams=False
)
ASYNCPG = Subject(
    "asyncpg",
    "postgresql+asyncpg",
    cenote.open_async,
    blocking=False,
    family="postgresql",
    mark="$1",
    streams=False,
)
PYMYSQL = Subject("pymysql", "mysql", cenote.open, blocking=True, family="mysql")
MYSQLDB = Subject("mysqldb", "mysql+mysqldb", cenote.open, blocking=True, family="mysql")
MYSQLCONNECTOR = Subject("mysqlconnector", "mysql+mysqlconnector", cenote.open, blocking=True, family="mysql")
ASYNCMY = Subject("asyncmy", "mysql", cenote.open_async, blocking=False, family="mysql")
AIOMYSQL = Subject("aiomysql", "mysql+aiomysql", cenote.open_async, blocking=False, family="mysql")
SQLITE = Subject("sqlite3", "sqlite", cenote.open, blocking=True, family="sqlite", mark="?")
AIOSQLITE = Subject("aiosqlite", "sqlite", cenote.open_async, blocking=False, family="sqlite", mark="?")

SUBJECTS = [
    PSYCOPG,
    ASYNC_PSYCOPG,
    PSYCOPG2,
    ASYNCPG,
    PYMYSQL,
    MYSQLDB,
    MYSQLCONNECTOR,
    ASYNCMY,
    AIOMYSQL,
    SQLITE,
    AIOSQLITE,
]
SERVED = [subject for subject in SUBJECTS if subject.family != "sqlite"]
POSTGRESQL = [subject for subject in SUBJECTS if subject.family == "postgresql"]
ASYNC = [subject for subject in SUBJECTS if not subject.blocking]
PGBOUNCER = POSTGRESQL

Script = Coroutine[Any, Any, None]


def on(subjects: list[Subject]) -> Callable[[Callable[..., Script]], Callable[..., None]]:
    """Run a test, a coroutine function with an argument `subject`, once for each of them."""

    def decorate(test: Callable[..., Script]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(subject: Subject, **fixtures: Any) -> None:
            subject.run(test(subject=subject, **fixtures))

        once_for_each: Callable[..., None] = pytest.mark.parametrize("subject", subjects, ids=str)(run)
        return once_for_each

    return decorate


async def each(rows: Any) -> AsyncGenerator[Any, None]:
    """Read rows one by one, in either world; `rows` may be a query that was not sent yet."""
    if hasattr(rows, "__aiter__"):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


async def take(rows: Any, count: int) -> list[Any]:
    """Read so many rows and leave the rest where it is."""
    taken: list[Any] = []
    iterator = aiter(rows) if hasattr(rows, "__aiter__") else iter(rows)
    while len(taken) < count:
        taken.append(await anext(iterator) if hasattr(iterator, "__anext__") else next(iterator))
    return taken


class Tally:
    """Counts rows while they are read, keeping none, so that an error does not take the count away."""

    def __init__(self) -> None:
        self.rows = 0

    async def read(self, rows: Any) -> None:
        """Read to the end."""
        async for _ in each(rows):
            self.rows += 1


async def at_rest(db: Any) -> bool:
    """Say whether nothing is held, once what an alarm has begun elsewhere is done."""
    for _ in range(1000):
        if not db.stats().in_use:
            return True
        await done(db.query_row("select 1"))
    return False
