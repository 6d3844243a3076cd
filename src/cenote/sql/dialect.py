"""How to speak SQL over one kind of connection: the contract between the handle and a driver.

A connector that can be opened with `cenote.open` has a method ``dialect()`` which returns a `Dialect`.
What may block is written as steps: a method is a generator that yields each call to the driver and is
sent its result, in a thread at once and in asyncio awaited. So one text serves both worlds::

    def execute(self, connection, call):
        cursor = connection.cursor()
        yield partial(cursor.execute, call.sql, call.params)
        return cursor

`Pep249` implements the whole of it for cursors as PEP 249 describes them; a driver's own file keeps
what its driver does differently.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

from cenote.errors import ConfigError

T = TypeVar("T")
Steps = Generator[Callable[[], Any], Any, T]

Binds = Literal["client", "server", "both"]
Isolation = Literal["read uncommitted", "read committed", "repeatable read", "serializable"]
Batch = tuple[list[tuple[Any, ...]], bool]
"""Some rows, and whether there may be more."""
NamedRow = tuple[tuple[str, ...], tuple[Any, ...] | None]
"""The columns' names and one row's values; None if there was no row."""
Parameters = Sequence[Any] | Mapping[str, Any] | None

BATCH = 256
"""Rows fetched at once: enough to make the cost of asking small, few enough to hold in memory."""

UNKNOWN_COUNT = -1  # PEP 249's


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result.

    Attributes:
        name: as the server calls it.
        type: the server's name of its type where the driver tells, else the driver's code for it.
        nullable: whether it may be NULL; None if the driver does not tell.
        precision: of a number, None if not told.
        scale: of a number, None if not told.
        size: the most bytes or characters, None if not told or without limit.
    """

    name: str
    type: str
    nullable: bool | None = None
    precision: int | None = None
    scale: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement did.

    Attributes:
        rows_affected: None if the driver cannot tell.
        last_insert_id: the key made for the last inserted row; None where the server has no such thing
            (PostgreSQL: use ``returning`` and `query_row`).
    """

    rows_affected: int | None
    last_insert_id: int | None


class Call:
    """One statement on its way to the driver.

    Attributes:
        sql: the text, untouched.
        params: in the driver's own style; None if there are none, so that the driver leaves ``%`` alone.
        interpolate: have the driver paste the parameters (True), the server bind them (False), or what
            the driver does by itself (None).
        prepare: have the server keep the statement (True), not (False), or what the driver does (None).
        stream: whether rows may be fetched as they are read; None means where that costs nothing.
    """

    __slots__ = ("interpolate", "params", "prepare", "sql", "stream")

    def __init__(
        self,
        sql: Any,
        params: Parameters = None,
        interpolate: bool | None = None,  # noqa: FBT001 - made for each statement, and named there would cost
        prepare: bool | None = None,  # noqa: FBT001 - the same
        stream: bool | None = None,  # noqa: FBT001 - the same
    ) -> None:
        self.sql: Any = sql
        self.params: Parameters = params
        self.interpolate: bool | None = interpolate
        self.prepare: bool | None = prepare
        self.stream: bool | None = stream


class Dialect:
    """What the handle asks of a driver; a source is whatever `query` returned, to be fetched from."""

    binds: ClassVar[Binds] = "server"
    """Who puts the parameters in: the driver into the text, the server, or as one asks."""
    prepares: ClassVar[bool] = True
    """Whether a statement can be kept by the server and used again; if not, a `Stmt` is a mere name."""
    binds_prepared: ClassVar[bool] = False
    """Whether the server binds only for statements that are prepared, so that the others are pasted."""
    named: bool = True
    """Whether parameters can be a mapping of names."""
    cancel: Callable[[Any], Any] | None = None
    """Ask the server to stop what runs on a connection, from elsewhere, within two seconds or so; awaited
    in asyncio. Returns when the request can no longer hit anything that is sent afterwards."""

    def within(self, connection: Any, steps: Steps[T], seconds: float) -> Steps[T]:  # noqa: ARG002 - the contract's
        """Do something by a deadline, about which the driver has to be told what `cancel` does not do."""
        return steps

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Send a statement and return a source of its rows."""
        raise NotImplementedError

    def fetch(self, source: Any) -> Steps[Batch]:
        """Read some rows as plain tuples, and say whether there may be more."""
        raise NotImplementedError

    def columns(self, source: Any) -> tuple[Column, ...]:
        """Describe the result; nothing if the statement returns no rows."""
        raise NotImplementedError

    def names(self, source: Any) -> tuple[str, ...]:
        """Return the columns' names alone."""
        return tuple(column.name for column in self.columns(source))

    def has_next(self, source: Any) -> bool:  # noqa: ARG002 - the contract's
        """Whether another result of the same statement follows, as a stored procedure may return several."""
        return False

    def next_result(self, source: Any) -> Steps[bool]:  # noqa: ARG002 - the contract's
        """Go on to the statement's next result; false if there is none."""
        yield from ()
        return False

    def finish(self, source: Any, *, keep: bool) -> Steps[bool]:
        """Give up what was not read, and say whether the connection is in order.

        Without `keep`, a connection that would have to read a lot is better closed.
        """
        raise NotImplementedError

    fetch_row: Callable[[Any, Call], Any] | None = None
    """Return the columns' names and the first row, None if there is none; awaited in asyncio.

    A dialect that leaves it out is asked by `query_row` instead, which costs a little more.
    """

    def query_row(self, connection: Any, call: Call) -> Steps[NamedRow]:
        """Do the same as steps."""
        assert self.fetch_row is not None
        found: NamedRow = yield partial(self.fetch_row, connection, call)
        return found

    def execute(self, connection: Any, call: Call) -> Steps[Result]:
        """Execute a statement and return what it did."""
        raise NotImplementedError

    def execute_many(self, connection: Any, call: Call, rows: Iterable[Parameters]) -> Steps[Result]:
        """Execute it for each set of parameters."""
        raise NotImplementedError

    def begin(self, connection: Any, isolation: Isolation | None, *, read_only: bool) -> Steps[None]:
        """Begin a transaction."""
        raise NotImplementedError

    def commit(self, connection: Any) -> Steps[bool]:
        """Commit; false if the server rolled back instead, since a statement had failed."""
        raise NotImplementedError

    def rollback(self, connection: Any) -> Steps[None]:
        """Roll back."""
        raise NotImplementedError

    def is_over(self, connection: Any) -> bool:  # noqa: ARG002 - the contract's
        """Whether a transaction that was begun has ended by itself: what follows would be on its own."""
        return False

    def ends_tx(self, error: BaseException) -> bool:  # noqa: ARG002 - the contract's
        """Whether an error says that the database has rolled the whole transaction back, unasked."""
        return False

    def is_cancelled(self, error: BaseException) -> bool:  # noqa: ARG002 - the contract's
        """Whether this is how the server says that it stopped the statement as asked."""
        return False

    def check(self, *, interpolate: bool | None, prepare: bool | None) -> None:
        """Refuse what cannot be done with this driver.

        Raises:
            ConfigError: it cannot bind or prepare that way.
        """
        who = type(self).__name__.removesuffix("Dialect")
        if interpolate and self.binds == "server":
            raise ConfigError(
                f"interpolate: {who} has the server bind parameters and cannot paste them; leave it out"
            )
        if interpolate is False and self.binds == "client":
            raise ConfigError(f"interpolate: {who} can only paste parameters itself; leave it out")
        if interpolate is False and prepare is False and self.binds_prepared:
            raise ConfigError(
                f"interpolate: {who} has the server bind only what is prepared; leave out prepare=False"
            )
        if prepare and not self.prepares:
            raise ConfigError(f"prepare: {who} cannot prepare on the server; leave it out")
        if interpolate and prepare:
            raise ConfigError(
                "interpolate: a prepared statement takes its parameters on the server; "
                "ask for interpolate=True or prepare=True"
            )


