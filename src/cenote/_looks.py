"""What can be told of a connection without a word to its server: whether it lives, whether it is clean.

Such a look is free: it may ask the driver's own idea and the socket, and it never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _sockets
from ._core import Slot
from ._sockets import Sight
from .connector import Hooks

if TYPE_CHECKING:
    from ._pool import PoolBase


def look(pool: PoolBase[Any], slot: Slot) -> Sight:
    """Look without a round trip: the driver's own idea, then the socket."""
    if slot.watch is None or not slot.watch(0):
        return Sight.QUIET
    is_alive = pool._hooks.is_alive
    if is_alive is not None and not _agrees(is_alive, slot.connection):
        return Sight.DEAD
    fileno = pool._fileno(slot)
    return Sight.DEAD if fileno is None else _sockets.examine(fileno)


def _agrees(hook: Callable[[Any], bool | None], connection: object) -> bool | None:
    """Ask a connector's plain hook; one that raises does not agree."""
    try:
        return hook(connection)
    except Exception:  # noqa: BLE001 - drivers raise what they like for a closed connection
        return False


def watch(pool: PoolBase[Any], slot: Slot) -> Callable[[int], object] | None:
    """Make the free look for one connection, as cheap as its driver allows: the hit path calls it."""
    fileno, connection, is_alive = pool._fileno(slot), slot.connection, pool._hooks.is_alive
    stirs = _sockets.watch(fileno) if fileno is not None else None
    if is_alive is None or (stirs is not None and pool._hooks.socket_tells):
        return stirs
    if stirs is None:
        return lambda _: not _agrees(is_alive, connection)
    return lambda _: not _agrees(is_alive, connection) or stirs(0)


def cleanliness(hooks: Hooks[Any], *, reset: bool) -> Callable[[Any], bool] | None:
    """Make the free look at a returned connection that says whether `tidy` is needed; None if it never is."""
    is_broken, in_transaction = hooks.is_broken, hooks.in_transaction
    if (reset and hooks.reset is not None) or (hooks.rollback is not None and in_transaction is None):
        return lambda _: False
    if hooks.is_clean is not None:
        return hooks.is_clean
    if in_transaction is None:
        return None if is_broken is None else lambda connection: not is_broken(connection)
    if is_broken is None:
        return lambda connection: in_transaction(connection) is False
    return lambda connection: not is_broken(connection) and in_transaction(connection) is False


def distrusts(pool: PoolBase[Any], error: BaseException | None) -> bool:
    """Whether a use that ended in `error` may have left half a conversation that the driver cannot report."""
    hooks = pool._hooks
    if error is None or (hooks.is_broken is not None and not hooks.errors_tell):
        return False
    # TimeoutError is an OSError, and asyncio's IncompleteReadError an EOFError.
    return not isinstance(error, Exception) or isinstance(error, OSError | EOFError)
