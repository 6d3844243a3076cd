"""A private MariaDB server that a test may stop, restart, kill, limit and cut off.

It listens on 127.0.0.1 and on a Unix socket, asks everybody for a password, and forgets durability for
speed. There are two ordinary users, `app` and `other`, each with a database of its own name. The superuser is
for the test itself: it comes in by a port of its own, so it gets in when the limit is reached.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import pymysql
from pymysql.cursors import Cursor

from tests.servers.home import COMMAND_TIMEOUT, Account, Home, ServerError, free_port

StopMode = Literal["fast", "immediate"]

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

_OURS = f"user not in ('{SUPERUSER}', 'system user', 'event_scheduler')"


def find_program(name: str) -> Path:
    """Return where one of MariaDB's programs is: on PATH, or where Debian keeps those for administrators."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/libexec")
    if found:
        return Path(found)
    msg = f"{name} is not on this machine; `make test` installs it (Debian: mariadb-server)"
    raise ServerError(msg)


class Template:
    """A database directory made by mariadb-install-db once, to be copied for each server: much faster."""

    def __init__(self) -> None:
        self._home = _new_home("cenote-mariadb-template-")
        self._home.guard()
        _initialise(self._home)

    def copy_to(self, home: Home) -> None:
        """Give `home` a database directory of its own."""
        home.run("cp", "-R", self._home.path / "data", home.path / "data")

    def close(self) -> None:
        """Remove it; servers that were copied from it stay."""
        self._home.remove()


class MariaDBServer:
    """One instance: a directory, a port, a Unix socket, and a process while it runs.

    Args:
        max_connections: how many connections the ordinary users get together, exactly; at least 10.
        settings: more of the server's settings, for example ``{"wait_timeout": 1}``.
        template: where to copy the database directory from; without one, mariadb-install-db makes it.
    """

    host = "127.0.0.1"

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
        self._process: subprocess.Popen[bytes] | None = None
        self._home = _new_home("cenote-mariadb-")
        self.port, self._extra_port = free_port(self.host), free_port(self.host)
        pid_file = shlex.quote(str(self._home.path / "pid"))
        self._home.guard(f"[ ! -s {pid_file} ] || kill -KILL $(cat {pid_file})")
        if template:
            template.copy_to(self._home)
        else:
            _initialise(self._home)

    def __enter__(self) -> Self:
        """Start it; what does not start leaves nothing behind."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop and remove it."""
        self.close()

    @property
    def directory(self) -> Path:
        """Where everything of this server lies."""
        return self._home.path

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self._home.path / "socket"

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process, which has to be running."""
        assert self._process is not None
        return self._process.pid

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

    def start(self) -> None:
        """Start it and return when it accepts connections; nothing to do when it already runs."""
        if self.running:
            return
        attempts = 5
        for attempt in range(1, attempts + 1):
            self._configure()
            log = self._launch()
            if log is None:
                return
            # Somebody else took a port between our look and now.
            if "Bind on TCP/IP port" not in log or attempt == attempts:
                msg = f"{self._program} did not start; its log says:\n{log}"
                raise ServerError(msg)
            self.port, self._extra_port = free_port(self.host), free_port(self.host)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it and wait for its end; its data and its port stay. "immediate" is a crash."""
        if self._process is None:
            return
        if mode == "fast":
            self._process.terminate()
        else:
            self._process.kill()
        self._process.wait(COMMAND_TIMEOUT)
        self._process = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start it on the same port: every connection dies, the next is accepted."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill its process, as the system does when memory runs out."""
        self.stop("immediate")

    def close(self) -> None:
        """Stop it and remove everything. A second call does nothing."""
        self.stop("immediate")
        self._home.remove()

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
        for _ in range(3000):
            if happened():
                return
            self.execute("select sleep(0.01)", admin=admin)
        raise ServerError(otherwise)

    def _configure(self) -> None:
        settings = {
            **SETTINGS,
            "datadir": self._home.path / "data",
            "socket": self.socket,
            "pid-file": self._home.path / "pid",
            "port": self.port,
            "extra-port": self._extra_port,
            **self._settings,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        self._home.write("settings.cnf", f"[mariadbd]\n{lines}")

    def _launch(self) -> str | None:
        """Start the process; return when it is ready, or with its log when it gave up."""
        account = self._home.account
        address = self._home.path / "ready"
        log = self._home.path / "log"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news, log.open("wb") as output:
            address.unlink(missing_ok=True)
            news.bind(str(address))
            address.chmod(0o666)  # in a directory that nobody else enters
            self._process = subprocess.Popen(
                [self._program, f"--defaults-file={self._home.path / 'settings.cnf'}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._home.path,
                env={"PATH": os.defpath, "LC_ALL": "C", "NOTIFY_SOCKET": str(address)},
                start_new_session=True,  # out of reach of a Ctrl-C that stops the tests
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=() if account else None,
            )
            if _ready(news, self._process.pid):
                return None
        self.stop("immediate")
        return log.read_text(errors="replace")


def _ready(news: socket.socket, pid: int) -> bool:
    """Wait for the word that systemd would wait for, or for the end of the process."""
    end = os.pidfd_open(pid)
    try:
        while True:
            readable, _, _ = select.select([news.fileno(), end], [], [], COMMAND_TIMEOUT)
            if news.fileno() not in readable:
                return False
            if b"READY=1" in news.recv(4096).splitlines():
                return True
    finally:
        os.close(end)


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
