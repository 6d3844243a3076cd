"""The handle for threads: `cenote.open`. It drives the jobs of this package by blocking."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from sys import _getframe
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from cenote._deadline import current_deadline
from cenote._threads import Lease, Pool, run
from cenote.connector import Connector
from cenote.durations import Duration
from cenote.errors import NoRows, StmtClosed
from cenote.options import Options, OptionsDict

from . import _held, _reader
from ._handle import DBBase, take_handle_options
from ._limits import Later, ThreadLater, ThreadLimit
from ._reader import Reader, check_unread
from ._session import FOREVER, Handle, Owner, Site, site_of, talk
from .dialect import Column, Isolation, Result
from .row import Row, converter, row_class

T = TypeVar("T")


class Rows:
    """The rows a query returned, to be read once: iterate, or take `all`.

    A result of more than one batch keeps its connection until it is read to the end, closed, or
    collected; a smaller one is here whole, and its connection is back in the pool already. So leave
    a loop early as you like, best inside ``with db.query(...) as rows``: that closes them, and gives
    the connection back at once. Rows that are collected unread cost their connection.
    """

    __slots__ = ("_iterator", "_reader")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._iterator: Iterator[Row] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the result; none if the statement returns no rows."""
        return self._reader.columns

    def __iter__(self) -> Iterator[Row]:
        """Read the rows one by one; a second loop goes on where the first one stopped.

        Raises:
            RowsClosed: they were read to the end, or closed.
            PoolTimeout: the deadline passed while more were fetched.
            Error: another thread is reading.
        """
        check_unread(self._reader, begun=self._iterator is not None)
        if self._iterator is None:
            self._iterator = _iterate(self._reader)
        return self._iterator

    def __next__(self) -> Row:
        """Read one row."""
        return next(iter(self))

    def all(self) -> list[Row]:
        """Read all rows into a list.

        Raises:
            RowsClosed: they were read to the end, or closed.
        """
        return list(self)

    def as_type(self, cls: type[T]) -> Iterator[T]:
        """Read each row as a `cls`: a dataclass by its fields' names, an `int` by the only column.

        Raises:
            Error: the result has no column for a field that needs one. Nothing was read.
            RowsClosed: they were read to the end, or closed.
        """
        return map(converter(cls, self._reader.row._columns), self)

    def next_result(self) -> bool:
        """Go on to the statement's next result, as a procedure may have; false if there is none."""
        self._iterator = None
        return run(_reader.next_result(self._reader))

    def close(self) -> None:
        """Give up what was not read. Harmless when done before, or when all was read."""
        run(_reader.close(self._reader))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _iterate(reader: Reader) -> Generator[Row, None, None]:
    # Not a method: a loop over db.query(...) holds this alone, and what it drops must be free to go.
    while True:
        yield from map(reader.row, reader.rows)
        if not run(_reader.read_on(reader)):
            reader.rows.clear()
            return


