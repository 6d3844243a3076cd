"""What all servers under test have in common: how they start, stop, come back and leave nothing behind.

`Server` is any of them; `ProcessServer` is one whose process is our own child and says when it is ready, as
services tell systemd.
"""

from __future__ import annotations

import os
import select
import shlex
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, Self

from tests.servers.home import COMMAND_TIMEOUT, Home, ServerError, free_port

StopMode = Literal["fast", "immediate"]

ATTEMPTS = 5  # to start on a port that was free a moment ago
NAP = 0.01  # seconds between two looks at what a server sends no event for
LOOKS = 9000  # only a broken machine needs that many


class Server(ABC):
    """One instance: a private directory, and ports that stay the same when it is restarted."""

    host = "127.0.0.1"
    port: int

    _program: Path
    _port_taken: ClassVar[str]
    """What its log says when it cannot have its port."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._choose_ports()

    def __enter__(self) -> Self:
        """Start it; what does not start leaves nothing behind."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and remove it."""
        self.close()

    @property
    def directory(self) -> Path:
        """Where everything of this server lies."""
        return self._home.path

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether the server's process is there."""

    def start(self) -> None:
        """Start it and return when it accepts connections; nothing to do when it already runs."""
        if self.running:
            return
        for attempt in range(1, ATTEMPTS + 1):
            self._configure()
            log = self._launch()
            if log is None:
                return
            # Somebody else took a port between our look and now.
            if self._port_taken not in log or attempt == ATTEMPTS:
                msg = f"{self._program} did not start; its log says:\n{log}"
                raise ServerError(msg)
            self._choose_ports()

    @abstractmethod
    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it and wait for its end; its directory and its ports stay. "immediate" is a crash."""

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start it on the same port: every connection dies, the next is accepted."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop it and remove everything. A second call does nothing."""
        self.stop("immediate")
        self._home.remove()

    def _choose_ports(self) -> None:
        self.port = free_port(self.host)

    @abstractmethod
    def _configure(self) -> None:
        """Write the settings for the next start."""

    @abstractmethod
    def _launch(self) -> str | None:
        """Start it; return when it is ready, or with its log when it gave up."""


class ProcessServer(Server):
    """A server that runs in the foreground, as a child of the tests, and sends READY=1 to $NOTIFY_SOCKET."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._process: subprocess.Popen[bytes] | None = None
        pid_file = shlex.quote(str(self._pid_file))
        home.guard(f"[ ! -s {pid_file} ] || kill -KILL $(cat {pid_file})")

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process, which has to be running."""
        assert self._process is not None
        return self._process.pid

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it and wait for its end; its directory and its ports stay. "immediate" is a crash."""
        if self._process is None:
            return
        if mode == "fast":
            self._process.terminate()
        else:
            self._process.kill()
        self._process.wait(COMMAND_TIMEOUT)
        self._process = None

    def kill(self) -> None:
        """Kill its process, as the system does when memory runs out."""
        self.stop("immediate")

    @property
    def _pid_file(self) -> Path:
        """Where the server has to write its number, for the guard."""
        return self._home.path / "pid"

    @abstractmethod
    def _arguments(self) -> list[str]:
        """What follows the program's name."""

    def _launch(self) -> str | None:
        address = self._home.path / "ready"
        log = self._home.path / "log"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news, log.open("wb") as output:
            address.unlink(missing_ok=True)
            news.bind(str(address))
            address.chmod(0o666)  # in a directory that nobody else enters
            self._process = subprocess.Popen(
                [self._program, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._home.path,
                env={"PATH": os.defpath, "LC_ALL": "C", "NOTIFY_SOCKET": str(address)},
                start_new_session=True,  # out of reach of a Ctrl-C that stops the tests
                **self._home.identity,
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


def wait_until(happened: Callable[[], bool], nap: Callable[[], object], otherwise: str) -> None:
    """Return when something has happened of which a server sends no word.

    Between two looks `nap` has the server itself pause for `NAP`: nothing here, and no test, sleeps.

    Raises:
        ServerError: it does not happen; the message is `otherwise`.
    """
    for _ in range(LOOKS):
        if happened():
            return
        nap()
    raise ServerError(otherwise)
