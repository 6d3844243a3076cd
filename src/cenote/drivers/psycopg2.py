"""PostgreSQL through psycopg2, for threads.

Connections are opened in autocommit. In that mode psycopg2's own `rollback` and `commit` do nothing, even for
a transaction begun with SQL, so these hooks speak SQL there. Where the user turned autocommit off they call
psycopg2.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions

from cenote import _sockets
from cenote.drivers._common import transaction
from cenote.drivers._postgresql import (
    ACTIVE,
    BROKEN,
    IDLE,
    IDLE_TIMEOUT,
    IN_ANY_TRANSACTION,
    check_conninfo,
)
from cenote.drivers._urls import with_scheme
from cenote.options import redact

if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

Connection = psycopg2.extensions.connection

_KEYWORDS = ("connection_factory", "cursor_factory")


class Psycopg2Connector:
    """Opens `psycopg2.extensions.connection` for a `Pool`, in autocommit.

    A dial is given whole seconds and at least 2, as libpq counts them.
    """

    def __init__(self, dsn: str = "", **kwargs: Any) -> None:
        """Read the address; opens nothing.

        Args:
            dsn: a ``postgresql://`` URL or a libpq string such as ``"host=db dbname=app"``.
            kwargs: what `psycopg2.connect` accepts.

        Raises:
            ConfigError: libpq cannot read it.
        """
        parameters = {name: value for name, value in kwargs.items() if name not in _KEYWORDS}
        check_conninfo(dsn, psycopg2.extensions.make_dsn, psycopg2.Error, parameters)
        self._dsn = dsn
        self._kwargs = kwargs

    @classmethod
    def from_url(cls, url: str) -> Psycopg2Connector:
        """Make one from ``postgresql+psycopg2://``."""
        return cls(with_scheme(url, "postgresql"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redact(self._dsn)!r})"

    @staticmethod
    def dialect() -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.psycopg2 import Psycopg2Dialect  # noqa: PLC0415 - the pool needs none

        return Psycopg2Dialect()

    def connect(self, timeout: float) -> Connection:
        """Open one connection."""
        dial = {**self._kwargs, "connect_timeout": max(2, math.ceil(timeout))}
        connection: Connection = psycopg2.connect(self._dsn, **dial)
        connection.autocommit = True
        return connection

    @staticmethod
    def close(connection: Connection) -> None:
        """Say goodbye and close the socket. The server lets go a little later; the pool waits for that.

        A statement that another thread still waits for is cancelled first: psycopg2 would wait for it too.
        """
        if connection.info.transaction_status == ACTIVE:
            with suppress(psycopg2.Error):
                connection.cancel()
        connection.close()

    @staticmethod
    def fileno(connection: Connection) -> int | None:
        """Return libpq's socket, None when it is closed."""
        try:
            return connection.fileno()
        except psycopg2.Error:
            return None

    @staticmethod
    def is_alive(connection: Connection) -> bool:
        """Say whether psycopg2 thinks it open."""
        return not connection.closed

    @staticmethod
    def is_clean(connection: Connection) -> bool:
        """Say whether it is open, outside a transaction, and waits for a statement."""
        return connection.get_transaction_status() == IDLE and not connection.closed

    @staticmethod
    def is_broken(connection: Connection) -> bool:
        """Say whether it is closed, or still in the middle of something."""
        return connection.get_transaction_status() in BROKEN or connection.closed != 0

    @staticmethod
    def in_transaction(connection: Connection) -> bool:
        """Say whether a transaction is open, failed or not."""
        return connection.get_transaction_status() in IN_ANY_TRANSACTION

    @staticmethod
    def ping(connection: Connection) -> None:
        """Ask for the least there is: psycopg2 refuses to send an empty statement."""
        _execute(connection, "SELECT 1")
        if not connection.autocommit:
            connection.rollback()

    @staticmethod
    def idle_timeout(connection: Connection) -> float | None:
        """Ask after how many seconds the server hangs up on an idle session; None before PostgreSQL 14."""
        with connection.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
            cursor.execute(IDLE_TIMEOUT)
            found = cursor.fetchone()
        if not connection.autocommit:
            connection.rollback()
        return None if found is None else found[0]

    @staticmethod
    def rollback(connection: Connection) -> None:
        """Roll back what was left open."""
        if not connection.autocommit:
            connection.rollback()
        elif Psycopg2Connector.in_transaction(connection):
            _execute(connection, "ROLLBACK")

    @staticmethod
    def reset(connection: Connection) -> None:
        """Forget settings, temporary tables, advisory locks, prepared statements: ``DISCARD ALL``."""
        Psycopg2Connector.rollback(connection)
        autocommit = connection.autocommit
        connection.autocommit = True  # DISCARD ALL is refused in the transaction psycopg2 would begin
        _execute(connection, "DISCARD ALL")
        connection.autocommit = autocommit

    @staticmethod
    def transaction(connection: Connection) -> AbstractContextManager[None]:
        """Return a block that commits or rolls back."""
        if connection.autocommit:
            begin, commit = partial(_execute, connection, "BEGIN"), partial(_execute, connection, "COMMIT")
            return transaction(begin, commit, partial(Psycopg2Connector.rollback, connection))
        # psycopg2 begins with the first statement
        return transaction(lambda: None, connection.commit, connection.rollback)

    @staticmethod
    def terminate(connection: Connection) -> None:
        """Shut the socket down. Closing it would wait for a thread that is using it."""
        fileno = Psycopg2Connector.fileno(connection)
        if fileno is not None:
            _sockets.cut(fileno)


def _execute(connection: Connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