class Queries(Owner):
    """The statements that a handle, a connection and a transaction all take.

    Parameters are passed to the driver as they are, in its own style (``?``, ``%s``, ``$1``); cenote
    never puts them into the text. Where the driver knows parameters by name, one mapping stands for them.
    """

    def query(
        self,
        sql: str,
        *params: Any,
        timeout: Duration | None = None,
        interpolate: bool | None = None,
        stream: bool | None = None,
    ) -> Rows:
        """Send a statement that returns rows.

        Args:
            sql: the statement, with placeholders in the driver's style.
            params: their values; or one mapping, for placeholders with names.
            timeout: one deadline for the connection, the statement, and reading the rows; without it the
                pool's for the connection, and none for the rest, unless `cenote.timeout` sets one.
            interpolate: have the driver paste the parameters (True) or the server bind them (False).
            stream: fetch rows as they are read (True), or all at once (False). None streams where
                that costs no round trip, see the table of drivers in the guide.

        Raises:
            PoolTimeout: the deadline passed; the server was told to stop the statement.
            PoolFull, PoolClosed, ConnectError, SelfDeadlock: see `Pool.connection`.
            ConfigError: the driver cannot interpolate, or cannot help it.
            Exception: the driver's own errors, as they are.
        """
        call = self._handle.call(sql, params, interpolate=interpolate, stream=stream)
        return Rows(run(_reader.start(self, site_of(_getframe(1)), timeout, call)))

    def query_row(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Row:
        """Return the first row of a statement's result. See `query`.

        Raises:
            NoRows: there is none.
        """
        call = self._handle.call(sql, params, interpolate=interpolate)
        return self._query_row(site_of(_getframe(1)), timeout, call)

    def _query_row(self, site: Site, timeout: Duration | None, call: Any) -> Row:
        dialect = self._handle.dialect
        names, values = run(talk(self, site, timeout, dialect.query_row, call))
        if values is None:
            raise NoRows("the statement returned no row")
        return row_class(names)(values)

    def exec(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Result:
        """Execute a statement and return what it did. See `query`."""
        call = self._handle.call(sql, params, interpolate=interpolate)
        dialect = self._handle.dialect
        return run(
            talk(
                self,
                site_of(_getframe(1)),
                timeout,
                dialect.execute,
                call,
            )
        )

    def exec_many(self, sql: str, params: Iterable[Any], *, timeout: Duration | None = None) -> Result:
        """Execute a statement for each set of parameters, in as few round trips as the driver can.

        Whether all of it is undone when one fails is the driver's matter; in a transaction it is.

        Args:
            sql: the statement.
            params: a sequence or mapping for each execution.
            timeout: see `query`.
        """
        call = self._handle.call(sql, ())
        dialect = self._handle.dialect
        return run(
            talk(
                self,
                site_of(_getframe(1)),
                timeout,
                lambda connection, call: dialect.execute_many(connection, call, params),
                call,
            )
        )

    def prepare(self, sql: str) -> Stmt:
        """Name a statement that will be used again; see `Stmt`. Sends nothing."""
        return Stmt(self, sql)


class Stmt:
    """A statement that the server keeps, on whichever connection it is used, so that repeating it is cheap.

    It is prepared where it is first used and kept there, as long as that connection lives and does not
    have too many others to keep. Where the driver cannot prepare, or the handle was opened with
    ``prepare=False``, it is executed like any other.
    """

    def __init__(self, owner: Queries, sql: str) -> None:
        self._owner = owner
        self._sql = sql
        self._closed = False

    @property
    def sql(self) -> str:
        """The statement."""
        return self._sql

    def _call(self, params: tuple[Any, ...], *, stream: bool | None = None) -> Any:
        if self._closed:
            raise StmtClosed("this statement is closed; prepare it again")
        handle = self._owner._handle
        return handle.call(
            self._sql, params, prepare=True if handle.dialect.prepares else None, stream=stream
        )

    def query(self, *params: Any, timeout: Duration | None = None, stream: bool | None = None) -> Rows:
        """Send it and return its rows; see `Queries.query`.

        Raises:
            StmtClosed: it was closed.
        """
        call = self._call(params, stream=stream)
        return Rows(run(_reader.start(self._owner, site_of(_getframe(1)), timeout, call)))

    def query_row(self, *params: Any, timeout: Duration | None = None) -> Row:
        """Send it and return the first row.

        Raises:
            NoRows: there is none.
            StmtClosed: it was closed.
        """
        return self._owner._query_row(site_of(_getframe(1)), timeout, self._call(params))

    def exec(self, *params: Any, timeout: Duration | None = None) -> Result:
        """Execute it and return what it did.

        Raises:
            StmtClosed: it was closed.
        """
        call = self._call(params)
        owner = self._owner
        dialect = owner._handle.dialect
        return run(
            talk(
                owner,
                site_of(_getframe(1)),
                timeout,
                dialect.execute,
                call,
            )
        )

    def close(self) -> None:
        """Refuse further use; connections forget it in time. Harmless when done before."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Conn(Queries, _held.ConnBase):
    """One connection for several statements, until `close` or the end of its with block."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def begin(
        self,
        isolation: Isolation | None = None,
        *,
        read_only: bool = False,
        timeout: Duration | None = None,
    ) -> Tx:
        """Begin a transaction on this connection. See `DB.begin`."""
        return Tx._begin(
            self._handle, self, site_of(_getframe(1)), isolation, read_only=read_only, timeout=timeout
        )

    def close(self) -> None:
        """Give the connection back. Harmless when done before."""
        run(_held.close_conn(self, None))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(_held.close_conn(self, error))


class Tx(Queries, _held.TxBase):
    """A transaction: its with block commits on success and rolls back on an error.

    Statements through it follow each other on one connection. Once it is over, everything raises `TxDone`.
    """

    @classmethod
    def _begin(
        cls,
        handle: Handle,
        parent: Conn | None,
        site: Site,
        isolation: Isolation | None,
        *,
        read_only: bool,
        timeout: Duration | None,
    ) -> Tx:
        tx = cls()
        tx._handle, tx._parent, tx._site = handle, parent, site
        tx._isolation, tx._read_only, tx._timeout = isolation, read_only, timeout
        run(_held.begin(tx, _later))
        return tx

    def commit(self) -> None:
        """Commit.

        Raises:
            TxDone: it is over already, or the server rolled back since a statement had failed.
            PoolTimeout: the deadline passed while the server was committing; nobody knows whether it did.
        """
        run(_held.commit(self))

    def rollback(self) -> None:
        """Roll back.

        Raises:
            TxDone: it is over already.
        """
        run(_held.roll_back(self))

    def stmt(self, stmt: Stmt) -> Stmt:
        """Return the same statement for use in this transaction."""
        stmt._call(())
        return Stmt(self, stmt.sql)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(_held.leave(self, error))


class DB(Queries, DBBase):
    """The handle of a database: what `cenote.open` returns. It owns a `Pool`; any threads may share it."""

    pool: Pool[Any]

    def query_row(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Row:
        """Return the first row of a statement's result. See `Queries.query_row`."""
        handle = self._handle
        call = handle.call(sql, params, interpolate=interpolate)
        fetch_row = handle.dialect.fetch_row
        if timeout is not None or fetch_row is None or current_deadline() != FOREVER:
            return self._query_row(site_of(_getframe(1)), timeout, call)
        # The plain case at once, without a job: most queries are one, and the job costs as much as the pool.
        lease = self.pool.connection()
        slot = lease._hold.slot  # type: ignore[union-attr] # it has one now
        frame = _getframe(1)
        slot.owner, slot.code, slot.instruction = id(frame), frame.f_code, frame.f_lasti
        try:
            names, values = fetch_row(slot.connection, call)
        except BaseException as error:
            lease.__exit__(type(error), error, None)
            raise
        if not lease._put():
            lease.release()
        if values is None:
            raise NoRows("the statement returned no row")
        return row_class(names)(values)

    def begin(
        self,
        isolation: Isolation | None = None,
        *,
        read_only: bool = False,
        timeout: Duration | None = None,
    ) -> Tx:
        """Begin a transaction, on a connection of its own until it ends.

        Args:
            isolation: ``"read committed"``, ``"serializable"``...; None is the server's default.
            read_only: have the server refuse to change anything.
            timeout: one deadline for the whole transaction; at that time it is rolled back, whoever sleeps.

        Raises:
            ConfigError: the database has no such isolation level.
            PoolTimeout, PoolFull, PoolClosed, ConnectError, SelfDeadlock: see `Pool.connection`.
        """
        return Tx._begin(
            self._handle, None, site_of(_getframe(1)), isolation, read_only=read_only, timeout=timeout
        )

    def conn(self, timeout: Duration | None = None) -> Conn:
        """Acquire one connection for several statements. See `Pool.connection` for what it raises."""
        conn = Conn(self._handle)
        run(_held.open_conn(conn, site_of(_getframe(1)), timeout))
        return conn

    def driver_connection(self, timeout: Duration | None = None) -> Lease[Any]:
        """Lend the driver's own connection to a with block. See `Pool.connection`."""
        lease = self.pool.connection(timeout)
        frame = _getframe(1)
        lease._mark(id(frame), frame.f_code, frame.f_lasti)
        return lease

    def ping(self, timeout: Duration | None = None) -> None:
        """Verify that the server can be reached and answers. See `Pool.ping`."""
        self.pool.ping(timeout)

    def close(self, timeout: Duration = 5.0) -> None:
        """Close the handle and its pool. See `Pool.close`."""
        self.pool.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open(
    target: str | Options | Connector[Any] | Callable[[], Any],
    *,
    interpolate: bool | None = None,
    prepare: bool | None = None,
    **options: Unpack[OptionsDict],
) -> DB:
    """Open a database for threads. Makes no connection: `DB.ping` verifies that there is one to be had.

    Args:
        target: a URL, `Options` with a dsn, or a connector that has a `dialect`.
        interpolate: have the driver paste parameters into every statement (True: one round trip, nothing
            kept on the server) or have the server bind them (False); None leaves each driver its own way.
        prepare: False never prepares on the server: for a PgBouncer before 1.21 in transaction mode.
        **options: see `Options`.

    Raises:
        ConfigError: the target or an option makes no sense, or the driver cannot do what is asked.
        TypeError: there is no such option.
    """
    target, asked = take_handle_options(target, {"interpolate": interpolate, "prepare": prepare})
    pool: Pool[Any] = Pool(target, **options)
    handle = Handle(pool, ThreadLimit, Lease.__exit__, **asked)
    db = DB()
    db._handle, db.pool = handle, pool
    return db


def _later(seconds: float, job: Callable[[], Any]) -> Later:
    return ThreadLater(seconds, partial(_run_job, job))


def _run_job(job: Callable[[], Any]) -> None:
    run(job())
