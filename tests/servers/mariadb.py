"""A private MariaDB server that a test may stop, restart, kill, limit and cut off.

It listens on 127.0.0.1 and on a Unix socket, asks everybody for a password, and forgets durability for
speed. There are two ordinary users, `app` and `other`, each with a database of its own name. The superuser is
for the test itself: it comes in by a port of its own, so it gets in when the limit is reached.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql
from pymysql.cursors import Cursor

from tests.servers import home
from tests.servers.home import Account, Home, ServerError, free_port
from tests.servers.process import NAP, ProcessServer, wait_until

SUPERUSER = "root"
# The password of `other` has every sign that a URL has to escape.
PASSWORDS = {SUPERUSER: "superuser-secret", "app": "app-secret", "other": "p@ss:w/rd? 100%#&=+"}
RESERVED = 5  # connections for the superuser, beside those of max_connections
LEAST_LIMIT = 10  # MariaDB takes no smaller max_connections, and says so only in its log

SETTINGS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": 1,
    "skip-log-bin": 1,
    "performance-schema": 0,
    "character-set-server": "utf8mb4",
    "innodb-buffer-pool-size": "16M",
    "innodb-flush-log-at-trx-commit": 2,
    "innodb-flush-method": "nosync",
    "innodb-doublewrite": 0,
    "innodb-use-native-aio": 0,
    "innodb-fast-shutdown": 2,
    "innodb-buffer-pool-dump-at-shutdown": 0,
    "innodb-buffer-pool-load-at-startup": 0,
    "table-open-cache": 100,
    "extra-max-connections": RESERVED,
}

ALIVE = "command not in ('Killed', 'Busy')"
"""Which of the listed sessions still have a socket: MariaDB closes it before it takes them off the list.

It marks the session as killed first, and keeps its lock meanwhile, for which the list says busy. It says so
for a moment of each statement, too: whoever counts over and over sees such a session at the next look.
"""

_OURS = f"user not in ('{SUPERUSER}', 'system user', 'event_scheduler')"


def find_program(name: str) -> Path:
    """Return where one of MariaDB's programs is: on PATH, or where Debian keeps those for administrators."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/libexec")
    if found:
        return Path(found)
    msg = f"{name} is not on this machine; `make test` installs it (Debian: mariadb-server)"
    raise ServerError(msg)


class Template(home.Template):
    """A database directory made by mariadb-install-db once, to be copied for each server."""

    def __init__(self) -> None:
        super().__init__(_new_home("cenote-mariadb-template-"), _initialise)


