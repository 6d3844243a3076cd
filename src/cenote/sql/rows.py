"""`Rows` and `AsyncRows`: the rows of one query, as threads and as tasks read them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from cenote import _asyncio, _threads
from cenote.durations import Duration
from cenote.errors import Error

from . import _reader
from ._reader import Reader, check_unread
from ._session import Owner, Site
from .dialect import Call, Column
from .row import Row, converter

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
        return _threads.run(_reader.next_result(self._reader))

    def close(self) -> None:
        """Give up what was not read. Harmless when done before, or when all was read."""
        _threads.run(_reader.close(self._reader))

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
        if not _threads.run(_reader.read_on(reader)):
            reader.rows.clear()
            return


class AsyncRows:
    """The rows of a query, to be read once: await it, iterate, or enter it, and it sends the query.

    ``async for row in db.query(...)`` is the short form; ``rows = await db.query(...)`` sends it now.
    Otherwise as `Rows`.
    """

    __slots__ = ("_iterator", "_reader", "_start")

    def __init__(self, start: Callable[[], Awaitable[Reader]]) -> None:
        self._start = start
        self._reader: Reader | None = None
        self._iterator: AsyncIterator[Row] | None = None

    async def _begin(self) -> Self:
        if self._reader is None:
            self._reader = await self._start()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """Send the query."""
        return self._begin().__await__()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _sent(self) -> Reader:
        if self._reader is None:
            raise Error("this query was not sent yet: await it first")
        return self._reader

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the result; none if the statement returns no rows.

        Raises:
            Error: the query was not sent yet.
        """
        return self._sent.columns

    def __aiter__(self) -> AsyncIterator[Row]:
        """Read the rows one by one; a second loop goes on where the first one stopped.

        Raises:
            RowsClosed: they were read to the end, or closed.
            PoolTimeout: the deadline passed while more were fetched.
            Error: another task is reading.
        """
        if self._reader is not None:
            check_unread(self._reader, begun=self._iterator is not None)
        if self._iterator is None:
            # What iterates must not hold `self`, nor the reader before there is one.
            self._iterator = _started(self) if self._reader is None else _iterate_async(self._reader)
        return self._iterator

    async def all(self) -> list[Row]:
        """Read all rows into a list.

        Raises:
            RowsClosed: they were read to the end, or closed.
        """
        return [row async for row in self]

    async def as_type(self, cls: type[T]) -> AsyncIterator[T]:
        """Read each row as a `cls`. See `Rows.as_type`."""
        await self._begin()
        convert = converter(cls, self._sent.row._columns)
        async for row in self:
            yield convert(row)

    async def next_result(self) -> bool:
        """Go on to the next result of the same statement; false if there is none."""
        self._iterator = None
        return await _asyncio.run(_reader.next_result(self._sent))

    async def close(self) -> None:
        """Give up what was not read. Harmless when done before, or when all was read, or nothing sent."""
        if self._reader is not None:
            await _asyncio.run(_reader.close(self._reader))


async def _started(rows: AsyncRows) -> AsyncIterator[Row]:
    await rows._begin()
    reader = rows._sent
    del rows
    async for row in _iterate_async(reader):
        yield row


async def _iterate_async(reader: Reader) -> AsyncIterator[Row]:
    while True:
        for row in map(reader.row, reader.rows):
            yield row
        if not await _asyncio.run(_reader.read_on(reader)):
            reader.rows.clear()
            return


async def send(owner: Owner, site: Site, timeout: Duration | None, call: Call) -> Reader:
    """Send a statement for a task; what an `AsyncRows` is begun with."""
    return await _asyncio.run(_reader.start(owner, site, timeout, call))
