"""The words of the pool: where a lease was acquired, who holds what, why a caller got nothing.

Called on the slow paths only. The hit path stores a code object and an offset; here they become
file and line.
"""

from __future__ import annotations

import dis
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from sys import _getframe
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from ._core import NEVER
from .durations import format_duration
from .errors import (
    ConfigError,
    ConnectError,
    Error,
    Phase,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    SelfDeadlock,
)
from .options import scrub

if TYPE_CHECKING:
    from ._core import Core, Slot, Waiter

SHOWN_HOLDERS = 3

_ENTRANCES = {"BEFORE_WITH", "BEFORE_ASYNC_WITH", "GET_ITER", "GET_AITER"}


@dataclass(frozen=True, slots=True)
class Holder:
    """One connection in somebody's hands.

    Attributes:
        connection: its number in the pool.
        site: where in the code it was acquired, ``file:line in function``.
        held: seconds since then.
    """

    connection: int
    site: str
    held: float

    def __str__(self) -> str:
        """Say it in one phrase."""
        return f"{self.site} for {format_duration(self.held)}"


def site(code: CodeType | None, instruction: int) -> str:
    """Turn a code object and an instruction offset into ``file:line in function``."""
    if code is None:
        return "an unknown place"
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end and line)
    return f"{code.co_filename}:{next(lines, code.co_firstlineno)} in {code.co_qualname}"


def claims(core: Core, actor: Hashable, root: FrameType | None) -> frozenset[Hashable]:
    """The owners of all connections if this caller holds every one of them; else nothing.

    A with block belongs to a frame, which cannot leave it while the caller, further up its stack,
    waits; `root` is the last frame of the caller's own. Any other lease belongs to the `actor`, the
    thread or task that acquired it.
    """
    frames: dict[Hashable, FrameType] = {}
    frame: FrameType | None = _getframe(1)
    while frame is not None:
        frames[id(frame)] = frame
        frame = None if frame is root else frame.f_back
    owners: set[Hashable] = set()
    for slot in core.obstacles():
        if not slot.held:
            return frozenset()
        if slot.scoped:
            holder = frames.get(slot.owner)
            if holder is None or holder.f_code is not slot.code or not _enters(slot.code, slot.instruction):
                return frozenset()
        elif slot.owner != actor:
            return frozenset()
        owners.add(slot.owner)
    return frozenset(owners)


def _enters(code: CodeType, instruction: int) -> bool:
    """Whether a with statement enters, or a for loop runs over, what the call at `instruction` returns.

    Only then is the frame that made the call alive for as long as the lease, and its id nobody else's.
    """
    after = (one.opname for one in dis.get_instructions(code) if one.offset > instruction)
    name = next(after, "")
    # The latter from Python 3.14 on.
    return name in _ENTRANCES or (name == "COPY" and next(after, "") == "LOAD_SPECIAL")


def holders(slots: Iterable[Slot], now: float) -> list[Holder]:
    """Who holds one of these connections, the longest hold first. Looks at the slots without the lock."""
    held = [
        Holder(slot.id, site(slot.code, slot.instruction), max(now - slot.since, 0.0))
        for slot in slots
        if slot.held
    ]
    return sorted(held, key=lambda holder: -holder.held)


def counts(core: Core) -> str:
    """The state in one bracket."""
    stats = core.stats()
    text = (
        f"[open {stats.open_connections} of {stats.max_open_connections or 'any'}, in use {stats.in_use}, "
        f"idle {stats.idle}, connecting {stats.connecting}, waiting {stats.waiting}"
    )
    if stats.closing:
        text += f", closing {stats.closing}"
    if core.budget.limit < NEVER:
        text += f"; open {core.budget.open()} of {core.budget.limit} in the group"
    return f"{text}]"


def phase(core: Core) -> Phase:
    """What a caller in the queue is really waiting for."""
    return "wait" if any(slot.held for slot in (*core.slots, *core.obstacles())) else "connect"


def refused(name: str, core: Core, waiter: Waiter, now: float) -> Error:
    """The error for a caller whom the core has refused."""
    if waiter.refusal == "closed":
        return PoolClosed(f"pool {name!r} is closed")
    if waiter.refusal == "full":
        why = "no connection is free and the queue has no room"
        return PoolFull(f"pool {name!r}: {why} {counts(core)}{oldest(core, now)}")
    if waiter.refusal == "deadlock":
        why = "waiting for connections that only the caller holds"
        return SelfDeadlock(f"pool {name!r}: {why} {counts(core)}{oldest(core, now)}")
    assert waiter.cause is not None
    if isinstance(waiter.cause, ConfigError):
        return ConfigError(f"pool {name!r}: {waiter.cause}")
    error = ConnectError(f"pool {name!r}: cannot connect: {describe(core, waiter.cause)} {counts(core)}")
    error.__cause__ = waiter.cause
    return error


def timed_out(name: str, core: Core, during: Phase, started: float, now: float) -> PoolTimeout:
    """The error for a caller whose deadline has passed, with the whole diagnosis."""
    what = {
        "wait": "every connection is in other hands",
        "connect": "no connection could be opened in time",
        "check": "an idle connection did not answer its check in time",
        "statement": "the statement took too long",
    }[during]
    text = f"pool {name!r}: no connection after {format_duration(now - started)}: {what} {counts(core)}"
    error = PoolTimeout(text + oldest(core, now) + last_error(core), during)
    error.__cause__ = core.last_error
    return error


def oldest(core: Core, now: float) -> str:
    """The oldest holders of what this pool's callers wait for, as the tail of a message."""
    held = holders(core.obstacles() or tuple(core.slots), now)
    if not held:
        return ""
    more = f" and {len(held) - SHOWN_HOLDERS} more" if len(held) > SHOWN_HOLDERS else ""
    return "; held by " + ", ".join(str(holder) for holder in held[:SHOWN_HOLDERS]) + more


def last_error(core: Core) -> str:
    """The last connect error since a dial succeeded, as the tail of a message."""
    if core.last_error is None:
        return ""
    return f"; last connect error: {describe(core, core.last_error)}"


def describe(core: Core, error: BaseException) -> str:
    """One line about a driver's error, without a secret that it may quote from the URL."""
    text = " ".join(scrub(str(error), core.options.dsn).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
