"""What the author of a driver tells the suite, and how its checks are chosen and run."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from inspect import isawaitable, iscoroutinefunction
from types import TracebackType
from typing import Any, Self, TypeVar

from ..connector import OPTIONAL, Hooks
from ..errors import ConfigError
from ..sql import open as open_threads
from ..sql import open_async
from ..sql.dialect import Call, Dialect, Steps

T = TypeVar("T")

CONNECT_SECONDS = 10.0
_RECURSIVE = (
    "with recursive numbers(i) as (select 1 union all select i + 1 from numbers where i < {count})"
    " select i from numbers"
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the suite has to know of a driver. The statements are those of its database.

    Attributes:
        connector: makes a connector; called for each check, and once to see which checks apply, so it must
            open nothing. The connections of one connector must see the same database.
        name: for the names of the checks.
        placeholder: of a parameter; ``{n}`` in it becomes its number, as in ``${n}``.
        table: the name of a table that the suite may create and drop.
        create: makes ``{table}``, with a whole number `id` and a text `word` that may be NULL.
        drop: drops ``{table}`` if it is there.
        failing: a statement that the server refuses.
        numbers: returns ``{count}`` rows with the numbers from 1 on, in order, in a column `i`.
        sleep: keeps the server busy for ten seconds and returns one row; without it nothing is said about
            deadlines.
        end: have the server end all connections of this subject, and return when it has; without it
            nothing is said about dead connections.
        streams: whether rows asked for with ``stream=True`` come bit by bit.
        tells_rollback: whether the driver can tell that a server which was asked to commit a transaction
            with a failed statement rolled it back, or the server never does so.
    """

    connector: Callable[[], Any]
    name: str = ""
    placeholder: str = "?"
    table: str = "cenote_contract"
    create: str = "create table {table} (id integer, word varchar(100))"
    drop: str = "drop table if exists {table}"
    failing: str = "select nothing from nowhere"
    numbers: str = _RECURSIVE
    sleep: str | None = None
    end: Callable[[], object] | None = None
    streams: bool = False
    tells_rollback: bool = True


