"""MySQL and MariaDB through MySQL Connector/Python, for threads.

Connections are opened in autocommit, and by its pure Python implementation unless told otherwise: only that
one shows its socket. ``use_pure=false`` asks for the one in C; its sockets are looked for in ``/proc``.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import time, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import mysql.connector
from mysql.connector.connection import MySQLConnection
from mysql.connector.constants import FieldType
from mysql.connector.protocol import MySQLProtocol

from cenote import _sockets
from cenote.drivers._common import transaction
from cenote.drivers._mysql import (
    IN_TRANSACTION,
    TIMEOUTS,
    URL_PARAMETERS,
    BlockingMySQL,
    OwnSocket,
    hung_up,
    kill,
    refuse_unknown,
    tls_checks,
)
from cenote.drivers._urls import Reader, switch, text_itself
from cenote.errors import ConfigError

if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

_KNOWN = tuple(mysql.connector.constants.DEFAULT_CONFIGURATION)
_OPEN_FILES = Path("/proc/self/fd")


class _Protocol(MySQLProtocol):
    """A protocol that gets years and negative times right, to and from prepared statements.

    The driver takes a year for text, and what follows it for something else; of a negative time it negates
    the days only.
    """

    @staticmethod
    def prepare_binary_time(value: timedelta | time) -> tuple[bytes, int]:
        """Write a time."""
        if isinstance(value, time) or value >= timedelta():
            return MySQLProtocol.prepare_binary_time(value)
        packed, kind = MySQLProtocol.prepare_binary_time(-value)
        return packed[:1] + b"\x01" + packed[2:], kind

    def read_binary_result(self, sock: Any, columns: Any, *args: Any, **kwargs: Any) -> Any:
        """Read rows, with years as the short integers that they are."""
        columns = [_as_short(column) if column[1] == FieldType.YEAR else column for column in columns]
        return super().read_binary_result(sock, columns, *args, **kwargs)

    @staticmethod
    def _parse_binary_time(packet: bytes) -> tuple[bytes, timedelta]:
        length = packet[0]
        rest, data = packet[length + 1 :], packet[1 : length + 1]
        if not length:
            return rest, timedelta()
        days, micros = int.from_bytes(data[1:5], "little"), int.from_bytes(data[8:], "little")
        value = timedelta(days, data[7], micros, minutes=data[6], hours=data[5])
        return rest, -value if data[0] else value


def _as_short(column: Any) -> Any:
    return (column[0], FieldType.SHORT, *column[2:])


class Connection(MySQLConnection):
    """A `mysql.connector.connection.MySQLConnection` that knows whether an answer is still to come.

    And it saves round trips: it does not ping for every new cursor, and does not reset a prepared statement
    before every execution when no data that was sent in pieces has to be forgotten.
    """

    _long_data = False

    def _open_connection(self) -> None:
        """Connect."""
        super()._open_connection()
        self._protocol = _Protocol()

    def is_connected(self) -> bool:
        """Say whether it is open. The driver asks that for each cursor, by pings; the pool has looked."""
        return self._socket is not None and self._socket.sock is not None

    def cmd_stmt_send_long_data(self, *args: Any, **kwargs: Any) -> int:
        """Send a parameter in pieces."""
        self._long_data = True
        return super().cmd_stmt_send_long_data(*args, **kwargs)

    def cmd_stmt_reset(self, *args: Any, **kwargs: Any) -> None:
        """Have the server forget such pieces."""
        if self._long_data:
            self._long_data = False
            super().cmd_stmt_reset(*args, **kwargs)

    def cmd_stmt_close(self, *args: Any, **kwargs: Any) -> None:
        """Deallocate a prepared statement, to which the server does not answer."""
        super().cmd_stmt_close(*args, **kwargs)
        broker: Any = self._socket and self._socket._netbroker
        broker._pktnr = 1


class MySQLConnectorConnector(BlockingMySQL):
    """Opens connections of `mysql.connector` for a `Pool`, in autocommit.

    A dial is given whole seconds and at least 1, as the implementation in C counts them.
    """

    url_parameters: ClassVar[dict[str, Reader]] = {
        **URL_PARAMETERS,
        **TIMEOUTS,
        "collation": text_itself,
        "use_pure": switch,
    }

    def __init__(self, **kwargs: Any) -> None:
        """Check everything; opens nothing. See `MySQL` and `mysql.connector.connect` for the arguments.

        Raises:
            ConfigError: ... or ``use_pure=False`` is asked for, and the implementation in C is not there.
        """
        refuse_unknown(kwargs, _KNOWN, "mysql.connector")
        self._pure: bool = kwargs.pop("use_pure", True)
        if not self._pure and not mysql.connector.HAVE_CEXT:
            raise ConfigError("use_pure: the implementation in C cannot be loaded here; leave use_pure out")
        super().__init__(**kwargs)
        self._dialing = threading.Lock()

    def _tls_keywords(self, tls: dict[str, Any], context: ssl.SSLContext | None) -> dict[str, Any]:
        if tls.get("ssl_disabled"):
            return {"ssl_disabled": True}
        if context is None:
            return {}
        verify, identify = tls_checks(tls)
        return {**tls, "ssl_verify_cert": verify, "ssl_verify_identity": identify}

    def dialect(self) -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.mysqlconnector import MySQLConnectorDialect  # noqa: PLC0415 - the pool needs none

        return MySQLConnectorDialect(self.cancel)

    def connect(self, timeout: float) -> Any:
        """Open one connection."""
        return self._open(timeout)

    def _open(self, timeout: float, **limits: float) -> Any:
        keywords = {**self._kwargs, "connection_timeout": timeout, **limits}
        for name in ("connection_timeout", *TIMEOUTS):
            if keywords.get(name) is not None:
                keywords[name] = max(1, math.ceil(keywords[name]))
        connection: Any
        if self._pure:
            connection = Connection(**keywords)
        else:
            # One at a time: a new socket to the server is known by its being the only one.
            with self._dialing:
                connection = _with_socket(partial(mysql.connector.connect, use_pure=False, **keywords))
        self._remember(connection, connection.connection_id)
        return connection

    def close(self, connection: Any) -> None:
        """Say goodbye and close the socket; a statement that outlived its use is ended on the server."""
        session = self._sessions.pop(connection, None)
        fileno = self.fileno(connection)
        if session is not None and fileno is not None and _unanswered(connection) and not hung_up(fileno):
            kill(self, session, query_only=False)
        with suppress(mysql.connector.Error):
            connection.close()

    @staticmethod
    def fileno(connection: Any) -> int | None:
        """Return the socket's number, None when it is closed or cannot be found."""
        if not _is_pure(connection):
            found: OwnSocket | None = connection._cenote_socket
            return found.fileno() if found is not None and connection._cmysql.connected() else None
        sock = connection._socket.sock if connection._socket is not None else None
        return None if sock is None or sock.fileno() < 0 else sock.fileno()

    @staticmethod
    def is_alive(connection: Any) -> bool:
        """Say whether the driver thinks it open, and no answer is outstanding."""
        if not _is_pure(connection):
            return bool(connection._cmysql.connected())
        return MySQLConnectorConnector.fileno(connection) is not None and not _unanswered(connection)

    @staticmethod
    def is_broken(connection: Any) -> bool:
        """Say whether it is closed, or in the middle of an answer."""
        if not MySQLConnectorConnector.is_alive(connection) or connection.unread_result:
            return True
        if _is_pure(connection):
            return bool(connection._have_next_result)
        return bool(connection.more_results)

    @staticmethod
    def in_transaction(connection: Any) -> bool:
        """Say whether a transaction is open."""
        if _is_pure(connection):
            return bool(connection.in_transaction)
        return bool(connection._cmysql.st_server_status() & IN_TRANSACTION)

    @staticmethod
    def ping(connection: Any) -> None:
        """Ask for an answer, and do not connect again if there is none."""
        connection.ping(reconnect=False)

    @staticmethod
    def reset(connection: Any) -> None:
        """Forget all session state by the server's own command; what was asked for at connect comes back.

        Raises:
            RuntimeError: the server does not know the command.
        """
        if not connection.cmd_reset_connection():
            raise RuntimeError("the server cannot reset a session")

    @staticmethod
    def transaction(connection: Any) -> AbstractContextManager[None]:
        """Return a block that commits or rolls back."""
        return transaction(connection.start_transaction, connection.commit, connection.rollback)


