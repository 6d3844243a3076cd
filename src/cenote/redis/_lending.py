"""Lending connections without a with block: who has one is kept on the connection itself.

redis-py takes a connection by `get_connection` and brings it back by `release`. In between the pool refers to
it weakly: one that its user has lost is collected, the proof of its lease with it, and so the pool learns of
the leak. Sockets of a lent connection are reached through its `StandIn`.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import redis

from .. import _steps
from .._core import Core, Slot, State
from .._pool import PoolBase
from ._watch import StandIn

_HOMES = tuple(os.path.dirname(file) + os.sep for file in (redis.__file__, __file__))  # noqa: PTH120 - plain text


class Inside(dict[str, bool]):
    """Whether a file is one of redis-py's, or of these pools: nobody acquires there for himself."""

    def __missing__(self, file: str) -> bool:
        inside = self[file] = file.startswith(_HOMES)
        return inside


_inside = Inside()


def sign(slot: Slot, frame: FrameType, owner: Any) -> None:
    """Note who acquired it, and where in the user's own code."""
    code = frame.f_code
    while _inside[code.co_filename]:
        outer = frame.f_back
        if outer is None:
            break
        frame = outer
        code = frame.f_code
    slot.owner, slot.code, slot.instruction = owner, code, frame.f_lasti


def lend(slot: Slot) -> Any:
    """Take the connection out of its slot; its user alone keeps it alive from here on."""
    connection = slot.connection
    connection._pool_hold, slot.hold = slot.hold, None
    slot.connection = connection._pool_stand_in
    return connection


def take_back(connection: Any) -> Any:
    """Put the connection back into its slot; return the proof of the lease, None if nobody has it."""
    hold = connection._pool_hold
    if hold is not None:
        connection._pool_hold = None
        hold.slot.connection = connection
    return hold


def found(connection: Any) -> Any:
    """Return the connection that a stand-in stands for; None if it was collected."""
    return connection.connection() if isinstance(connection, StandIn) else connection


def connections(core: Core, *, in_use: bool) -> Iterator[Any]:
    """Give the open connections that are lent, or those that are idle."""
    for slot in tuple(core.slots):
        if slot.state is State.OPEN and slot.held is in_use:
            connection = found(slot.connection)
            if connection is not None:
                yield connection


def close_idle(pool: PoolBase[Any]) -> None:
    """Close what is idle now."""
    _steps._under_lock(pool, pool._core.close_idle)


def cut_off(pool: PoolBase[Any]) -> None:
    """Cut off what is in use, from whatever thread or task uses it."""
    for slot in tuple(pool._core.slots):
        if slot.held:
            _steps.terminate(pool, slot)


def weakly(make: Callable[[], Any]) -> Callable[[], Any]:
    """Call a pool's method without keeping the pool alive."""
    method = weakref.WeakMethod(make)

    def call() -> Any:
        bound = method()
        if bound is None:
            raise redis.ConnectionError("the pool is gone")
        return bound()

    return call
