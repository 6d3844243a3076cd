"""The rows of one result: which are here, whether there are more, and how to get them.

A result that is here whole needs its connection no longer: the connection goes back before the first
row is looked at. Only a result of more than one batch keeps it, until it is read to the end, closed,
or collected.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cenote._deadline import current_deadline
from cenote.durations import Duration
from cenote.errors import RowsClosed

from ._session import FOREVER, Held, Owner, Session, Site, bounded, occupy
from .dialect import Call, Column, Steps
from .row import Row, row_class


class _Result(NamedTuple):
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]


class Reader:
    """Reads one statement's rows, batch by batch.

    Attributes:
        rows: the batch at hand, as plain tuples.
        row: the class of the rows.
        session: where more may be; None once all is read or given up.
        closed: whether it was closed before its end.
        cut: whether its connection went away before its end, so that the rest will not come.
    """

    __slots__ = (
        "__weakref__",
        "_asked",
        "_behind",
        "_columns",
        "_deadline",
        "_more",
        "_owner",
        "_source",
        "closed",
        "cut",
        "row",
        "rows",
        "session",
    )

    def __init__(self, owner: Owner, session: Session, deadline: float) -> None:
        """Prepare to read."""
        self._owner = owner
        self._deadline = deadline
        self._source: Any = None
        self._columns: tuple[Column, ...] | None = None
        self._more = True
        self._asked = True  # else the driver has not heard yet that the next batch is wanted
        self._behind: list[_Result] = []  # further results of the same statement, here whole
        self.session: Session | None = session
        self.rows: list[tuple[Any, ...]] = []
        self.row: type[Row] = Row
        self.closed: bool = False
        self.cut: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the result."""
        if self._columns is None:
            self._columns = self._owner._handle.dialect.columns(self._source)
        return self._columns

    def begin(self, call: Call) -> Steps[None]:
        """Send the statement and read the first batch."""
        session = self.session
        assert session is not None
        dialect = session.handle.dialect
        self._source = source = yield from dialect.query(session.connection, call)
        session.lay(self, source)
        self.rows, self._more = yield from dialect.fetch(source)
        self.row = row_class(dialect.names(source))
        if not self._more:
            yield from self._look_behind()
        elif call.stream is False:  # whatever the driver makes of it
            yield from self._fetch_rest()

    def _fetch(self) -> Steps[None]:
        self._asked = True
        self.rows, self._more = yield from self._owner._handle.dialect.fetch(self._source)
        if not self._more:
            yield from self._look_behind()

    def _look_behind(self) -> Steps[None]:
        """At the end of a result read those that follow it, so that nothing is left on the connection."""
        dialect = self._owner._handle.dialect
        source = self._source
        while dialect.has_next(source):
            _ = self.columns  # as long as the cursor knows them
            if not (yield from dialect.next_result(source)):
                return
            columns = dialect.columns(source)
            rows: list[tuple[Any, ...]] = []
            more = bool(columns)
            while more:
                batch, more = yield from dialect.fetch(source)
                rows.extend(batch)
            if columns:  # what a procedure ends with has none
                self._behind.append(_Result(columns, rows))

    def step(self) -> bool:
        """Go on to the next result of the same statement, which is here; false if there is none."""
        if not self._behind:
            return False
        self._columns, self.rows = self._behind.pop(0)
        self.row = row_class(tuple(column.name for column in self._columns))
        return True

    def detach(self) -> None:
        """Forget the connection: what is not here will not come."""
        self.session = None
        self._more = False

    def lose(self) -> None:
        """Be left without the connection before the end: whoever reads on has to learn of it."""
        self.cut = self._more
        self.detach()

    def settle(self) -> Steps[None]:
        """After a batch: keep the connection for the next, or let go of it."""
        session = self.session
        assert session is not None
        if self._more:
            session.share()
        else:
            self.detach()
            session.vacate()
            yield from self._owner._leave(session, None)

    def fail(self, session: Session, error: BaseException) -> Steps[None]:
        """Give up after an error."""
        self.rows = []
        self.detach()
        if self._asked:
            session.vacate()
        else:
            # Its time was over before: the rest lies there as it did, to be taken away by whoever comes next.
            session.forget()
            session.doomed |= not isinstance(self._owner, Held)
        yield from self._owner._leave(session, error)

    def read_all(self) -> Steps[None]:
        """Read what is left into memory, so that the connection can carry something else."""
        session = self.session
        assert session is not None
        yield from self._fetch_rest()
        self.detach()
        session.vacate()

    def _fetch_rest(self) -> Steps[None]:
        while self._more:
            here = self.rows
            yield from self._fetch()
            here.extend(self.rows)
            self.rows = here  # the list that is being iterated over goes on growing


def start(owner: Owner, site: Site, timeout: Duration | None, call: Call) -> Steps[Reader]:
    """Send a statement that returns rows."""
    deadline = min(owner._handle.deadline(timeout), owner._deadline)
    session = yield from owner._enter(site, timeout, deadline)
    reader = Reader(owner, session, deadline)
    try:
        yield from bounded(session, reader.begin(call), deadline)
    except BaseException as error:
        yield from reader.fail(session, error)
        raise
    yield from reader.settle()
    return reader


def read_on(reader: Reader) -> Steps[bool]:
    """Read the next batch; false if there is none.

    Raises:
        RowsClosed: there is one, but it was left behind on a connection that is gone.
    """
    session = reader.session
    if session is None or not reader._more:
        _check_whole(reader)
        return False
    occupy(session, "Rows")
    reader._asked = False
    try:
        yield from bounded(session, reader._fetch(), min(reader._deadline, current_deadline()))
    except BaseException as error:
        yield from reader.fail(session, error)
        raise
    yield from reader.settle()
    return True


def next_result(reader: Reader) -> Steps[bool]:
    """Give up what is left of this result and go on to the next of the same statement."""
    while (yield from read_on(reader)):
        pass
    return reader.step()


def close(reader: Reader) -> Steps[None]:
    """Give up what was not read. Harmless when nothing is left."""
    session = reader.session
    reader.closed = True
    reader.rows.clear()  # whoever is iterating finds nothing more
    if session is None:
        return
    occupy(session, "Rows")
    source, owner = reader._source, reader._owner
    _ = reader.columns  # as long as the cursor knows them
    reader.detach()
    session.vacate()
    held = isinstance(owner, Held)
    deadline = FOREVER if held else session.handle.deadline(session.handle.pool.options.connect_timeout)
    try:
        in_order = yield from bounded(session, session.handle.dialect.finish(source, keep=held), deadline)
    except BaseException as error:
        session.doomed = True
        yield from owner._leave(session, error)
        if not isinstance(error, Exception):
            raise
        return
    session.doomed |= not in_order
    yield from owner._leave(session, None)


def check_unread(reader: Reader, *, begun: bool) -> None:
    """Refuse to read what is gone.

    Raises:
        RowsClosed: it was read before, or closed.
    """
    if reader.closed:
        raise RowsClosed("these rows are closed; query again")
    if begun and not reader.rows:
        _check_whole(reader)
    if begun and reader.session is None and not reader.rows:
        raise RowsClosed("these rows were read to the end; keep rows.all(), or query again")


def _check_whole(reader: Reader) -> None:
    if reader.cut:
        raise RowsClosed(
            "the rest of these rows did not come: their transaction was rolled back or their connection "
            "given back first; read them before, as with rows.all()"
        )
