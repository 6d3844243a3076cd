"""MySQL and MariaDB through mysqlclient (MySQLdb), for threads.

Connections are opened in autocommit. mysqlclient does not show the status that comes with every answer, but
MariaDB's client library, below it in most builds, does. With MySQL's own library nobody can tell for free
whether a transaction is open, and every release rolls back.
"""

from __future__ import annotations

import ctypes
import math
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import MySQLdb
import MySQLdb._mysql
import MySQLdb.connections

from cenote.drivers._common import transaction
from cenote.drivers._mysql import (
    IN_TRANSACTION,
    TIMEOUTS,
    URL_PARAMETERS,
    BlockingMySQL,
    OwnSocket,
    kill,
    tls_checks,
)
from cenote.drivers._urls import Reader, text_itself

if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

_SERVER_STATUS = 30  # MARIADB_CONNECTION_SERVER_STATUS, see enum mariadb_value in MariaDB's mysql.h
_CAPSULE = b"_mysql.connection.native_connection"


def _find_status_reader() -> Callable[[Any, int, Any], int] | None:
    """Find MariaDB's ``mariadb_get_infov`` in what mysqlclient itself has loaded."""
    try:
        found = ctypes.PyDLL(MySQLdb._mysql.__file__).mariadb_get_infov
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    return found


_read_status = _find_status_reader()
_open_capsule = ctypes.pythonapi.PyCapsule_GetPointer
_open_capsule.restype = ctypes.c_void_p
_open_capsule.argtypes = (ctypes.py_object, ctypes.c_char_p)


class Connection(MySQLdb.connections.Connection):
    """A `MySQLdb.connections.Connection` that keeps what it tells nobody while another thread uses it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        native: Any = self  # the stubs of the C part have no types
        self.own_socket: OwnSocket = OwnSocket(native.fileno())
        self.thread_number: int = native.thread_id()
        self._address: int | None = None
        if _read_status is not None and hasattr(self, "_get_native_connection"):
            self._address = _open_capsule(native._get_native_connection(), _CAPSULE)

    def server_status(self) -> int | None:
        """Return the status that came with the last answer; None where the client library hides it."""
        if self._address is None or _read_status is None or not self.open:
            return None
        status = ctypes.c_uint()
        return (
            status.value if _read_status(self._address, _SERVER_STATUS, ctypes.byref(status)) == 0 else None
        )


class MySQLdbConnector(BlockingMySQL):
    """Opens `MySQLdb.connections.Connection` for a `Pool`, in autocommit.

    Its time-outs are whole seconds and at least 1, as the client library counts them.
    """

    url_parameters: ClassVar[dict[str, Reader]] = {
        **URL_PARAMETERS,
        **TIMEOUTS,
        "collation": text_itself,
    }

    def _tls_keywords(self, tls: dict[str, Any], context: ssl.SSLContext | None) -> dict[str, Any]:
        if tls.get("ssl_disabled"):
            return {"ssl_mode": "DISABLED"}
        if context is None:
            return {}
        verify, identify = tls_checks(tls)
        files = {name: tls[f"ssl_{name}"] for name in ("ca", "cert", "key") if tls.get(f"ssl_{name}")}
        mode = "VERIFY_IDENTITY" if identify else "VERIFY_CA" if verify else "REQUIRED"
        return {"ssl": files, "ssl_mode": mode}

    def dialect(self) -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.mysqldb import MySQLdbDialect  # noqa: PLC0415 - the pool needs none

        return MySQLdbDialect(self.cancel)

    def connect(self, timeout: float) -> Connection:
        """Open one connection."""
        return self._open(timeout)

    def _open(self, timeout: float, **limits: float) -> Connection:
        keywords = {**self._kwargs, "connect_timeout": timeout, **limits}
        for name in ("connect_timeout", *TIMEOUTS):
            if keywords.get(name) is not None:
                keywords[name] = max(1, math.ceil(keywords[name]))
        connection = Connection(**keywords)
        self._remember(connection, connection.thread_number)
        return connection

    def close(self, connection: Any) -> None:
        """Say goodbye and close the socket; a statement of another thread is ended on the server first."""
        session = self._sessions.pop(connection, None)
        if session is not None and _is_busy(connection):
            kill(self, session, query_only=False)
        with suppress(MySQLdb.Error):
            connection.close()

    @staticmethod
    def fileno(connection: Connection) -> int | None:
        """Return the client library's socket, None when it is closed."""
        return connection.own_socket.fileno() if connection.open else None

    @staticmethod
    def is_alive(connection: Connection) -> bool:
        """Say whether mysqlclient thinks it open."""
        return MySQLdbConnector.fileno(connection) is not None

    @staticmethod
    def is_broken(connection: Any) -> bool:
        """Say whether it is closed or lost, in the middle of an answer, or in another thread's hands."""
        if not connection.open:
            return True
        try:
            if connection.more_results():
                return True
            connection.next_result()  # when there is none it says so by itself, or that rows are left unread
        except MySQLdb.Error:
            return True
        return MySQLdbConnector.fileno(connection) is None

    @staticmethod
    def in_transaction(connection: Any) -> bool | None:
        """Say whether a transaction is open; None where the client library hides it."""
        status: int | None = connection.server_status()
        return None if status is None else bool(status & IN_TRANSACTION)

    @staticmethod
    def ping(connection: Any) -> None:
        """Ask for an answer; mysqlclient does not connect again by itself."""
        connection.ping()

    def reset(self, connection: Any) -> None:
        """Forget all session state by logging in anew; what was asked for at connect comes back."""
        given = self._kwargs
        connection.change_user(
            given.get("user") or "",
            given.get("password") or given.get("passwd") or "",
            given.get("database") or given.get("db") or "",
        )
        connection.set_character_set(given["charset"], given.get("collation"))
        for statement in (
            given.get("sql_mode") and f"SET sql_mode='{given['sql_mode']}'",
            given.get("init_command"),
        ):
            if statement:
                self._ask(connection, statement)
        if given["autocommit"] is not None:
            connection.autocommit(given["autocommit"])

    @staticmethod
    def transaction(connection: Any) -> AbstractContextManager[None]:
        """Return a block that commits or rolls back."""
        return transaction(connection.begin, connection.commit, connection.rollback)


def _is_busy(connection: Any) -> bool:
    """Whether another thread is in the middle of a call: only then is an open connection refused to us."""
    try:
        connection.thread_id()
    except MySQLdb.ProgrammingError:
        return True
    except MySQLdb.Error:
        return False
    return False
