"""What happened to a pool, as records for whoever listens.

The core appends an `Event` for every change that is not a plain hit or a plain release (those
cost nothing extra); the pool hands them to its listener after the lock was given back, in order.

kind            when                                             reason
``connecting``  a dial began
``connected``   it succeeded
``failed``      it failed                                        the error's class name
``queued``      a caller joined the queue
``granted``     a queued caller was given a connection
``gave_up``     a queued caller left                             ``timeout`` or ``cancelled``
``refused``     a caller was refused                             see `Refusal` of the core
``closing``     a connection leaves the pool                     see `Reason`
``closed``      its goodbye is done, its place is free
``generation``  a death was seen, older connections are suspect
``shut``        the pool was closed
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "connecting",
    "connected",
    "failed",
    "queued",
    "granted",
    "gave_up",
    "refused",
    "closing",
    "closed",
    "generation",
    "shut",
]

Reason = Literal[
    "max_idle",
    "max_idle_time",
    "max_lifetime",
    "dead",
    "keepalive",
    "lost",
    "discarded",
    "dropped",
    "moved",
    "shut",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a pool: what, when (monotonic seconds), to which connection, and why."""

    kind: Kind
    at: float
    connection: int | None = None
    reason: str | None = None


Listener = Callable[[Event], None]
