"""MySQL and MariaDB through PyMySQL, for threads.

Connections are opened in autocommit. PyMySQL shows the status that came with the last OK packet. The answer
to a SELECT holds none, so with autocommit off nobody can tell for free whether a transaction is open.
"""

from __future__ import annotations

import functools
import inspect
import ssl
import sys
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import pymysql
import pymysql.connections

from cenote.drivers._common import transaction
from cenote.drivers._mysql import (
    AUTOCOMMIT,
    IN_TRANSACTION,
    RESET_CONNECTION,
    TIMEOUTS,
    URL_PARAMETERS,
    BlockingMySQL,
    hung_up,
    in_utf8,
    kill,
    refuse_unknown,
)
from cenote.drivers._urls import Reader, text_itself

_KNOWN = tuple(inspect.signature(pymysql.connections.Connection.__init__).parameters)[1:]


if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

    _Connection = pymysql.connections.Connection[Any]  # only the stubs know it as generic
else:
    _Connection = pymysql.connections.Connection


class _Unread(pymysql.connections.MySQLResult):
    """Rows that were left with the server: given up in silence when their connection is closed or lost."""

    def _finish_unbuffered_query(self) -> None:
        """Read the rest, if it can still come. Cursors ask for that also when they are collected."""
        connection: Any = self.connection
        if connection is not None and connection._sock is None:
            return
        try:
            super()._finish_unbuffered_query()  # type: ignore[misc]  # not in its stubs
        except pymysql.Error:
            if connection._sock is not None:
                raise


class Connection(_Connection):
    """A `pymysql.connections.Connection` that does not read the system's certificates for every dial.

    PyMySQL offers TLS to a server also when it was not asked to, and checks no certificate then. It closes
    its socket when it is interrupted, as it does when the server has gone; this one remembers which it was.
    """

    stopped_waiting: bool = False
    _result: Any

    def _force_close(self) -> None:
        """Close the socket."""
        reason = sys.exception()
        if isinstance(reason, TimeoutError) or (reason is not None and not isinstance(reason, Exception)):
            self.stopped_waiting = True
        super()._force_close()  # type: ignore[misc]  # not in its stubs

    def _read_query_result(self, unbuffered: bool = False) -> int:  # noqa: FBT001, FBT002 - PyMySQL's own
        """Read the first of an answer."""
        affected: int = super()._read_query_result(unbuffered)  # type: ignore[misc]  # not in its stubs
        if unbuffered:
            self._result.__class__ = _Unread
        return affected

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        """Make a context for TLS, or take the one there is."""
        if sslp:
            context: ssl.SSLContext = super()._create_ssl_ctx(sslp)  # type: ignore[misc]  # not in its stubs
            return context
        return _unverified()


