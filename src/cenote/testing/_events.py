"""A listener that remembers what a pool reports, and waits for what it has not reported yet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from ..events import Event, Kind
from ._fakes import SAFETY


class EventLog:
    """A listener for a pool, ``Pool(..., listener=log)``, that remembers every `Event` in order."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self.on_change: Callable[[], object] | None = None
        """Called after each event; for tests that wait for quiet."""

    def __call__(self, event: Event) -> None:
        """Remember one event."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()
        if self.on_change is not None:
            self.on_change()

    @property
    def events(self) -> list[Event]:
        """All events since the beginning or the last `clear`."""
        with self._changed:
            return self._events.copy()

    @property
    def kinds(self) -> list[Kind]:
        """Their kinds."""
        return [event.kind for event in self.events]

    def of(self, kind: Kind) -> list[Event]:
        """Those of one kind."""
        return [event for event in self.events if event.kind == kind]

    def reasons(self, kind: Kind) -> list[str | None]:
        """The reasons of those of one kind."""
        return [event.reason for event in self.of(kind)]

    def clear(self) -> None:
        """Forget all of them."""
        with self._changed:
            self._events.clear()

    def wait(self, kind: Kind, count: int = 1, timeout: float = SAFETY) -> list[Event]:
        """Block until there are `count` events of a kind, and return those.

        Raises:
            TimeoutError: they did not come within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._found(kind) >= count, timeout):
                message = f"{self._found(kind)} times {kind!r} after {timeout:g} s, not {count}"
                raise TimeoutError(message)
        return self.of(kind)

    async def arrival(self, kind: Kind, count: int = 1, timeout: float = SAFETY) -> list[Event]:
        """Do as `wait`, in a task: other tasks run meanwhile."""
        return await asyncio.to_thread(self.wait, kind, count, timeout)

    def _found(self, kind: Kind) -> int:
        return sum(event.kind == kind for event in self._events)
