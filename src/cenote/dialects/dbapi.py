"""Any PEP 249 driver, by the standard's means only.

By the standard a transaction begins with the first statement, whichever it is, and lasts until ``commit`` or
``rollback``. So outside a `Tx` each statement is committed as soon as it has been read. The standard has no
words for isolation, for preparing, or for stopping a statement: at a deadline its connection is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar

from cenote.errors import ConfigError
from cenote.sql.dialect import Batch, Binds, Call, Isolation, NamedRow, Parameters, Pep249, Result, Steps, T


class DBAPIDialect(Pep249):
    """PEP 249 as it is written; each call costs what the driver makes of it, and a commit."""

    binds: ClassVar[Binds] = "client"  # nobody knows; so there is no choice to offer
    prepares = False

    def __init__(self, paramstyle: str, refuse_autocommit: Callable[[Any], None]) -> None:
        """Take the module's parameter style, and what refuses a connection without transactions."""
        self.named: bool = paramstyle in {"named", "pyformat"}
        self._refuse_autocommit = refuse_autocommit
        # Kept itself, so that no other connection can be taken for it.
        self._in_tx: dict[int, Any] = {}

    def forget(self, connection: Any) -> None:
        """Note that a connection is gone, or its transaction over."""
        self._in_tx.pop(id(connection), None)

    def query(self, connection: Any, call: Call) -> Steps[Any]:
        """Execute on a cursor, and leave the rows where the driver has them."""
        return _Source(connection, (yield from self._settled(connection, super().query(connection, call))))

    def fetch(self, source: Any) -> Steps[Batch]:
        """Fetch a batch; after the last one, commit."""
        steps = super().fetch(source.cursor)
        rows, more = yield from self._settled(source.connection, steps)
        if not more:
            yield from self._settled(source.connection, self._end(source))
        return [_values(row) for row in rows] if rows and _is_dict(rows[0]) else rows, more

    def _end(self, source: _Source) -> Steps[None]:
        yield source.cursor.close
        yield from self._commit(source.connection)

    def finish(self, source: Any, *, keep: bool) -> Steps[bool]:  # noqa: ARG002 - closing is all there is
        """Close the cursor, and commit."""
        yield from self._settled(source.connection, self._end(source))
        return True

    def query_row(self, connection: Any, call: Call) -> Steps[NamedRow]:
        """Execute, fetch one, close, commit."""
        names, row = yield from self._committed(connection, super().query_row(connection, call))
        return names, _values(row) if _is_dict(row) else row

    def execute(self, connection: Any, call: Call) -> Steps[Result]:
        """Execute, close, commit."""
        return (yield from self._committed(connection, super().execute(connection, call)))

    def execute_many(self, connection: Any, call: Call, rows: Iterable[Parameters]) -> Steps[Result]:
        """Use the cursor's executemany, and commit."""
        return (yield from self._committed(connection, super().execute_many(connection, call, rows)))

    def _committed(self, connection: Any, steps: Steps[T]) -> Steps[T]:
        def then_commit() -> Steps[T]:
            result = yield from steps
            yield from self._commit(connection)
            return result

        return (yield from self._settled(connection, then_commit()))

    def _commit(self, connection: Any) -> Steps[None]:
        if self._in_tx.get(id(connection)) is not connection:
            yield connection.commit

    def _settled(self, connection: Any, steps: Steps[T]) -> Steps[T]:
        """After an error outside a `Tx`, end the transaction that the driver began by itself."""
        try:
            return (yield from steps)
        except Exception:
            if self._in_tx.get(id(connection)) is not connection:
                with suppress(Exception):  # the error at hand matters more
                    yield connection.rollback
            raise

    def begin(self, connection: Any, isolation: Isolation | None, *, read_only: bool) -> Steps[None]:
        """Send nothing: the driver begins with the first statement.

        Raises:
            ConfigError: it was asked for what the standard has no words for, or the connection is in
                autocommit, where nothing begins.
        """
        asked = "isolation" if isolation is not None else "read_only" if read_only else None
        if asked:
            raise ConfigError(
                f"{asked}: PEP 249 has no words for it; execute the database's own statement as the first "
                "of the transaction"
            )
        self._refuse_autocommit(connection)
        self._in_tx[id(connection)] = connection
        yield from ()

    def commit(self, connection: Any) -> Steps[bool]:
        """Commit; by the standard nobody can say that a server rolled back instead."""
        yield connection.commit
        self.forget(connection)
        return True

    def rollback(self, connection: Any) -> Steps[None]:
        """Roll back."""
        self.forget(connection)
        yield connection.rollback


def _is_dict(row: object) -> bool:
    """Whether a row is what a cursor asked for at connect makes instead of a tuple."""
    return isinstance(row, dict)


def _values(row: Any) -> tuple[Any, ...]:
    return tuple(row.values())


class _Source:
    """A cursor and its connection, and what the cursor said of its columns when it was open."""

    __slots__ = ("connection", "cursor", "description")

    def __init__(self, connection: Any, cursor: Any) -> None:
        self.connection = connection
        self.cursor = cursor
        self.description = cursor.description
