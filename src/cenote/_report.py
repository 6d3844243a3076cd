"""What a pool says without being asked: events to its listener, warnings, lines in the log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _explain
from ._core import Act, Slot

if TYPE_CHECKING:
    from ._pool import PoolBase
    from .events import Event

log = logging.getLogger("cenote")


def warn_rollback(pool: PoolBase[Any], slot: Slot) -> None:
    """Tell of a transaction that was left open."""
    where = _explain.site(slot.code, slot.instruction)
    text = f"pool {pool.name!r}: rolled back the transaction left open by the lease acquired at {where}"
    warnings.warn(text, RuntimeWarning, stacklevel=2)


def _tell(pool: PoolBase[Any], event: Event) -> None:
    if pool._listener is not None:
        pool._listener(event)


def _warn_leak(pool: PoolBase[Any], slot: Slot) -> None:
    where = _explain.site(slot.code, slot.instruction)
    text = f"pool {pool.name!r}: the lease acquired at {where} was dropped without release and is closed"
    warnings.warn(text, ResourceWarning, stacklevel=2, source=pool)


def _warn_held(pool: PoolBase[Any], slot: Slot) -> None:
    where, held = _explain.site(slot.code, slot.instruction), pool._clock() - slot.since
    log.warning("pool %r: the connection acquired at %s is held for %.1f s", pool.name, where, held)


REPORTS: dict[Act, Callable[[PoolBase[Any], Any], None]] = {
    Act.TELL: _tell,
    Act.LEAK: _warn_leak,
    Act.LONG: _warn_held,
}
"""Acts of the core that only tell. A listener may raise, and so may a warning that was made an error."""
