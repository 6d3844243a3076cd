"""A private Redis that a test may stop, restart, kill, limit and cut off.

It listens on 127.0.0.1 and on a Unix socket, asks for a password, and keeps nothing: after a restart it is
empty. The test itself comes in by the Unix socket under a name of its own, and is not counted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from tests.servers.home import COMMAND_TIMEOUT, Account, Home, ServerError
from tests.servers.process import NAP, ProcessServer, wait_until

# It has every sign that a URL has to escape.
PASSWORD = "p@ss:w/rd? 100%#&=+"
ADMIN = "the-test-itself"  # the name of its connections

SETTINGS: dict[str, str | int] = {
    "bind": "127.0.0.1",
    "supervised": "systemd",  # says when it is ready, to the socket in NOTIFY_SOCKET
    "daemonize": "no",
    "save": '""',
    "appendonly": "no",
    "databases": 16,
    "hz": 100,  # looks for those who were idle for too long a hundred times a second
    "unixsocketperm": 777,  # in a directory that nobody else enters
    "enable-debug-command": "yes",
}


@dataclass(frozen=True, slots=True)
class TLS:
    """The files of a server that speaks TLS on its port, and nothing else there."""

    key: Path
    certificate: Path


class RedisServer(ProcessServer):
    """One instance: a directory, a port, a Unix socket, and a process while it runs.

    Args:
        password: what clients have to know; None lets everybody in.
        settings: more of the server's settings, for example ``{"timeout": 1, "maxclients": 20}``.
        tls: a key and a certificate; the port then speaks TLS only.
    """

    _port_taken = "Address already in use"

    def __init__(
        self,
        *,
        password: str | None = PASSWORD,
        settings: Mapping[str, str | int] | None = None,
        tls: TLS | None = None,
    ) -> None:
        found = shutil.which("redis-server")
        if found is None:
            msg = "redis-server is not on this machine; `make test` installs it (Debian: redis-server)"
            raise ServerError(msg)
        self._program = Path(found)
        self.password = password
        self._settings = dict(settings or {})
        super().__init__(Home("cenote-redis-", Account.unprivileged("redis", "nobody")))
        self._tls = self._adopt(tls) if tls else None

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self._home.path / "socket"

    def url(self, scheme: str = "redis", *, database: int = 0, password: str | None = None) -> str:
        """Return the address as a URL; of the Unix socket if `scheme` ends in ``unix``."""
        secret = self.password if password is None else password
        login = f":{quote(secret, safe='')}@" if secret else ""
        if scheme.endswith("unix"):
            return f"{scheme}://{login}{self.socket}?db={database}"
        return f"{scheme}://{login}{self.host}:{self.port}/{database}"

    def set(self, **settings: str | int) -> None:
        """Change settings of the running server and of its next start; ``-`` is written ``_``."""
        named = {name.replace("_", "-"): value for name, value in settings.items()}
        with self.admin() as admin:
            for name, value in named.items():
                admin.config_set(name, value)
        self._settings.update(named)

    @contextmanager
    def admin(self) -> Iterator[redis.Redis]:
        """Open one connection for the test itself, which is neither counted nor killed."""
        client = redis.Redis(
            unix_socket_path=str(self.socket),
            password=self.password,
            client_name=ADMIN,
            decode_responses=True,
            socket_timeout=COMMAND_TIMEOUT,
            single_connection_client=True,
        )
        with client:
            yield client

    def connections(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the clients' connections (or those of that name) as the server sees them."""
        with self.admin() as admin:
            return _see(admin, name)

    def count_connections(self, name: str | None = None) -> int:
        """Count them."""
        return len(self.connections(name))

    def kill_connections(self, name: str | None = None) -> int:
        """Kill the clients' connections (or those of that name); return how many."""
        with self.admin() as admin:
            doomed = _see(admin, name)
            return sum(int(admin.client_kill_filter(_id=one["id"])) for one in doomed)

    def wait_for_connections(self, count: int, name: str | None = None) -> None:
        """Return when the server sees `count` of them, which a client's close() does not wait for."""
        with self.admin() as admin:
            self._wait(
                admin,
                lambda: len(_see(admin, name)) == count,
                f"it does not see {count} connections of {name or 'anybody'}",
            )

    def wait_for_command(self, command: str, count: int = 1) -> None:
        """Return when so many clients are in the midst of a command that blocks, for example ``blpop``."""
        with self.admin() as admin:
            self._wait(
                admin,
                lambda: (
                    sum(one["cmd"] == command and "b" in one["flags"] for one in _see(admin, None)) == count
                ),
                f"it does not see {count} times {command}",
            )

    def sleep(self, seconds: float) -> None:
        """Have the server itself let time pass, as its own time-outs need."""
        with self.admin() as admin:
            admin.blpop([f"nobody-pushes-here-{id(admin)}"], timeout=seconds)

    def _wait(self, admin: redis.Redis, happened: Callable[[], bool], otherwise: str) -> None:
        wait_until(happened, lambda: admin.blpop(["nobody-pushes-here"], timeout=NAP), otherwise)

    def _adopt(self, tls: TLS) -> TLS:
        """Copy the files to where the server may read them."""
        return TLS(
            self._home.write("key.pem", tls.key.read_text()),
            self._home.write("certificate.pem", tls.certificate.read_text()),
        )

    def _configure(self) -> None:
        settings: dict[str, object] = {
            **SETTINGS,
            "dir": self._home.path,
            "pidfile": self._pid_file,
            "unixsocket": self.socket,
            "port": 0 if self._tls else self.port,
            **self._settings,
        }
        if self._tls:
            settings |= {
                "tls-port": self.port,
                "tls-key-file": self._tls.key,
                "tls-cert-file": self._tls.certificate,
                "tls-auth-clients": "no",
            }
        if self.password:
            settings["requirepass"] = f'"{self.password}"'
        self._home.write("redis.conf", "".join(f"{name} {value}\n" for name, value in settings.items()))

    def _arguments(self) -> list[str]:
        return [str(self._home.path / "redis.conf")]


def _see(admin: redis.Redis, name: str | None) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = admin.client_list()
    return [one for one in seen if one["name"] != ADMIN and (name is None or one["name"] == name)]
