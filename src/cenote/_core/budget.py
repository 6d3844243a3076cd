"""The places that several pools share, and the one place that gives them to whoever lacks one.

A pool alone has a budget of its own without a limit, which is never spent, so there is one mechanism
and no special case. The pools of a group share one budget, and with it one lock: a transition of one
may then close an idle connection of another, or start its dial, and leave what is to be done for it
in its own Todo.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING

from .state import NEVER, Act

if TYPE_CHECKING:
    from .settle import Settling


class Budget:
    """How many connections may be open in all pools that share it. All methods need the lock."""

    __slots__ = (
        "_renewed",
        "holders",
        "limit",
        "lock",
        "owned",
        "put_off",
        "short",
        "taken",
        "tickets",
        "tight",
    )

    def __init__(self, limit: float = NEVER) -> None:
        """Start with nothing taken."""
        # Reentrant since it can then be asked whose it is. No transition begins within another, see `owned`.
        self.lock = RLock()
        # Whether this thread is in the middle of a transition. Then it is a finalizer that asks: the garbage
        # collector runs them wherever it likes, and what they want of a pool has to wait.
        self.owned: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined] # typeshed has it not
        self.put_off: deque[Callable[[], None]] = deque()
        self.limit = limit
        self.tickets = 0  # of waiters, in the order in which they asked
        self.taken = 0  # places, of all pools
        # Cores that have a place. Those of a group with their pools: one that nobody else refers to must be
        # there to free it.
        self.holders: dict[Settling, object] = {}
        self.short: dict[Settling, None] = {}  # pools that could dial for a waiter if there were a place
        # Somebody lacks a place, or too many are taken: no pool may lend without the lock.
        self.tight = False
        self._renewed: Budget | None = None

    def renewed(self) -> Budget:
        """What stands for this budget in a forked child: the same new one for all who shared it."""
        if self._renewed is None:
            self._renewed = Budget(self.limit)
        return self._renewed

    # ── places ──────────────────────────────────────────────────────────────────────────────────

    def take(self, core: Settling) -> None:
        """Count a place that this pool has taken."""
        self.taken += 1
        self.holders[core] = None if self.limit == NEVER else core.home()

    def give_back(self, core: Settling) -> None:
        """Count a place that this pool has freed."""
        self.taken -= 1
        if not core.slots:
            del self.holders[core]

    def has_room(self) -> bool:
        """Whether a pool may take a place without asking who needs it most."""
        return self.taken < self.limit and not self.tight

    def open(self) -> int:
        """Connections that are open or being opened. Needs no lock: it looks at a copy."""
        return self.taken - self.closing()

    def closing(self) -> int:
        """Connections on their way out. Needs no lock, either."""
        return sum(core.closing for core in tuple(self.holders))

    def free(self, core: Settling) -> float:
        """Places that callers of this pool could have: neither in use nor wanted by other pools' callers."""
        if self.limit == NEVER:
            return NEVER
        others = (other for other in self.holders.keys() | self.short.keys() if other is not core)
        spoken_for = sum(min(other.in_use() + other.overdue + other.queued, other.limit) for other in others)
        return self.limit - spoken_for - core.in_use()

    # ── who gets them ───────────────────────────────────────────────────────────────────────────

    def owes(self, core: Settling, ticket: int) -> bool:
        """Whether a waiter of another pool has a better right to a place of this one than the given ticket.

        As between lanes: pools that want connections share the limit equally, and while each has its
        share, what is returned to a pool serves its own waiters. With fewer places than pools, one
        that has none at all may ask for one.
        """
        share = self.limit // len(self.holders.keys() | self.short.keys())
        coming = self.closing()
        return len(core.slots) - core.closing > share and any(
            other is not core and len(other.slots) + coming < max(share, 1) and other.first_lacking() < ticket
            for other in self.short
        )

    def balance(self, core: Settling, now: float) -> None:
        """Restore what one pool cannot restore alone; called when `core` has settled all else.

        No waiter lacks a place while one is free or could be freed: free ones go to the pool whose
        waiter has waited longest, and for the others the coldest idle connections are closed.
        """
        if self.limit == NEVER:
            return
        self._note_need(core, now)
        touched: dict[Settling, None] = {}
        while self.short and self.taken < self.limit:
            first = min(self.short, key=lambda one: one.first_lacking())
            first.dial_next(now)
            self._note_need(first, now)
            touched[first] = None
        self.tight = bool(self.short) or self.taken > self.limit
        if self.tight:
            self._reclaim(now, touched)
        touched.pop(core, None)
        core.todo += [(Act.RELAY, (other, other.finish(now))) for other in touched]

    def _note_need(self, core: Settling, now: float) -> None:
        if core.lacking(now):
            self.short[core] = None
        else:
            self.short.pop(core, None)

    def _reclaim(self, now: float, touched: dict[Settling, None]) -> None:
        """Close as many of the coldest idle connections as those that lack places still need."""
        for core in self.holders:
            # Before we look at the idle slots; see the package.
            core.calm = core.saturated = False
        wanted = sum(core.lacking(now) for core in self.short)
        surplus = self.taken - self.closing() + wanted - self.limit
        if surplus <= 0:
            return
        idle = [(slot, core) for core in self.holders for slot in core.coldest(surplus)]
        idle.sort(key=lambda pair: pair[0].since)
        for slot, core in idle[: int(surplus)]:
            if core.evict(slot, now):
                touched[core] = None
