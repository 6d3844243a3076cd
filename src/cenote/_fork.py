"""A forked child never touches its parent's sockets.

The child of every pool starts with an empty core. What it inherited is severed (see
`_sockets.sever`) and kept in a graveyard, so that no finalizer says goodbye to the server in the
parent's name.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol

from . import _sockets


class _Forkable(Protocol):
    def _forked(self) -> None: ...


graveyard: list[Any] = []
_pools: weakref.WeakSet[_Forkable] = weakref.WeakSet()


def register(pool: _Forkable) -> None:
    """Have `pool._forked()` called in every child of this process."""
    _pools.add(pool)


def sever(fileno: int | None) -> None:
    """Detach an inherited socket, if there is one."""
    if fileno is not None:
        _sockets.sever(fileno)


def _after_in_child() -> None:
    for pool in list(_pools):
        pool._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
