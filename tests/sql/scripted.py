"""A driver under a test's control, for what no real server can be made to do at the right moment.

Every talk of the dialect passes through a `Control`, which lets it pass, fails as told, or holds it. What
is asked of a connection is noted in its log, and if anybody else talks to it meanwhile the test fails.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, Literal, Unpack

import cenote
from cenote.options import OptionsDict
from cenote.sql.dialect import Call, Column, Dialect, Isolation, NamedRow, Parameters, Result, Steps
from cenote.testing import (
    AsyncScriptedConnector,
    Control,
    FakeClock,
    FakeConnection,
    HookName,
    ScriptedConnector,
)
from tests.sql.worlds import Both, Started, done

Point = Literal["query", "fetch", "finish", "execute", "begin", "commit", "rollback"]
POINTS: tuple[Point, ...] = ("query", "fetch", "finish", "execute", "begin", "commit", "rollback")
HOOKS: tuple[HookName, ...] = ("is_alive", "ping", "is_broken", "in_transaction", "rollback")
BATCH = 2


class Source:
    """What is left of the results of a query."""

    def __init__(self, connection: FakeConnection, results: list[list[tuple[Any, ...]]]) -> None:
        self.connection = connection
        self.results = results


class ScriptedDialect(Dialect):
    """Returns `results` to every query, two rows at a time."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous
        self.controls: dict[Point, Control] = {point: Control() for point in POINTS}
        self.results: list[list[tuple[Any, ...]]] = [[(1, "Alice"), (2, "Bob"), (3, "Chris")]]
        self.calls: list[Call] = []
        self.cancelled = Control()
        self.faults: list[str] = []
        """What the handle did to a connection that no driver could bear."""
        self.in_order = True
        """Whether a connection can be used further when rows on it were given up."""
        self._talking: set[int] = set()

    def cancel(self, connection: FakeConnection) -> Any:
        """Note that the server was asked to stop."""
        connection.log.append("cancel")
        return self.cancelled.call_async() if self._asynchronous else self.cancelled.call()

    def is_cancelled(self, error: BaseException) -> bool:
        """By the error that a test throws."""
        return isinstance(error, InterruptedError)

    def _talk(self, connection: FakeConnection, point: Point) -> Generator[Any, Any, None]:
        # Not asserted here: whatever a driver raises while it tidies up is nobody's business.
        if connection.number in self._talking:
            self.faults.append(f"{point} while somebody else talks on {connection}")
        if connection.closed:
            self.faults.append(f"{point} on {connection}")
        connection.log.append(point)
        control = self.controls[point]
        self._talking.add(connection.number)
        try:
            yield control.call_async if self._asynchronous else control.call
        finally:
            self._talking.discard(connection.number)

    def query(self, connection: FakeConnection, call: Call) -> Steps[Source]:
        """Send it."""
        self.calls.append(call)
        yield from self._talk(connection, "query")
        return Source(connection, [result.copy() for result in self.results])

    def fetch(self, source: Source) -> Steps[tuple[list[tuple[Any, ...]], bool]]:
        """Take two rows."""
        yield from self._talk(source.connection, "fetch")
        result = source.results[0]
        rows, source.results[0] = result[:BATCH], result[BATCH:]
        return rows, bool(source.results[0])

    def columns(self, source: Source) -> tuple[Column, ...]:
        """Describe a number and a name."""
        return (Column("id", "int"), Column("name", "text"))

    def has_next(self, source: Source) -> bool:
        """Look among the results."""
        return len(source.results) > 1

    def next_result(self, source: Source) -> Steps[bool]:
        """Go on to the next."""
        yield from ()
        del source.results[0]
        return bool(source.results)

    def finish(self, source: Source, *, keep: bool) -> Steps[bool]:
        """Give up the rest."""
        yield from self._talk(source.connection, "finish")
        return self.in_order

    def query_row(self, connection: FakeConnection, call: Call) -> Steps[NamedRow]:
        """Return the first row."""
        self.calls.append(call)
        yield from self._talk(connection, "query")
        rows = self.results[0]
        return ("id", "name"), (rows[0] if rows else None)

    def execute(self, connection: FakeConnection, call: Call) -> Steps[Result]:
        """Change one row."""
        self.calls.append(call)
        yield from self._talk(connection, "execute")
        return Result(1, None)

    def execute_many(
        self, connection: FakeConnection, call: Call, rows: Iterable[Parameters]
    ) -> Steps[Result]:
        """Change a row for each set of parameters."""
        self.calls.append(call)
        yield from self._talk(connection, "execute")
        return Result(len(list(rows)), None)

    def begin(
        self, connection: FakeConnection, isolation: Isolation | None, *, read_only: bool
    ) -> Steps[None]:
        """Open a transaction."""
        yield from self._talk(connection, "begin")
        connection.in_transaction = True

    def commit(self, connection: FakeConnection) -> Steps[bool]:
        """End it."""
        yield from self._talk(connection, "commit")
        connection.in_transaction = False
        return True

    def rollback(self, connection: FakeConnection) -> Steps[None]:
        """Undo it."""
        yield from self._talk(connection, "rollback")
        connection.in_transaction = False


class Scripted(Both):
    """A handle on a scripted driver."""

    def __init__(self, *, asynchronous: bool) -> None:
        super().__init__()
        self.asynchronous = asynchronous
        self.dialect = ScriptedDialect(asynchronous=asynchronous)
        made: Any = AsyncScriptedConnector if asynchronous else ScriptedConnector
        self.connector: Any = made(*HOOKS)
        self.connector.dialect = self._say_dialect
        self.clock = FakeClock()

    def _say_dialect(self) -> ScriptedDialect:
        return self.dialect

    def open(self, *, frozen: bool = False, **options: Unpack[OptionsDict]) -> Any:
        """Open the handle, on demand with a clock that stands still."""
        opened: Any = cenote.open_async if self.asynchronous else cenote.open
        db = opened(self.connector, **options)
        if frozen:
            db.pool._clock = self.clock
        self.handles.append(db)
        return db

    def fail(self, point: Point, error: BaseException) -> None:
        """Have the next call at a point fail."""
        self.dialect.controls[point].fail(error)

    async def held(self, point: Point, call: Callable[[], Any]) -> Started:
        """Start a call, as another user, and return when it is held at a point; see `release`."""
        control = self.dialect.controls[point]
        control.hold()

        async def work() -> Any:
            return await done(call())

        working = self.start(work)
        await self.until(lambda: control.blocked == 1)
        return working

    def release(self, point: Point) -> None:
        """Let go on what is held at a point."""
        self.dialect.controls[point].release()

    def break_all(self) -> None:
        """Have all idle connections be dead."""
        for connection in self.connector.connections:
            connection.alive = False

    async def end(self) -> None:
        """Close the handles; the driver must not have a connection open either."""
        await super().end()
        assert self.connector.open == 0
        assert self.dialect.faults == []
