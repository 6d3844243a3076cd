"""SQLite through the standard library's sqlite3, for threads. What opens a database serves aiosqlite too.

Connections are opened in autocommit. A file gets a write-ahead log, so that readers and a writer do not block
each other, and ``synchronous=NORMAL``, which is safe with it. Foreign keys are as SQLite has them: off.

``sqlite://`` and ``sqlite:///:memory:`` name a new database in memory that all connections of one pool share.
It lives in SQLite's ``memdb``, not in a shared cache, whose table locks would not wait for the busy timeout.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from cenote.drivers._common import transaction
from cenote.drivers._urls import Reader, refuse_parameters, switch, take_parameters, text_itself, whole
from cenote.durations import Duration, seconds
from cenote.errors import ConfigError

if TYPE_CHECKING:
    from cenote.sql.dialect import Dialect

MEMORY = ":memory:"

_JOURNALS = ("wal", "delete", "truncate", "persist", "memory", "off")
_SYNCHRONOUS = ("off", "normal", "full", "extra")
_MODES = ("rwc", "rw", "ro")
_MEMDB_SINCE = (3, 36)
_BUSY_RETRY = 0.002

_URL_PARAMETERS: dict[str, Reader] = {
    "busy_timeout": text_itself,
    "timeout": text_itself,
    "mode": text_itself,
    "journal_mode": text_itself,
    "synchronous": text_itself,
    "foreign_keys": switch,
    "immutable": switch,
    "cached_statements": whole,
    "detect_types": whole,
}


class Database:
    """One database, and how connections to it are opened."""

    def __init__(
        self,
        database: str | os.PathLike[str] = MEMORY,
        *,
        busy_timeout: Duration = 5,
        mode: str = "rwc",
        journal_mode: str = "wal",
        synchronous: str | None = None,
        foreign_keys: bool | None = None,
        immutable: bool = False,
        cached_statements: int = 128,
        detect_types: int = 0,
    ) -> None:
        """Check everything; opens nothing.

        Args:
            database: a file, or ``":memory:"`` for a new database shared by this connector's connections.
            busy_timeout: how long a statement waits for another connection's lock.
            mode: ``"rwc"`` creates the file when needed, ``"rw"`` does not, ``"ro"`` only reads.
            journal_mode: ``"wal"`` unless the file lies where memory cannot be shared, as on a network disk.
            synchronous: None is ``"normal"`` with ``"wal"``, and SQLite's own default otherwise.
            foreign_keys: None leaves SQLite's own default.
            immutable: nobody changes the file; it is read without locks.
            cached_statements: as in `sqlite3.connect`.
            detect_types: as in `sqlite3.connect`.

        Raises:
            ConfigError: one of them makes no sense.
        """
        path = os.fspath(database)
        self._memory = path == MEMORY
        self._busy_timeout = seconds(busy_timeout, option="busy_timeout")
        self._read_only = _one_of("mode", mode, _MODES) == "ro" or immutable
        self._journal = _one_of("journal_mode", journal_mode, _JOURNALS)
        self._synchronous = None if synchronous is None else _one_of("synchronous", synchronous, _SYNCHRONOUS)
        self._foreign_keys = foreign_keys
        self._driver = {"cached_statements": cached_statements, "detect_types": detect_types}
        self._lock = threading.Lock()
        self._anchor: sqlite3.Connection | None = None
        if self._memory:
            if self._read_only:
                raise ConfigError("mode: a new database in memory is empty; name a file to read from")
            if sqlite3.sqlite_version_info < _MEMDB_SINCE:
                raise ConfigError(
                    f"{MEMORY}: needs SQLite 3.36, this is {sqlite3.sqlite_version}; name a file"
                )
            self._shown = MEMORY
            self._uri = f"file:/cenote-{secrets.token_hex(8)}?vfs=memdb"
        else:
            if not path:
                raise ConfigError(f"database: got an empty name; name a file, or {MEMORY!r}")
            # Absolute from the start: a later chdir must not lead half of a pool to another file.
            self._shown = str(Path(path).absolute())
            self._uri = (
                f"{Path(self._shown).as_uri()}?mode={mode.lower()}{'&immutable=1' if immutable else ''}"
            )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make one from ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``sqlite://``.

        Raises:
            ConfigError: it names a host, or a parameter that is not one of the constructor's.
        """
        parameters, rest = take_parameters(url, _URL_PARAMETERS)
        refuse_parameters(rest, _URL_PARAMETERS)
        if "timeout" in parameters:  # as sqlite3.connect calls it
            if "busy_timeout" in parameters:
                raise ConfigError("timeout and busy_timeout are the same; write busy_timeout alone")
            parameters["busy_timeout"] = parameters.pop("timeout")
        host, slash, path = rest.partition("://")[2].partition("/")
        if host or "#" in path:
            remedy = "a # in a file name is written as %23" if slash and not host else "SQLite has no host"
            raise ConfigError(
                f"cannot read {url!r}: {remedy}; write sqlite:///relative.db or sqlite:////absolute.db"
            )
        return cls(unquote(path) or MEMORY, **parameters)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown!r})"

    def open(self, timeout: float) -> sqlite3.Connection:
        """Open one connection; it may be used by any thread, one at a time."""
        patience = min(timeout, self._busy_timeout)
        try:
            if self._memory:
                self._hold()
            connection = self._connect(patience)
            try:
                self._prepare(connection, patience)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            error.add_note(f"database: {self._shown}")
            raise
        return connection

    def transaction_begin(self) -> str:
        """Return the statement that begins a transaction meant to write.

        A deferred one that reads first and then writes would fail at once, without waiting, whenever
        another connection has written in between.
        """
        return "BEGIN" if self._read_only else "BEGIN IMMEDIATE"

    def _connect(self, patience: float) -> sqlite3.Connection:
        return sqlite3.connect(
            self._uri,
            uri=True,
            timeout=patience,
            isolation_level=None,
            check_same_thread=False,
            **self._driver,
        )

    def _hold(self) -> None:
        """Keep the database in memory alive while the pool has no connection."""
        with self._lock:
            if self._anchor is None:
                self._anchor = self._connect(self._busy_timeout)
                weakref.finalize(self, self._anchor.close)

    def _prepare(self, connection: sqlite3.Connection, patience: float) -> None:
        if not (self._memory or self._read_only):
            _when_free(partial(connection.execute, f"PRAGMA journal_mode={self._journal}"), patience)
        synchronous = self._synchronous or ("normal" if self._journal == "wal" and not self._memory else None)
        if synchronous is not None:
            connection.execute(f"PRAGMA synchronous={synchronous}")
        if self._foreign_keys is not None:
            connection.execute(f"PRAGMA foreign_keys={int(self._foreign_keys)}")
        if patience != self._busy_timeout:
            connection.execute(f"PRAGMA busy_timeout={round(self._busy_timeout * 1000)}")