def _is_pure(connection: Any) -> bool:
    return isinstance(connection, MySQLConnection)


def _unanswered(connection: Any) -> bool:
    """Whether a command, packet 0, was sent of whose answer nothing has come."""
    return _is_pure(connection) and connection._socket._netbroker._pktnr == 0


def _with_socket(dial: Callable[[], Any]) -> Any:
    """Dial, and note the number of the socket that this has opened, which the implementation in C hides."""
    before = _sockets_open()
    connection = dial()
    new = [number for number, inode in _sockets_open().items() if before.get(number) != inode]
    number = new[0] if len(new) == 1 else _matching(new, connection)
    connection._cenote_socket = None if number is None else OwnSocket(number)
    return connection


def _matching(numbers: list[int], connection: Any) -> int | None:
    """Tell by its own port, which the server knows, which of several new sockets is the connection's."""
    cursor = connection.cursor()
    cursor.execute("SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()")
    port = str(cursor.fetchall()[0][0]).rpartition(":")[2]
    cursor.close()
    found = [number for number in numbers if _own_port(number) == port]
    return found[0] if len(found) == 1 else None


def _own_port(number: int) -> str | None:
    with suppress(OSError), _sockets.borrow(number) as sock:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            return str(sock.getsockname()[1])
    return None


def _sockets_open() -> dict[int, str]:
    """Return the numbers of this process's open sockets, each with its inode, which no other socket has."""
    found = {}
    with suppress(OSError):
        for name in os.listdir(_OPEN_FILES):  # noqa: PTH208 - a list: the folder changes while it is read
            with suppress(OSError):
                link = os.readlink(_OPEN_FILES / name)  # noqa: PTH115 - as short as it gets, once per file
                if link.startswith("socket:"):
                    found[int(name)] = link
    return found
