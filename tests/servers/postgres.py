"""A private PostgreSQL server that a test may stop, restart, limit and cut off.

It listens on 127.0.0.1 and on a Unix socket, asks everybody for a password (SCRAM), and forgets durability
for speed. There are two ordinary roles, `app` and `other`, each with a database of its own name. The
superuser is for the test itself: it has connections reserved, so it gets in when the limit is reached.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.rows import TupleRow

from tests.servers import home
from tests.servers.home import Account, Home, ServerError
from tests.servers.process import NAP, Server, StopMode, wait_until

SUPERUSER = "postgres"
# The password of `other` has every sign that a URL has to escape.
PASSWORDS = {SUPERUSER: "superuser-secret", "app": "app-secret", "other": "p@ss:w/rd? 100%#&=+"}
ADMIN_NAME = "cenote-tests-admin"
RESERVED = 5  # connections for the superuser, beside those of max_connections

SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
shared_buffers = '16MB'
autovacuum = off
jit = off
password_encryption = 'scram-sha-256'
include = 'instance.conf'
"""


def find_programs() -> Path:
    """Return the folder of initdb, pg_ctl and postgres: the newest Debian has, else the one on PATH."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda program: int(program.parent.parent.name),
    )
    if debian:
        return debian[-1].parent
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    msg = "PostgreSQL's programs are not on this machine; `make test` installs them (Debian: postgresql)"
    raise ServerError(msg)


class Template(home.Template):
    """A database directory made by initdb once, to be copied for each server."""

    def __init__(self) -> None:
        super().__init__(_new_home("cenote-pg-template-"), _initialise)


class PostgresServer(Server):
    """One instance: a directory, a port, and a process while it runs.

    Args:
        max_connections: how many connections the ordinary roles get together, exactly.
        template: where to copy the database directory from; without one, initdb makes it.
    """

    _port_taken = "could not bind"

    def __init__(self, *, max_connections: int = 100, template: Template | None = None) -> None:
        self._max_connections = max_connections
        self._program = find_programs() / "pg_ctl"
        super().__init__(_new_home("cenote-pg-"))
        self._data = self._home.path / "data"
        self._log = self._home.path / "log"
        stop = (str(self._program), "stop", "-m", "immediate", "-D", str(self._data))
        self._home.guard(shlex.join(stop))
        if template:
            template.copy_to(self._home)
        else:
            _initialise(self._home)

    @property
    def socket_dir(self) -> Path:
        """The directory of the Unix socket."""
        return self._home.path

    @property
    def dsn(self) -> str:
        """The libpq URL of the role and database `app`."""
        return self.url()

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        no_server, no_directory = 3, 4
        return self._data.exists() and self._pg_ctl("status", accept=(0, no_server, no_directory)) == 0

    def url(
        self,
        driver: str = "postgresql",
        *,
        database: str = "app",
        user: str = "app",
        password: str | None = None,
    ) -> str:
        """Return the address as a URL. `driver` is its scheme; the password, unless given, the role's own."""
        secret = quote(PASSWORDS.get(user, "") if password is None else password, safe="")
        return f"{driver}://{quote(user, safe='')}:{secret}@{self.host}:{self.port}/{database}"

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it and wait for its end; its data and its port stay. "immediate" is a crash."""
        if self.running:
            self._pg_ctl("stop", "-m", mode)

    def set_max_connections(self, limit: int) -> None:
        """Restart it with another limit for the ordinary roles."""
        self._max_connections = limit
        self.restart()

    def admin(self) -> psycopg.Connection[TupleRow]:
        """Open a superuser's connection in autocommit, for the test itself: use it in `with`."""
        return psycopg.connect(
            self.url(database=SUPERUSER, user=SUPERUSER),
            autocommit=True,
            application_name=ADMIN_NAME,
        )

    def terminate_backends(self, application_name: str | None = None) -> int:
        """Kill the clients' connections (or those with that name); return how many, once they are gone."""
        return self._ask("select count(*) filter (where pg_terminate_backend(pid, 30000))", application_name)

    def count_backends(self, application_name: str | None = None) -> int:
        """Count the clients' connections (or those with that name) as the server sees them."""
        return self._ask("select count(*)", application_name)

    def wait_for_backends(self, count: int, application_name: str | None = None) -> None:
        """Return when the server sees `count` of them, which a client's close() does not wait for.

        PostgreSQL sends no event for it, so the waiting is done in the server, and here alone.
        """
        with self.admin() as admin:
            wait_until(
                lambda: self._ask("select count(*)", application_name, admin) == count,
                lambda: admin.execute("select pg_sleep(%s)", (NAP,)),
                f"it does not see {count} connections of {application_name or 'anybody'}",
            )

    def _ask(
        self,
        select: str,
        application_name: str | None,
        admin: psycopg.Connection[TupleRow] | None = None,
    ) -> int:
        """Run an aggregate over the rows of pg_stat_activity that are clients and not the test itself."""
        if admin is None:
            with self.admin() as own:
                return self._ask(select, application_name, own)
        row = admin.execute(
            f"{select} from pg_stat_activity where backend_type = 'client backend'"
            " and application_name <> %s and (%s::text is null or application_name = %s)",
            (ADMIN_NAME, application_name, application_name),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def _configure(self) -> None:
        self._home.write(
            "data/instance.conf",
            f"port = {self.port}\n"
            f"unix_socket_directories = '{self.socket_dir}'\n"
            f"max_connections = {self._max_connections + RESERVED}\n"
            f"superuser_reserved_connections = {RESERVED}\n",
        )

    def _launch(self) -> str | None:
        self._log.unlink(missing_ok=True)
        try:
            self._pg_ctl("start", "--log", str(self._log))
        except ServerError as error:
            log = self._log.read_text() if self._log.exists() else ""
            return f"{log}{error}"
        return None

    def _pg_ctl(self, action: str, *options: str, accept: tuple[int, ...] = (0,)) -> int:
        waits = () if action == "status" else ("--wait", "--timeout=60")
        return self._home.run(self._program, action, "-D", self._data, *waits, *options, accept=accept)


def _new_home(prefix: str) -> Home:
    return Home(prefix, Account.unprivileged("postgres", "nobody"))


def _initialise(home: Home) -> None:
    """Make a database directory with the roles and their databases."""
    programs = find_programs()
    password = home.write("password", PASSWORDS[SUPERUSER])
    home.run(
        programs / "initdb",
        "--pgdata=data",
        "--no-sync",
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
        f"--username={SUPERUSER}",
        f"--pwfile={password}",
    )
    password.unlink()
    data = home.path / "data"
    home.write("data/instance.conf", "")
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(SETTINGS)
    # Single-user mode takes one statement a line and needs no running server.
    statements = "".join(
        f"create role {role} login password '{PASSWORDS[role]}';\ncreate database {role} owner {role};\n"
        for role in PASSWORDS
        if role != SUPERUSER
    )
    home.run(
        programs / "postgres", "--single", "-c", "exit_on_error=true", "-D", data, SUPERUSER, stdin=statements
    )
