"""A socket whose time-outs the kernel keeps: one system call to send and one to receive.

Python keeps them by a ``poll`` before each call, and gives other threads the interpreter in each of the two.
Among busy threads getting it back costs more than all the rest of a command. The kernel can wait by itself
(``SO_RCVTIMEO``), which is what hiredis, too, makes of a time-out.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any, NoReturn


class TimedSocket(socket.socket):
    """Does as any socket what redis-py calls, but for two things.

    The time-out is one of each wait, and not of all that one `sendall` waits for together; and it begins
    anew when a signal comes in between.
    """

    _timeout: float | None = None

    def gettimeout(self) -> float | None:
        """Seconds, as they were set."""
        return self._timeout

    @property
    def timeout(self) -> float | None:
        """The same."""
        return self._timeout

    def settimeout(self, value: float | None, /) -> None:
        """Wait so many seconds at most; not at all for 0, for ever if None."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        super().setblocking(value != 0)
        if value != 0:
            micros = 0 if value is None else max(round(value * 1e6), 1)  # 0 means no time-out
            timeval = struct.pack("ll", *divmod(micros, 1_000_000))
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        self._timeout = value

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001 - as in socket
        """Wait for ever, or not at all."""
        self.settimeout(None if flag else 0.0)

    def recv(self, *args: Any) -> bytes:
        """Receive, in time."""
        try:
            return super().recv(*args)
        except BlockingIOError as error:
            self._tell(error)

    def recv_into(self, *args: Any) -> int:
        """Receive into a buffer, in time."""
        try:
            return super().recv_into(*args)
        except BlockingIOError as error:
            self._tell(error)

    def sendall(self, *args: Any) -> None:
        """Send, in time."""
        try:
            super().sendall(*args)
        except BlockingIOError as error:
            self._tell(error)

    def _tell(self, error: BlockingIOError) -> NoReturn:
        """Say what it means that the kernel has waited long enough, if it was to wait."""
        if self._timeout:
            raise TimeoutError("timed out") from None
        raise error


def timed(sock: Any) -> Any:
    """Turn a plain connected socket into one of ours; what is more than that, as with TLS, stays as it is."""
    if sys.platform != "linux" or type(sock) is not socket.socket:
        return sock
    timeout = sock.gettimeout()
    ours = TimedSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
    try:
        ours.settimeout(timeout)
    except BaseException:
        ours.close()
        raise
    return ours
