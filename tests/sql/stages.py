"""Where a subject plays: a server or a file, and what the server itself sees of one test."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, Protocol

from tests.patience import SAFETY
from tests.servers.mariadb import ALIVE, MariaDBServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import CountingProxy
from tests.sql.subjects import Subject

_numbers = count(1)


class Stage(Protocol):
    """What every stage offers. Whatever counts asks the server, through a connection of its own."""

    def url(self, subject: Subject, **parameters: str) -> str:
        """Return the address for one driver."""

    def statements(self) -> int:
        """Count this test's statements under way."""

    def transactions(self) -> int:
        """Count this test's open transactions, those of a statement under way included."""

    def connections(self) -> int:
        """Count this test's connections."""

    def wait_for(self, *, statements: int | None = None, transactions: int | None = None) -> float:
        """Return when the server sees exactly so many; say after how many seconds."""

    def proxy(self) -> CountingProxy:
        """Make a proxy in front of the server."""


class _Asked:
    """The stages with a server to ask."""

    def _count(self, what: str, admin: Any) -> int:
        raise NotImplementedError

    def _admin(self) -> Any:
        raise NotImplementedError

    def _nap(self, admin: Any) -> None:
        raise NotImplementedError

    def statements(self) -> int:
        with self._admin() as admin:
            return self._count("statements", admin)

    def transactions(self) -> int:
        with self._admin() as admin:
            return self._count("transactions", admin)

    def connections(self) -> int:
        with self._admin() as admin:
            return self._count("connections", admin)

    def wait_for(self, **wanted: int | None) -> float:
        seen: dict[str, int] = {}
        begun = monotonic()
        with self._admin() as admin:
            while monotonic() - begun < SAFETY:
                seen = {
                    what: self._count(what, admin) for what, number in wanted.items() if number is not None
                }
                if all(wanted[what] == number for what, number in seen.items()):
                    return monotonic() - begun
                self._nap(admin)
        raise AssertionError(f"the server sees {seen}, not {wanted}")


class PostgresStage(_Asked):
    """A test on a PostgreSQL server, known to it by an application name."""

    _CONDITIONS: ClassVar = {
        "statements": "state = 'active'",
        "transactions": "xact_start is not null",
        "connections": "true",
    }

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.name = f"handle-{next(_numbers)}"

    def url(self, subject: Subject, **parameters: str) -> str:
        words = {"application_name": self.name, **parameters}
        return f"{self.server.url(subject.scheme)}?{_query(words)}"

    def proxy(self) -> CountingProxy:
        return CountingProxy(self.server.host, self.server.port)

    def _admin(self) -> Any:
        return self.server.admin()

    def _nap(self, admin: Any) -> None:
        admin.execute("select pg_sleep(0.005)")

    def _count(self, what: str, admin: Any) -> int:
        row = admin.execute(
            f"select count(*) from pg_stat_activity where application_name = %s and {self._CONDITIONS[what]}",
            (self.name,),
        ).fetchone()
        return int(row[0])


class MariaDBStage(_Asked):
    """A test on a MariaDB server, known to it by a user of its own."""

    _COUNTS: ClassVar = {
        "statements": "select count(*) from information_schema.processlist"
        " where user = %s and command in ('Query', 'Execute')",
        "transactions": "select count(*) from information_schema.innodb_trx"
        " join information_schema.processlist on trx_mysql_thread_id = id where user = %s",
        "connections": f"select count(*) from information_schema.processlist where user = %s and {ALIVE}",
    }

    def __init__(self, server: MariaDBServer) -> None:
        self.server = server
        self.name = f"handle{next(_numbers)}"
        server.add_user(self.name)

    def url(self, subject: Subject, **parameters: str) -> str:
        address = self.server.url(subject.scheme, user=self.name, password="app-secret")
        return f"{address}?{_query(parameters)}" if parameters else address

    def proxy(self) -> CountingProxy:
        return CountingProxy(self.server.host, self.server.port)

    def _admin(self) -> Any:
        return self.server.admin()

    def _nap(self, admin: Any) -> None:
        self.server.execute("select sleep(0.005)", admin=admin)

    def _count(self, what: str, admin: Any) -> int:
        if what == "transactions":  # of which MariaDB shows a copy, renewed when nobody looked for 0.1 s
            self.server.execute("select sleep(0.11)", admin=admin)
        return int(self.server.execute(self._COUNTS[what], self.name, admin=admin)[0][0])


class SQLiteStage:
    """A database file. Nobody can be asked, but a connection of our own waits for a writer to end."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "app.db"

    def url(self, subject: Subject, **parameters: str) -> str:
        return f"{subject.scheme}:///{self.file}" + (f"?{_query(parameters)}" if parameters else "")

    def wait_for_no_writer(self) -> None:
        """Return when nobody has a transaction open that may write."""
        with closing(sqlite3.connect(self.file, timeout=SAFETY, isolation_level=None)) as own:
            own.execute("begin immediate")
            own.execute("rollback")


def _query(parameters: dict[str, str]) -> str:
    return "&".join(f"{name}={value}" for name, value in parameters.items())


@contextmanager
def proxied(stage: Stage, subject: Subject) -> Iterator[tuple[CountingProxy, str]]:
    """Put a proxy in front of the stage; give it, and the address through it."""
    with stage.proxy() as proxy:
        yield proxy, proxy.url(stage.url(subject))