class Pep249(Dialect):
    """The contract on PEP 249's cursors. A source is a cursor."""

    def cursor(self, connection: Any, call: Call) -> Steps[Any]:  # noqa: ARG002 - for those who choose by it
        """Make the cursor for a statement whose whole result is wanted at once."""
        yield from ()
        return connection.cursor()

    def streaming_cursor(self, connection: Any, call: Call) -> Steps[Any]:
        """Make the cursor for a statement whose rows are fetched as they are read."""
        return (yield from self.cursor(connection, call))

    def send(self, cursor: Any, call: Call) -> Steps[None]:
        """Execute on a cursor."""
        if call.params is None:
            yield partial(cursor.execute, call.sql)
        else:
            yield partial(cursor.execute, call.sql, call.params)

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Execute on a cursor that leaves the rows where they are."""
        cursor = yield from (
            self.cursor(connection, call) if call.stream is False else self.streaming_cursor(connection, call)
        )
        yield from self.send(cursor, call)
        return cursor

    def fetch(self, source: Any) -> Steps[Batch]:
        """Fetch a batch; one that is not full was the last."""
        if source.description is None:
            return [], False
        rows: list[tuple[Any, ...]] = yield partial(source.fetchmany, BATCH)
        return rows, len(rows) == BATCH

    def columns(self, source: Any) -> tuple[Column, ...]:
        """Read the cursor's description."""
        return tuple(self.column(item) for item in source.description or ())

    def column(self, item: Any) -> Column:
        """Read one of PEP 249's seven-part descriptions."""
        name, code, _, size, precision, scale, nullable = item[:7]  # some drivers know more
        return Column(
            name,
            self.type_name(code),
            None if nullable is None else bool(nullable),
            precision,
            scale,
            None if size is None or size < 0 else size,
        )

    def type_name(self, code: Any) -> str:
        """Name a type by the driver's code for it."""
        return "" if code is None else str(code)

    def names(self, source: Any) -> tuple[str, ...]:
        """Return the columns' names alone."""
        return tuple([item[0] for item in source.description or ()])

    def next_result(self, source: Any) -> Steps[bool]:
        """Ask for the cursor's next set."""
        nextset = getattr(source, "nextset", None)
        return nextset is not None and bool((yield nextset))

    def finish(self, source: Any, *, keep: bool) -> Steps[bool]:  # noqa: ARG002 - closing is all there is
        """Close the cursor."""
        yield source.close
        return True

    def query_row(self, connection: Any, call: Call) -> Steps[NamedRow]:
        """Execute, fetch one, close."""
        if self.fetch_row is not None:
            return (yield from super().query_row(connection, call))
        cursor = yield from self.cursor(connection, call)
        yield from self.send(cursor, call)
        row = (yield cursor.fetchone) if cursor.description is not None else None
        names = self.names(cursor)
        yield from self.dispose(cursor)
        return names, row

    def execute(self, connection: Any, call: Call) -> Steps[Result]:
        """Execute, read the counts, close."""
        cursor = yield from self.cursor(connection, call)
        yield from self.send(cursor, call)
        result = self.result(cursor)
        yield from self.dispose(cursor)
        return result

    def execute_many(self, connection: Any, call: Call, rows: Iterable[Parameters]) -> Steps[Result]:
        """Use the cursor's executemany."""
        cursor = yield from self.cursor(connection, call)
        yield partial(cursor.executemany, call.sql, rows)
        result = self.result(cursor)
        yield from self.dispose(cursor)
        return Result(result.rows_affected, None)

    def dispose(self, cursor: Any) -> Steps[None]:
        """Be done with a cursor whose result is not wanted any more."""
        yield cursor.close

    def result(self, cursor: Any) -> Result:
        """Read what a cursor knows of the statement it executed."""
        affected = cursor.rowcount
        return Result(None if affected == UNKNOWN_COUNT else affected, self.last_insert_id(cursor))

    def last_insert_id(self, cursor: Any) -> int | None:
        """Read the key made for the last row; PEP 249 calls it `lastrowid`."""
        found: int | None = getattr(cursor, "lastrowid", None) or None
        return found

    def tell(self, connection: Any, *statements: str) -> Steps[None]:
        """Execute statements of our own, one after the other."""
        call = Call("")
        cursor = yield from self.cursor(connection, call)
        for call.sql in statements:
            yield from self.send(cursor, call)
        yield cursor.close

    def begin(self, connection: Any, isolation: Isolation | None, *, read_only: bool) -> Steps[None]:
        """Begin, by the statements of `begin_with`."""
        yield from self.tell(connection, *self.begin_with(isolation, read_only=read_only))

    def begin_with(self, isolation: Isolation | None, *, read_only: bool) -> Sequence[str]:
        """Word the beginning."""
        raise NotImplementedError

    def commit(self, connection: Any) -> Steps[bool]:
        """Commit."""
        yield from self.tell(connection, "COMMIT")
        return True

    def rollback(self, connection: Any) -> Steps[None]:
        """Roll back."""
        yield from self.tell(connection, "ROLLBACK")