@functools.cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class PyMySQLConnector(BlockingMySQL):
    """Opens `pymysql.connections.Connection` for a `Pool`, in autocommit."""

    url_parameters: ClassVar[dict[str, Reader]] = {
        **URL_PARAMETERS,
        **TIMEOUTS,
        "collation": text_itself,
    }

    def __init__(self, **kwargs: Any) -> None:
        """Check everything; opens nothing. See `MySQL` and `pymysql.connect` for the arguments."""
        refuse_unknown(kwargs, _KNOWN, "PyMySQL")
        super().__init__(**in_utf8(kwargs))

    def _tls_keywords(self, tls: dict[str, Any], context: ssl.SSLContext | None) -> dict[str, Any]:
        if tls.get("ssl_disabled"):
            return {"ssl_disabled": True}
        return {} if context is None else {"ssl": context}

    def dialect(self) -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.pymysql import PyMySQLDialect  # noqa: PLC0415 - the pool needs none

        return PyMySQLDialect(self.cancel)

    def connect(self, timeout: float) -> Connection:
        """Open one connection."""
        return self._open(timeout)

    def _open(self, timeout: float, **limits: float) -> Connection:
        wanted = {"read_timeout": None, "write_timeout": None, **self._kwargs, **limits}
        # Until the connection is there, no answer may take longer than the dial: PyMySQL's own limit ends
        # when the socket is connected.
        dial = {"connect_timeout": timeout, "read_timeout": timeout, "write_timeout": timeout}
        connection: Any = Connection(**{**wanted, **dial})
        connection._read_timeout, connection._write_timeout = wanted["read_timeout"], wanted["write_timeout"]
        self._remember(connection, connection.thread_id())
        return connection  # type: ignore[no-any-return]  # Any for what the stubs do not show

    def close(self, connection: Any) -> None:
        """Say goodbye and close the socket; a statement that outlived its use is ended on the server."""
        session = self._sessions.pop(connection, None)
        if session is not None and _runs_on(connection):
            kill(self, session, query_only=False)
        with suppress(pymysql.Error):
            connection.close()

    @staticmethod
    def fileno(connection: Any) -> int | None:
        """Return the socket's number, None when it is closed."""
        sock = connection._sock
        return None if sock is None or sock.fileno() < 0 else sock.fileno()

    @staticmethod
    def is_alive(connection: Any) -> bool:
        """Say whether PyMySQL thinks it open."""
        return connection._sock is not None

    @staticmethod
    def is_clean(connection: Any) -> bool:
        """Say whether it is open, outside a transaction, and has been read to the end."""
        result = connection._result
        return (
            result is not None
            and connection._sock is not None
            and not result.unbuffered_active
            and not result.has_next
            and connection.server_status & _BOTH == AUTOCOMMIT
        )

    @staticmethod
    def is_broken(connection: Any) -> bool:
        """Say whether it is closed, or in the middle of an answer."""
        if connection._sock is None:
            return True
        result = connection._result
        if result is not None:
            return bool(result.unbuffered_active or result.has_next)
        # The last command left no result: it needed none, failed, or was broken off half-way.
        return _unanswered(connection) or _unread(connection)

    @staticmethod
    def in_transaction(connection: Any) -> bool | None:
        """Say whether a transaction is open; with autocommit off nobody can tell."""
        status: int = connection.server_status
        return True if status & IN_TRANSACTION else False if status & AUTOCOMMIT else None

    @staticmethod
    def ping(connection: Any) -> None:
        """Ask for an answer, and do not connect again if there is none."""
        connection.ping(reconnect=False)

    @staticmethod
    def reset(connection: Any) -> None:
        """Forget all session state by the server's own command; what was asked for at connect comes back."""
        connection._execute_command(RESET_CONNECTION, b"")
        connection._read_ok_packet()
        connection.set_character_set(connection.charset, connection.collation)
        with connection.cursor() as cursor:
            if connection.sql_mode is not None:
                cursor.execute("SET sql_mode=%s", (connection.sql_mode,))
            if connection.init_command is not None:
                cursor.execute(connection.init_command)
        if connection.autocommit_mode is not None:
            connection.autocommit(connection.autocommit_mode)

    @staticmethod
    def transaction(connection: Any) -> AbstractContextManager[None]:
        """Return a block that commits or rolls back."""
        return transaction(connection.begin, connection.commit, connection.rollback)


_BOTH = IN_TRANSACTION | AUTOCOMMIT


def _unanswered(connection: Any) -> bool:
    """Whether a command was sent of whose answer, whose first packet has the number 1, nothing has come."""
    return connection._next_seq_id == 1 and connection._result is None


def _unread(connection: Any) -> bool:
    """Whether there is something to read that nobody asked for, in PyMySQL's buffer or on the socket."""
    sock, timeout = connection._sock, connection._sock.gettimeout()
    sock.settimeout(0)
    try:
        return bool(connection._rfile.peek(1))
    except OSError:  # TLS with nothing to read, or an error that the next look meets, too
        return False
    finally:
        sock.settimeout(timeout)


def _runs_on(connection: Any) -> bool:
    """Whether the server may still be at work on a statement for whose answer nobody waits."""
    if connection._sock is None:
        return bool(connection.stopped_waiting)
    return _unanswered(connection) and not hung_up(connection._sock.fileno())