class SQLiteConnector(Database):
    """Opens `sqlite3.Connection` for a `Pool`, in autocommit. See `Database` for its arguments."""

    def dialect(self) -> Dialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.sqlite import SQLiteDialect  # noqa: PLC0415 - the pool needs none

        return SQLiteDialect(self.transaction_begin)

    def connect(self, timeout: float) -> sqlite3.Connection:
        """Open one connection."""
        return self.open(timeout)

    @staticmethod
    def close(connection: sqlite3.Connection) -> None:
        """Close it; what was not committed is rolled back, also while a cursor keeps the file open."""
        with suppress(sqlite3.ProgrammingError):  # it is closed
            connection.rollback()
        connection.close()

    @staticmethod
    def is_broken(connection: sqlite3.Connection) -> bool:
        """Say whether it is closed."""
        try:
            connection.total_changes  # noqa: B018 - the cheapest question that a closed one refuses
        except sqlite3.ProgrammingError:
            return True
        return False

    @staticmethod
    def is_alive(connection: sqlite3.Connection) -> bool:
        """Say whether it is open."""
        return not SQLiteConnector.is_broken(connection)

    @staticmethod
    def in_transaction(connection: sqlite3.Connection) -> bool:
        """Say whether a transaction is open."""
        return connection.in_transaction

    @staticmethod
    def ping(connection: sqlite3.Connection) -> None:
        """Run the least statement."""
        connection.execute("SELECT 1").close()

    @staticmethod
    def rollback(connection: sqlite3.Connection) -> None:
        """Roll back what was left open."""
        connection.rollback()

    def transaction(self, connection: sqlite3.Connection) -> AbstractContextManager[None]:
        """Return a block that commits or rolls back."""
        begin = partial(connection.execute, self.transaction_begin())
        return transaction(begin, connection.commit, connection.rollback)

    @staticmethod
    def terminate(connection: sqlite3.Connection) -> None:
        """Interrupt the statement under way, whichever thread runs it; there is nobody else to hang up on."""
        try:
            connection.interrupt()
        except sqlite3.ProgrammingError:  # closed
            return


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    if value.lower() not in choices:
        raise ConfigError(f"{option}: must be one of {', '.join(choices)}, got {value!r}")
    return value.lower()


def _when_free(statement: Callable[[], Any], patience: float) -> None:
    """Switch to the write-ahead log, for which SQLite does not wait for the others by itself.

    When several connections open a new file at once, all but one are told "database is locked" on the spot.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            statement()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(_BUSY_RETRY)
        else:
            return
