"""A private PgBouncer in front of a `PostgresServer`, which a test may stop, restart and look into.

It listens on 127.0.0.1, asks for the same passwords as the server behind it (SCRAM on both sides), and
pools for every database of that server. Its console is open to the test.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import psycopg
from psycopg.rows import DictRow, dict_row

from tests.servers.home import COMMAND_TIMEOUT, Account, Home, ServerError
from tests.servers.postgres import PASSWORDS, PostgresServer
from tests.servers.process import ProcessServer
from tests.servers.proxy import at_address

PoolMode = Literal["session", "transaction", "statement"]

CONSOLE = "pgbouncer"  # the console's database, and the role that may use it
CONSOLE_PASSWORD = "console-secret"

SETTINGS: dict[str, str | int] = {
    "listen_addr": "127.0.0.1",
    "auth_type": "scram-sha-256",
    "admin_users": CONSOLE,
    "server_login_retry": 1,  # seconds after a refused login; a test would wait for PgBouncer's own 15
    "log_connections": 0,
    "log_disconnections": 0,
    "log_stats": 0,
}


def find_program() -> Path:
    """Return PgBouncer's program, which Debian keeps off an ordinary user's PATH."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found:
        return Path(found)
    msg = "PgBouncer is not on this machine; `make test` installs it (Debian: pgbouncer)"
    raise ServerError(msg)


class PgBouncer(ProcessServer):
    """One instance: a directory, a port, and a process while it runs.

    Args:
        postgres: the server behind it.
        pool_mode: when a server connection goes back: at the end of a session, transaction or statement.
        max_client_conn: how many clients may be connected, the console included.
        default_pool_size: how many server connections each pair of role and database gets.
        server_port: the port to reach the server through, its own unless given (that of a proxy).
        settings: anything else that pgbouncer.ini knows.
    """

    _port_taken = "Address already in use"

    def __init__(
        self,
        postgres: PostgresServer,
        *,
        pool_mode: PoolMode = "transaction",
        max_client_conn: int = 100,
        default_pool_size: int = 20,
        server_port: int | None = None,
        **settings: str | int,
    ) -> None:
        self._postgres = postgres
        self._server_port = server_port
        self._settings = {
            **SETTINGS,
            "pool_mode": pool_mode,
            "max_client_conn": max_client_conn,
            "default_pool_size": default_pool_size,
            **settings,
        }
        self._program = find_program()
        super().__init__(Home("cenote-pgbouncer-", Account.unprivileged("postgres", "nobody")))

    @property
    def dsn(self) -> str:
        """The libpq URL of the role and database `app`."""
        return self.url()

    def url(
        self,
        driver: str = "postgresql",
        *,
        database: str = "app",
        user: str = "app",
        password: str | None = None,
    ) -> str:
        """Return the address as a URL, as that of the server would be."""
        direct = self._postgres.url(driver, database=database, user=user, password=password)
        return at_address(direct, self.host, self.port)

    def console(self) -> psycopg.Connection[DictRow]:
        """Open the console: ``SHOW POOLS``, ``PAUSE``, ``KILL app``. Use it in `with`."""
        return psycopg.connect(
            self.url(user=CONSOLE, database=CONSOLE, password=CONSOLE_PASSWORD),
            autocommit=True,
            prepare_threshold=None,  # the console has no prepared statements
            row_factory=dict_row,
        )

    def pool(self, *, database: str = "app", user: str = "app") -> dict[str, Any]:
        """Return the row of ``SHOW POOLS`` about one pool: cl_active, cl_waiting, sv_idle, and so on."""
        with self.console() as console:
            return _pool(console, database, user)

    def wait_for(self, *, database: str = "app", user: str = "app", **figures: int) -> None:
        """Return when ``SHOW POOLS`` has these figures, for example ``cl_waiting=1``.

        PgBouncer sends no event for it, so its console is asked over and over, and here alone.
        """
        row: dict[str, Any] = {}
        end = monotonic() + COMMAND_TIMEOUT
        with self.console() as console:
            while monotonic() < end:
                row = _pool(console, database, user)
                if row and all(row[name] == figure for name, figure in figures.items()):
                    return
        msg = f"PgBouncer still has {row}, not {figures}"
        raise ServerError(msg)

    def _configure(self) -> None:
        passwords = {**PASSWORDS, CONSOLE: CONSOLE_PASSWORD}
        users = "".join(f'"{name}" "{secret}"\n' for name, secret in passwords.items())
        settings = {
            **self._settings,
            "auth_file": self._home.write("users", users),
            "listen_port": self.port,
            "pidfile": self._pid_file,
            "unix_socket_dir": self._home.path,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        port = self._server_port or self._postgres.port
        self._home.write(
            "pgbouncer.ini", f"[databases]\n* = host={self._postgres.host} port={port}\n[pgbouncer]\n{lines}"
        )

    def _arguments(self) -> list[str]:
        return [str(self._home.path / "pgbouncer.ini")]


def _pool(console: psycopg.Connection[DictRow], database: str, user: str) -> dict[str, Any]:
    rows = console.execute("SHOW POOLS").fetchall()
    return next((row for row in rows if (row["database"], row["user"]) == (database, user)), {})
