"""Waiting that a signal ends at once: Ctrl-C, or whatever else politely asks a program to end."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # the last one is unknown to Windows


class Bell:
    """While it is used in ``with``, the first signal only rings; a second one does what it did before.

    The handler writes to a socket. It must not touch a lock, which the very thread it interrupts may hold.
    """

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._before: dict[signal.Signals, Any] = {}
        self.rung: bool = False

    def __enter__(self) -> Self:
        """Take the signals over."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._ring)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        self._give_back()
        self._here.close()
        self._there.close()

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, `seconds` at most, and say whether there was one."""
        if not self.rung:
            select.select([self._here], [], [], max(seconds, 0))
        return self.rung

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        self.rung = True
        self._there.send(b"!")
        self._give_back()

    def _give_back(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
