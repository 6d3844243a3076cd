"""Where a server under test lives: a private directory, the account that owns it, and its removal.

Whatever happens to the tests (also SIGKILL), nothing stays behind: a small shell waits at the other end
of a pipe and clears away once the pipe breaks.
"""

from __future__ import annotations

import os
import pwd
import random
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

COMMAND_TIMEOUT = 90.0  # seconds for one command; only a broken machine needs that many


class ServerError(Exception):
    """A server program failed; the message holds what it wrote."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as; `None` stands for the user of the tests."""

    name: str
    uid: int
    gid: int

    @classmethod
    def unprivileged(cls, *names: str) -> Account | None:
        """Return the first of `names` that exists when we are root, which servers refuse to be; else None."""
        if os.geteuid() != 0:
            return None
        for name in names:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(name, entry.pw_uid, entry.pw_gid)
        msg = f"running as root, and this machine has none of the users {', '.join(names)} to run a server as"
        raise ServerError(msg)


class Identity(TypedDict, total=False):
    """The user that a process runs as, in the words of `subprocess`."""

    user: int
    group: int
    extra_groups: tuple[int, ...]


class Home:
    """A private directory that an account owns and in which its commands run."""

    def __init__(self, prefix: str, account: Account | None) -> None:
        self.account = account
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=_parent(account)))
        if account:
            os.chown(self.path, account.uid, account.gid)
        self._watchdog: subprocess.Popen[str] | None = None

    @property
    def identity(self) -> Identity:
        """What `subprocess` has to be told so that a program runs as the account."""
        if self.account is None:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": ()}

    def run(self, *command: str | Path, stdin: str = "", accept: Collection[int] = (0,)) -> int:
        """Run a command as the account; return its exit code, or raise `ServerError` if not accepted."""
        done = subprocess.run(
            command,
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
            timeout=COMMAND_TIMEOUT,
            cwd=self.path,
            env=_environment(),
            **self.identity,
        )
        if done.returncode not in accept:
            what = shlex.join(map(str, command))
            msg = f"{what} failed with code {done.returncode}:\n{done.stdout}{done.stderr}"
            raise ServerError(msg)
        return done.returncode

    def write(self, name: str, text: str) -> Path:
        """Write a file that the account may read and nobody else."""
        path = self.path / name
        path.touch(mode=0o600)
        path.write_text(text)
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)
        return path

    def guard(self, stop_server: str = ":") -> None:
        """Should this process die from now on: run the shell command `stop_server`, remove the directory."""
        clear_away = f"{stop_server}; rm -rf {shlex.quote(str(self.path))}"
        script = f'read -r word; [ "$word" = dismissed ] || {{ {clear_away}; }}'
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd="/",
            env=_environment(),
            start_new_session=True,  # out of reach of a Ctrl-C that stops the tests
            **self.identity,
        )

    def remove(self) -> None:
        """Remove the directory; the guard goes home."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._watchdog:
            self._watchdog.communicate("dismissed\n", timeout=COMMAND_TIMEOUT)
            self._watchdog = None


class Template:
    """A database directory that is made once and copied for each server, which is ten times as fast.

    Args:
        home: where it is made.
        initialise: makes the directory `data` in it.
    """

    def __init__(self, home: Home, initialise: Callable[[Home], None]) -> None:
        self._home = home
        home.guard()
        initialise(home)

    def copy_to(self, home: Home) -> None:
        """Give `home` a database directory of its own."""
        home.run("cp", "-R", self._home.path / "data", home.path / "data")

    def close(self) -> None:
        """Remove it; servers that were copied from it stay."""
        self._home.remove()


def free_port(host: str = "127.0.0.1") -> int:
    """Find a port nobody listens on, below those the system gives to outgoing connections.

    From that range it could be taken while the server is down for a restart: by any client, even by one that
    tries to reach this very server and so connects to itself.
    """
    first_outgoing = 32768
    settings = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if settings.exists():
        first_outgoing = int(settings.read_text().split()[0])
    candidates = range(10_000, first_outgoing) if first_outgoing > 11_000 else range(61_000, 65_000)
    for port in random.sample(candidates, k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    msg = f"no free port on {host} among {candidates}"
    raise ServerError(msg)


def _parent(account: Account | None) -> Path:
    """The temporary directory, or /tmp when the account could not reach the other."""
    parent = Path(tempfile.gettempdir()).resolve()
    reachable = all(folder.stat().st_mode & 0o001 for folder in (parent, *parent.parents))
    return parent if account is None or reachable else Path("/tmp")  # noqa: S108  mkdtemp makes a private one in it


def _environment() -> dict[str, str]:
    """Our environment without what would steer the server's programs or translate their messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}