class MariaDBServer(ProcessServer):
    """One instance: a directory, two ports, a Unix socket, and a process while it runs.

    Args:
        max_connections: how many connections the ordinary users get together, exactly; at least 10.
        settings: more of the server's settings, for example ``{"wait_timeout": 1}``.
        template: where to copy the database directory from; without one, mariadb-install-db makes it.
    """

    _port_taken = "Bind on TCP/IP port"

    def __init__(
        self,
        *,
        max_connections: int = 100,
        settings: Mapping[str, str | int] | None = None,
        template: Template | None = None,
    ) -> None:
        self._program = find_program("mariadbd")
        self._settings: dict[str, str | int] = {
            "max_connections": _limit(max_connections),
            **(settings or {}),
        }
        self._passwords = dict(PASSWORDS)
        super().__init__(_new_home("cenote-mariadb-"))
        if template:
            template.copy_to(self._home)
        else:
            _initialise(self._home)

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self._home.path / "socket"

    def url(
        self,
        driver: str = "mysql",
        *,
        database: str = "app",
        user: str = "app",
        password: str | None = None,
    ) -> str:
        """Return the address as a URL. `driver` is its scheme; the password, unless given, the user's own."""
        secret = quote(self._passwords.get(user, "") if password is None else password, safe="")
        return f"{driver}://{quote(user, safe='')}:{secret}@{self.host}:{self.port}/{database}"

    def set(self, **settings: str | int) -> None:
        """Change settings of the running server, for connections to come and for its next start.

        What MariaDB cannot change while it runs is refused by it.
        """
        with self.admin() as admin:
            for name, value in settings.items():
                self.execute(f"set global {name} = %s", value, admin=admin)
        self._settings.update(settings)

    def set_max_connections(self, limit: int) -> None:
        """Give the ordinary users another limit, from their next connection on."""
        self.set(max_connections=_limit(limit))

    def add_user(self, name: str, password: str = "app-secret") -> None:
        """Add an ordinary user of the database `app`: a name to count connections by."""
        self._passwords[name] = password
        with self.admin() as admin:
            self.execute(f"create or replace user {name} identified by %s", password, admin=admin)
            self.execute(f"grant all on app.* to {name}", admin=admin)

    @contextmanager
    def admin(self) -> Iterator[pymysql.Connection[Cursor]]:
        """Open a superuser's connection in autocommit, for the test itself."""
        connection = pymysql.connect(
            host=self.host,
            port=self._extra_port,
            user=SUPERUSER,
            password=PASSWORDS[SUPERUSER],
            autocommit=True,
        )
        try:
            yield connection
        finally:
            if connection.open:
                connection.close()

    def execute(
        self, statement: str, *parameters: object, admin: pymysql.Connection[Cursor] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; return its rows."""
        if admin is None:
            with self.admin() as own:
                return self.execute(statement, *parameters, admin=own)
        with admin.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall())

    def connections(self, user: str | None = None, *, where: str = "true") -> list[int]:
        """Return the ids of the clients' connections (or those of that user) as the server sees them."""
        with self.admin() as admin:
            return self._see(admin, user, where)

    def count_connections(self, user: str | None = None, *, where: str = "true") -> int:
        """Count them. `where` is a condition on information_schema.processlist."""
        return len(self.connections(user, where=where))

    def kill_connections(self, user: str | None = None) -> int:
        """Kill the clients' connections (or those of that user); return how many, once they are gone."""
        with self.admin() as admin:
            doomed = self._see(admin, user)
            for number in doomed:
                self.execute(f"kill connection {number}", admin=admin)
            self._wait(admin, lambda: not set(doomed) & set(self._see(admin, user)), "killed ones stay")
        return len(doomed)

    def wait_for_connections(self, count: int, user: str | None = None, *, where: str = "true") -> None:
        """Return when the server sees `count` of them, which a client's close() does not wait for.

        MariaDB sends no event for it, so the waiting is done in the server, and here alone.
        """
        with self.admin() as admin:
            self._wait(
                admin,
                lambda: len(self._see(admin, user, where)) == count,
                f"it does not see {count} connections of {user or 'anybody'} where {where}",
            )

    def sleep(self, seconds: float) -> None:
        """Have the server itself let time pass, as its own time-outs need."""
        self.execute("select sleep(%s)", seconds)

    def _see(self, admin: pymysql.Connection[Cursor], user: str | None, where: str = "true") -> list[int]:
        rows = self.execute(
            f"select id from information_schema.processlist where {_OURS} and (%s is null or user = %s)"
            f" and ({where.replace('%', '%%')})",
            user,
            user,
            admin=admin,
        )
        return [row[0] for row in rows]

    def _wait(self, admin: pymysql.Connection[Cursor], happened: Callable[[], bool], otherwise: str) -> None:
        wait_until(happened, lambda: self.execute("select sleep(%s)", NAP, admin=admin), otherwise)

    def _choose_ports(self) -> None:
        super()._choose_ports()
        self._extra_port = free_port(self.host)

    def _configure(self) -> None:
        settings = {
            **SETTINGS,
            "datadir": self._home.path / "data",
            "socket": self.socket,
            "pid-file": self._pid_file,
            "port": self.port,
            "extra-port": self._extra_port,
            **self._settings,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        self._home.write("settings.cnf", f"[mariadbd]\n{lines}")

    def _arguments(self) -> list[str]:
        return [f"--defaults-file={self._home.path / 'settings.cnf'}"]


def _limit(max_connections: int) -> int:
    if max_connections < LEAST_LIMIT:
        msg = f"MariaDB takes no max_connections below {LEAST_LIMIT}, got {max_connections}"
        raise ServerError(msg)
    return max_connections


def _new_home(prefix: str) -> Home:
    return Home(prefix, Account.unprivileged("mysql", "nobody"))


def _initialise(home: Home) -> None:
    """Make a database directory with the users and their databases."""
    statements = [
        "delete from mysql.global_priv where user <> 'mariadb.sys'",  # the owner of the system's views
        "flush privileges",
        f"create user '{SUPERUSER}'@'%' identified by '{PASSWORDS[SUPERUSER]}'",
        f"grant all on *.* to '{SUPERUSER}'@'%' with grant option",
    ]
    for user, password in PASSWORDS.items():
        if user != SUPERUSER:
            statements += [
                f"create database {user} character set utf8mb4",
                f"create user '{user}'@'%' identified by '{password}'",
                f"grant all on {user}.* to '{user}'@'%'",
            ]
    extra = home.write("extra.sql", "".join(f"{line};\n" for line in statements))
    home.run(
        find_program("mariadb-install-db"),
        "--no-defaults",
        f"--datadir={home.path / 'data'}",
        "--auth-root-authentication-method=normal",
        "--skip-name-resolve",
        "--skip-test-db",
        "--skip-log-bin",
        "--innodb-log-file-size=8M",
        f"--extra-file={extra}",
    )
    extra.unlink()
