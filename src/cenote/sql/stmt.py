"""`Stmt` and `AsyncStmt`: a statement with a name, which the server keeps where it can."""

from __future__ import annotations

from functools import partial
from sys import _getframe
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cenote import _threads
from cenote.durations import Duration
from cenote.errors import StmtClosed

from . import _reader
from ._session import Owner, caller, site_of
from .dialect import Call, Result
from .row import Row
from .rows import AsyncRows, Rows, send

if TYPE_CHECKING:
    from .queries import AsyncQueries, Queries


class StmtBase:
    """What `Stmt` and `AsyncStmt` have in common: the statement, its owner, and whether it may be used."""

    _owner: Owner

    def __init__(self, owner: Owner, sql: str) -> None:
        self._owner = owner
        self._sql = sql
        self._closed = False

    @property
    def sql(self) -> str:
        """The statement."""
        return self._sql

    def _call(self, params: tuple[Any, ...], *, stream: bool | None = None) -> Call:
        if self._closed:
            raise StmtClosed("this statement is closed; prepare it again")
        handle = self._owner._handle
        return handle.call(
            self._sql, params, prepare=True if handle.dialect.prepares else None, stream=stream
        )


class Stmt(StmtBase):
    """A statement that the server keeps, on whichever connection it is used, so that repeating it is cheap.

    It is prepared where it is first used and kept there, as long as that connection lives and does not
    have too many others to keep. Where the driver cannot prepare, or the handle was opened with
    ``prepare=False``, it is executed like any other.
    """

    _owner: Queries

    def query(self, *params: Any, timeout: Duration | None = None, stream: bool | None = None) -> Rows:
        """Send it and return its rows; see `Queries.query`.

        Raises:
            StmtClosed: it was closed.
        """
        call = self._call(params, stream=stream)
        return Rows(_threads.run(_reader.start(self._owner, site_of(_getframe(1)), timeout, call)))

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
        return self._owner._exec(site_of(_getframe(1)), timeout, self._call(params))

    def close(self) -> None:
        """Refuse further use; connections forget it in time. Harmless when done before."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStmt(StmtBase):
    """A statement that the server keeps, on whichever connection it is used. See `Stmt`."""

    _owner: AsyncQueries

    def query(self, *params: Any, timeout: Duration | None = None, stream: bool | None = None) -> AsyncRows:
        """Prepare to send it; awaiting or iterating sends it.

        Raises:
            StmtClosed: it was closed.
        """
        call = self._call(params, stream=stream)
        return AsyncRows(partial(send, self._owner, site_of(_getframe(1)), timeout, call))

    async def query_row(self, *params: Any, timeout: Duration | None = None) -> Row:
        """Send it and return the first row.

        Raises:
            NoRows: there is none.
            StmtClosed: it was closed.
        """
        return await self._owner._query_row(caller(), timeout, self._call(params))

    async def exec(self, *params: Any, timeout: Duration | None = None) -> Result:
        """Execute it and return what it did.

        Raises:
            StmtClosed: it was closed.
        """
        return await self._owner._exec(caller(), timeout, self._call(params))

    async def close(self) -> None:
        """Refuse further use. Harmless when done before."""
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
