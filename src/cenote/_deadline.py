"""`with cenote.timeout("2s")`: one deadline for everything inside, in threads and in asyncio."""

from __future__ import annotations

from contextvars import ContextVar, Token
from time import monotonic
from types import TracebackType
from typing import Self

from .durations import Duration, seconds

_NO_DEADLINE = float("inf")
_deadline: ContextVar[float] = ContextVar("cenote_deadline", default=_NO_DEADLINE)


class timeout:  # noqa: N801 - reads as a statement: with cenote.timeout("2s")
    """Bound the waiting, dialing and checking of every pool used inside the block.

    Nested blocks take the nearer deadline; a task or thread started inside follows the rules of
    `contextvars` (tasks inherit it, threads do not). The deadline counts from entering the block.
    What it cuts short raises `PoolTimeout`. An idle connection that needs no check is handed out
    even past the deadline, since nothing is waited for.

    Args:
        duration: seconds, a `timedelta`, or text such as ``"2s"`` or ``"250ms"``.

    Raises:
        ConfigError: the duration makes no sense.
    """

    __slots__ = ("_seconds", "_token")

    def __init__(self, duration: Duration) -> None:
        """Check the duration; the clock starts with the block."""
        self._seconds = seconds(duration, option="timeout")
        self._token: Token[float] | None = None

    def __enter__(self) -> Self:
        """Start the clock."""
        self._token = _deadline.set(min(_deadline.get(), monotonic() + self._seconds))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Go back to the deadline outside."""
        if self._token is not None:
            _deadline.reset(self._token)
            self._token = None


current_deadline = _deadline.get
"""The deadline of the surrounding blocks in monotonic seconds; infinity when there is none."""
