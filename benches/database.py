"""The servers that all sides of a case share: private ones, started when one asks."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg

from benches import cores

TABLE = "create table bench (id bigint generated always as identity primary key, worker int, note text)"


@dataclass(slots=True)
class Database:
    """Where the live cases connect to. With `given`, a server that already runs; else one of its own."""

    given: str | None = None
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _dsn: str | None = field(default=None, init=False)
    _mariadb: str | None = field(default=None, init=False)

    @property
    def dsn(self) -> str:
        """A ``postgresql://`` URL that every driver understands."""
        if self._dsn is None:
            self._dsn = self.given or self._start()
        return self._dsn

    def url(self, driver: str) -> str:
        """Give the same address as cenote's URL for `driver`."""
        return self.dsn.replace("postgresql://", f"postgresql+{driver}://", 1)

    @property
    def mariadb(self) -> str:
        """A ``mysql://`` URL of a private MariaDB."""
        if self._mariadb is None:
            from tests.servers.mariadb import MariaDBServer

            with cores.of_the_servers():
                self._mariadb = self._stack.enter_context(MariaDBServer()).url("mysql")
        return self._mariadb

    def empty_table(self) -> None:
        """Make the table ``bench`` anew, so that no case inherits rows or bloat."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("drop table if exists bench")
            connection.execute(TABLE)

    def close(self) -> None:
        """Stop the server if one was started."""
        self._stack.close()
        self._dsn = self._mariadb = None

    def _start(self) -> str:
        # Imported here: a bench without a live case needs no server on the machine.
        from tests.servers.postgres import PostgresServer

        with cores.of_the_servers():
            return self._stack.enter_context(PostgresServer()).dsn
