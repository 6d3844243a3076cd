"""`Queries` and `AsyncQueries`: the statements that a handle, a connection and a transaction all take."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from sys import _getframe
from typing import Any

from cenote import _asyncio, _threads
from cenote.durations import Duration
from cenote.errors import NoRows

from . import _reader
from ._session import Owner, Site, caller, site_of, talk
from .dialect import Call, Result
from .row import Row, row_class
from .rows import AsyncRows, Rows, send
from .stmt import AsyncStmt, Stmt


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
        return Rows(_threads.run(_reader.start(self, site_of(_getframe(1)), timeout, call)))

    def query_row(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Row:
        """Return the first row of a statement's result. See `query`.

        Raises:
            NoRows: there is none.
        """
        call = self._handle.call(sql, params, interpolate=interpolate)
        return self._query_row(site_of(_getframe(1)), timeout, call)

    def _query_row(self, site: Site, timeout: Duration | None, call: Call) -> Row:
        dialect = self._handle.dialect
        names, values = _threads.run(talk(self, site, timeout, dialect.query_row, call))
        if values is None:
            raise NoRows("the statement returned no row")
        return row_class(names)(values)

    def exec(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Result:
        """Execute a statement and return what it did. See `query`."""
        call = self._handle.call(sql, params, interpolate=interpolate)
        return self._exec(site_of(_getframe(1)), timeout, call)

    def _exec(self, site: Site, timeout: Duration | None, call: Call) -> Result:
        dialect = self._handle.dialect
        return _threads.run(talk(self, site, timeout, dialect.execute, call))

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
        return _threads.run(
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


class AsyncQueries(Owner):
    """The statements that a handle, a connection and a transaction all take. See `Queries`."""

    def query(
        self,
        sql: str,
        *params: Any,
        timeout: Duration | None = None,
        interpolate: bool | None = None,
        stream: bool | None = None,
    ) -> AsyncRows:
        """Prepare a statement that returns rows; awaiting or iterating sends it. See `Queries.query`."""
        call = self._handle.call(sql, params, interpolate=interpolate, stream=stream)
        return AsyncRows(partial(send, self, site_of(_getframe(1)), timeout, call))

    async def query_row(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Row:
        """Return the first row of a statement's result. See `Queries.query_row`.

        Raises:
            NoRows: there is none.
        """
        call = self._handle.call(sql, params, interpolate=interpolate)
        return await self._query_row(caller(), timeout, call)

    async def _query_row(self, site: Site, timeout: Duration | None, call: Call) -> Row:
        dialect = self._handle.dialect
        names, values = await _asyncio.run(talk(self, site, timeout, dialect.query_row, call))
        if values is None:
            raise NoRows("the statement returned no row")
        return row_class(names)(values)

    async def exec(
        self, sql: str, *params: Any, timeout: Duration | None = None, interpolate: bool | None = None
    ) -> Result:
        """Execute a statement and return what it did. See `Queries.exec`."""
        return await self._exec(caller(), timeout, self._handle.call(sql, params, interpolate=interpolate))

    async def _exec(self, site: Site, timeout: Duration | None, call: Call) -> Result:
        dialect = self._handle.dialect
        return await _asyncio.run(talk(self, site, timeout, dialect.execute, call))

    async def exec_many(self, sql: str, params: Iterable[Any], *, timeout: Duration | None = None) -> Result:
        """Execute a statement for each set of parameters. See `Queries.exec_many`."""
        call = self._handle.call(sql, ())
        dialect = self._handle.dialect
        return await _asyncio.run(
            talk(
                self,
                caller(),
                timeout,
                lambda connection, call: dialect.execute_many(connection, call, params),
                call,
            )
        )

    def prepare(self, sql: str) -> AsyncStmt:
        """Name a statement that will be used again; see `Stmt`. Sends nothing, so it is not awaited."""
        return AsyncStmt(self, sql)