class Trial:
    """One check at work: a connector, and what was opened with it."""

    def __init__(self, subject: Subject) -> None:
        """Make the connector."""
        self.subject = subject
        self.connector = subject.connector()
        self.hooks: Hooks[Any] = Hooks.of(self.connector)
        self.asynchronous = iscoroutinefunction(getattr(self.connector, "connect", None))
        self.dialect: Dialect | None = None
        with suppress(ConfigError):  # the pool's side can be proved without
            self.dialect = getattr(self.connector, "dialect", lambda: None)()
        self._connections: list[Any] = []
        self._handles: list[Any] = []

    def traits(self) -> set[str]:
        """Say what can be asked of this subject."""
        found = {name for name in OPTIONAL if getattr(self.hooks, name) is not None}
        found |= {name for name in ("sleep", "end") if getattr(self.subject, name) is not None}
        found |= {"asyncio"} if self.asynchronous else set()
        if self.dialect is not None:
            found.add("dialect")
            found |= {name for name in ("streams", "tells_rollback") if getattr(self.subject, name)}
            found |= {"cancel"} if self.dialect.cancel is not None else set()
        return found

    async def connect(self) -> Any:
        """Open one connection; it is closed after the check, whatever the check did to it."""
        connection = await done(self.connector.connect(CONNECT_SECONDS))
        self._connections.append(connection)
        return connection

    def open(self, **options: Any) -> Any:
        """Open a handle on the connector."""
        handle = (open_async if self.asynchronous else open_threads)(self.connector, **options)
        self._handles.append(handle)
        return handle

    async def steps(self, steps: Steps[T]) -> T:
        """Carry out what a dialect asks for."""
        try:
            step = next(steps)
            while True:
                try:
                    value = await done(step())
                except BaseException as error:  # noqa: BLE001 - the dialect's own matter
                    step = steps.throw(error)
                else:
                    step = steps.send(value)
        except StopIteration as end:
            result: T = end.value
            return result

    async def ask(
        self, connection: Any, statement: str, *, seconds: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Execute a statement on a connection as the handle does, and return its rows as tuples."""
        assert self.dialect is not None
        steps = _asking(self.dialect, connection, statement)
        return await self.steps(steps if seconds is None else self.dialect.within(connection, steps, seconds))

    def sql(self, text: str, **values: Any) -> str:
        """Put the table's name and the placeholders, ``{1}`` and so on, into a statement."""
        marks = [self.subject.placeholder.format(n=n) for n in range(6)]
        return text.format(*marks, table=self.subject.table, **values)

    async def table(self, *words: str | None) -> Any:
        """Open a handle on a new table, with these words in it."""
        db = self.open(max_open=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some drivers warn if there is nothing to drop
            await done(db.exec(self.sql(self.subject.drop)))
        await done(db.exec(self.sql(self.subject.create)))
        for number, word in enumerate(words, 1):
            await done(db.exec(self.sql("insert into {table} values ({1}, {2})"), number, word))
        return db

    async def words(self, db: Any) -> list[str | None]:
        """Read the words of the table."""
        rows = await done(db.query(self.sql("select word from {table} order by id")))
        return [row.word for row in await done(rows.all())]

    async def close(self) -> None:
        """Close everything, the table first."""
        if self._handles and not self._handles[0].closed:
            with suppress(Exception):  # a check that failed may have left it in any state
                await done(self._handles[0].exec(self.sql(self.subject.drop)))
        for handle in self._handles:
            await done(handle.close())
        for connection in self._connections:
            await done(self.connector.close(connection))


def _asking(dialect: Dialect, connection: Any, statement: str) -> Steps[list[tuple[Any, ...]]]:
    source = yield from dialect.query(connection, Call(statement))
    taken: list[tuple[Any, ...]] = []
    more = True
    while more:
        rows, more = yield from dialect.fetch(source)
        taken += map(tuple, rows)
    yield from dialect.finish(source, keep=True)
    return taken


class Check:
    """One thing that a driver has to do. Call it: it raises `AssertionError` or the driver's error if not."""

    def __init__(self, function: Callable[[Trial], Coroutine[Any, Any, None]], subject: Subject) -> None:
        """Bind a check to a subject."""
        self._function = function
        self._subject = subject
        self.name: str = function.__name__
        """Its name, which is a sentence."""

    def __call__(self) -> None:
        """Run it, in a loop of its own if the driver is for asyncio. Blocks until it is done."""
        trial = Trial(self._subject)
        run(self._run(trial), asynchronous=trial.asynchronous)

    async def _run(self, trial: Trial) -> None:
        try:
            await self._function(trial)
        finally:
            await trial.close()

    def __str__(self) -> str:
        return f"{self._subject.name}-{self.name}" if self._subject.name else self.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


def contract(subject: Subject) -> list[Check]:
    """List the checks that apply to a driver: those for its hooks, and for its dialect if it has one.

    A check is called without arguments, so any test framework can run them::

        @pytest.mark.parametrize("check", contract(subject), ids=str)
        def test_the_driver_keeps_the_contract(check):
            check()

    Raises:
        Exception: whatever the subject's `connector` raises.
    """
    from . import _handle_checks, _pool_checks  # noqa: PLC0415 - they are written in terms of this file

    traits = Trial(subject).traits()
    every = [*_pool_checks.CHECKS, *_handle_checks.CHECKS]
    return [Check(function, subject) for function, needs in every if needs <= traits]


Body = Callable[[Trial], Coroutine[Any, Any, None]]
CheckList = list[tuple[Body, set[str]]]


def collector(checks: CheckList, *always: str) -> Callable[..., Callable[[Body], Body]]:
    """Make the decorator that collects checks, and notes what each needs."""

    def needs(*traits: str) -> Callable[[Body], Body]:
        def collect(body: Body) -> Body:
            checks.append((body, {*always, *traits}))
            return body

        return collect

    return needs


def run(coroutine: Coroutine[Any, Any, T], *, asynchronous: bool) -> T:
    """Run a coroutine in a loop; or one that only blocks and never waits, in this thread."""
    if asynchronous:
        return asyncio.run(coroutine)
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("a hook or a driver's call returned an awaitable, though connect is for threads")


async def done(value: Any) -> Any:
    """Await what has to be awaited."""
    return await value if isawaitable(value) else value


async def each(rows: Any) -> AsyncIterator[Any]:
    """Read rows one by one, in either world."""
    if hasattr(rows, "__aiter__"):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


@asynccontextmanager
async def block(manager: Any) -> AsyncIterator[Any]:
    """Enter a with block of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered


class Raises:
    """Hold the author to an error, the driver's own if no kind is named; `error` is it afterwards."""

    def __init__(self, what: str, kind: type[BaseException] = Exception) -> None:
        """Say for what it is due."""
        self._what, self._kind = what, kind
        self.error: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        expect(error is not None, f"{self._what} must raise {self._kind.__name__}")
        return isinstance(error, self._kind)


def expect(condition: object, message: str) -> None:
    """Hold the author to something, also under ``python -O``.

    Raises:
        AssertionError: it is not so.
    """
    if not condition:
        raise AssertionError(message)


def same(found: Iterable[Any], wanted: Iterable[Any], what: str) -> None:
    """Compare two lists.

    Raises:
        AssertionError: they differ.
    """
    found, wanted = list(found), list(wanted)
    expect(found == wanted, f"{what}: expected {wanted!r}, got {found!r}")
