"""What a command does to the state of a connection, which is one number: 0 when all is well.

The low bits are what the server remembers, as far as it matters to the next caller; above them stands the
number of replies that have not been read.
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

MULTI = 1  # inside a transaction
WATCH = 2  # keys are watched
ENDING = 4  # EXEC, DISCARD or UNWATCH was sent; the other two end when all replies are in
SPENT = 8  # in a state that only closing ends: subscribed, MONITOR, another database, ...
REDIALED = 16  # closed by its user, or by redis-py after an error, and maybe opened again
RECONNECT = 32  # redis-py wants it closed, see `should_reconnect`
REAUTH = 64  # to send its new credentials before anything else
OWED = 128  # for each reply that has not been read

_SUBSCRIBED = {"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"}
_REPLICAS = {"MONITOR", "SYNC", "PSYNC", "REPLCONF"}
_SESSION = {"QUIT", "RESET", "HELLO", "AUTH", "READONLY", "READWRITE", "ASKING"}
_SPENT = _SUBSCRIBED | _REPLICAS | _SESSION
_SPENT_CLIENT = {"REPLY", "TRACKING", "CACHING", "NO-EVICT", "NO-TOUCH"}
_TRANSACTIONS = {"MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"}
_MANY = 4096


class _Names(dict[Any, "str | None"]):
    """From a command's name, as it was written, to the one by which it is known here; None for all others."""

    def __missing__(self, name: object) -> str | None:
        text = bytes(name).decode("latin-1") if isinstance(name, bytes | memoryview) else str(name)
        first = text.upper().partition(" ")[0]
        known = first in _SPENT or first in _TRANSACTIONS or first in {"CLIENT", "SELECT"}
        found = first if known else None
        if len(self) < _MANY:  # names are few; a caller that makes them up must not fill the memory
            self[name] = found
        return found


NAMES = _Names()


def moved(state: int, name: str, args: tuple[Any, ...], database: object) -> int:
    """Say how a command that is known by name changes the state."""
    if name in {"MULTI", "WATCH"}:
        # One begun before the last one's end was read: from here on nobody knows which reply ends which.
        return state | (MULTI if name == "MULTI" else WATCH) | (SPENT if state & ENDING else 0)
    if name in _TRANSACTIONS:
        queued = name == "UNWATCH" and state & MULTI
        return state | ENDING if state & (MULTI | WATCH) and not queued else state
    if name == "SELECT":
        return state if _text(args[1:2]) == str(database or 0) else state | SPENT
    if name == "CLIENT":
        words = _text(args[:2]).upper().split()
        return state | SPENT if words[1:] and words[1] in _SPENT_CLIENT else state
    return state | SPENT


def _text(args: tuple[Any, ...]) -> str:
    return " ".join(arg.decode("latin-1") if isinstance(arg, bytes) else str(arg) for arg in args)


def replied(state: int, error: ResponseError | None = None) -> int:
    """Say what is left of a state that is not 0 when one reply, or an error, has been read."""
    if not state & ENDING:
        return state
    if isinstance(error, NoPermissionError):
        return state | SPENT  # it may have been the EXEC, which then has ended nothing
    return state & ~(MULTI | WATCH | ENDING) if 0 < state < OWED else state


class Packed(list[Any]):
    """Commands packed into bytes that still knows which they are."""

    __slots__ = ("commands",)

    commands: list[tuple[Any, ...]]
