"""The invariants of a pool, and `settle`, the one place that restores them after every transition."""

from __future__ import annotations

from itertools import islice

from .ledger import Ledger
from .state import NEVER, Act, Lane, Refusal, Slot, State, Todo, Waiter


class Settling(Ledger):
    """What every transition ends with. All methods need the lock."""

    __slots__ = ()

    def settle(self, now: float) -> Todo:
        """Restore the invariants, and hand out what is to be done for it and for the transition before."""
        assert self.owned()
        if self.dropped:
            self._reclaim(now)
        if self.closed:
            self._empty(now)
        else:
            self._shrink(self.limit, now)
            if self.queued:
                self._hand_over(now)
            if len(self.slots) > self.calm_limit:
                self._shrink(self.max_open, now)
                self._close_coldest(self.idle() - self.idle_limit, "max_idle", now, list(self.lanes.values()))
            if self.queued or self.min_idle:
                self._grow(now)
        self.budget.balance(self, now)
        return self.finish(now)

    def finish(self, now: float) -> Todo:
        """Say what holds until the next transition, and hand out what is to be done."""
        self._note_mood()
        if self.replan:
            self.replan = False
            if self.due(now) < self.planned or self.planned < now:  # or upkeep is late: it may have ended
                self.todo.append((Act.UPKEEP, None))
        todo, self.todo = self.todo, []
        return todo

    def due(self, now: float) -> float:
        """When upkeep has to look next; see `upkeep`."""
        raise NotImplementedError

    def _reclaim(self, now: float) -> None:
        """Close what finalizers reported: nobody knows in which state a dropped lease left it."""
        while self.dropped:
            slot = self.dropped.popleft()
            if slot.state is State.OPEN:
                self._count_use(slot, now)
                self._close(slot, "dropped", now)
                self.todo.append((Act.LEAK, slot))

    def _empty(self, now: float) -> None:
        for lane in self.lanes.values():
            while slot := self._pop(lane, now):
                self._close(slot, "shut", now)
        if not self.slots:
            self.todo += [(Act.WAKE, ender) for ender in self.enders]
            self.enders = []

    def _shrink(self, most: float, now: float) -> None:
        """Close idle slots while more than `most` are open."""
        surplus = len(self.slots) - self.closing - most
        if surplus > 0:
            self._close_coldest(surplus, "max_idle", now, list(self.lanes.values()))

    def _note_mood(self) -> None:
        """Say which short ways are open until the next transition."""
        tight = self.budget.tight
        self.calm = not (
            self.queued or self.closed or self.dropped or tight or len(self.slots) > self.calm_limit
        )
        self.saturated = (
            len(self.slots) == self.limit
            and len(self.lanes) == 1
            and self.queue_limit == NEVER
            and not (self.closed or self.dropped or self.eventful or tight)
        )

    # ── waiters ─────────────────────────────────────────────────────────────────────────────────

    def _hand_over(self, now: float) -> None:
        """Give idle slots to waiters, the oldest first."""
        for lane in self.lanes.values():
            while lane.idle and lane.waiters:
                waiter = lane.waiters.first()
                if (len(self.lanes) > 1 and self._owes_place(lane)) or (
                    self.budget.tight and self.budget.owes(self, waiter.ticket)
                ):
                    self._close_coldest(1, "moved", now, [lane])
                elif not waiter.accepts():  # cancelled a moment ago, its task has not run yet
                    self._unqueue(waiter, now)
                elif slot := self._pop(lane, now):
                    self._unqueue(waiter, now)
                    self._grant(waiter, slot, now)

    def _grant(self, waiter: Waiter, slot: Slot, now: float) -> None:
        waiter.slot = slot
        waiter.fresh = slot.brief and not slot.rested and slot.generation == self.generation
        self._note("granted", now, slot)
        self.todo.append((Act.WAKE, waiter))

    def _unqueue(self, waiter: Waiter, now: float) -> None:
        waiter.lane.waiters.leave(waiter)
        self._count_wait(waiter, now)

    def _count_wait(self, waiter: Waiter, now: float) -> None:
        if waiter.surplus:
            # Less than 0 if `now` was read before the lock was had, and the caller has asked in between.
            self.wait_time.record(now - waiter.queued_at)

    def _refuse(self, waiter: Waiter, why: Refusal, now: float) -> None:
        waiter.refusal = why
        waiter.cause = self.last_error
        self._note("refused", now, None, why)

    def _refuse_all(self, why: Refusal, now: float) -> None:
        for lane in self.lanes.values():
            for waiter in tuple(lane.waiters):
                self._unqueue(waiter, now)
                self._refuse(waiter, why, now)
                self.todo.append((Act.WAKE, waiter))

    def _owes_place(self, lane: Lane) -> bool:
        """Whether an older waiter of another lane has a better right to a place of this one.

        Lanes that want connections share the limit equally. While each has its share, what is
        returned under a loop serves that loop's waiters, first come first served. With fewer
        places than lanes, a lane that has none at all may ask for one.
        """
        wanting = [other for other in self.lanes.values() if other.open or other.waiters]
        # Of those that the budget leaves, if that is what is short.
        places = len(self.slots) - self.closing if self in self.budget.short else self.limit
        share = places // len(wanting)
        oldest = lane.waiters.first().ticket
        return lane.open > share and any(
            other.waiters
            and other.open + self.closing < max(share, 1)
            and other.waiters.first().ticket < oldest
            for other in wanting
        )

    # ── dials ───────────────────────────────────────────────────────────────────────────────────

    def _grow(self, now: float) -> None:
        """Start as many dials as waiters and min_idle want, the limits allow and backoff permits."""
        if len(self.slots) >= self.limit and len(self.lanes) == 1:
            return
        while (lane := self._next_dial(now)) is not None and self.budget.has_room():
            self._dial(lane, now)

    def _remove(self, slot: Slot) -> None:
        """Free the place of a slot."""
        slot.state = State.GONE
        slot.expires_at = -NEVER
        slot.lane.open -= 1
        del self.slots[slot]
        self.budget.give_back(self)
        self.past_uses += slot.uses

    def _next_dial(self, now: float) -> Lane | None:
        """Where the pool's own limits and backoff allow one more dial that is wanted."""
        lane = self._wants_dial() if len(self.connecting) < self._parallel() else None
        if lane is None:
            return None
        if len(self.slots) >= self.limit:
            # Idle connections can only be in a waiter's way here if they are another lane's.
            if self.closing < self.queued:
                self._close_coldest(1, "moved", now, list(self.lanes.values()))
            return None
        if now < self.retry_at:
            self.replan = True  # upkeep has to be there when the pause is over
            return None
        return lane

    def _parallel(self) -> int:
        """How many dials may be under way at once."""
        return 1 if self.failures else self.max_connecting

    def _dial(self, lane: Lane, now: float) -> None:
        self.ids += 1
        slot = Slot(self.ids, lane, self.generation, now)
        self.slots[slot] = self.connecting[slot] = None
        self.budget.take(self)
        lane.open += 1
        lane.dialing += 1
        self._note("connecting", now, slot)
        self.todo.append((Act.DIAL, slot))
        self.replan = True

    def _wants_dial(self) -> Lane | None:
        """The lane whose oldest waiter no dial is under way for; else the newest, if too few are idle."""
        lanes = [lane for lane in self.lanes.values() if len(lane.waiters) > lane.dialing]
        if lanes:
            return min(lanes, key=lambda lane: lane.waiters.first().ticket)
        if self.lanes and self._refill() > 0:
            return next(reversed(self.lanes.values()))
        return None

    def _refill(self) -> float:
        """How many more dials min_idle wants; not positive when there are enough."""
        if not self.min_idle or not self.budget.has_room():
            return 0
        spare = self.idle() + len(self.connecting) - self.queued
        return min(self.min_idle - spare, self.max_open - len(self.slots), NEVER)

    # ── what the other pools of a group ask ─────────────────────────────────────────────────────

    def lacking(self, now: float) -> float:
        """Dials that waiters want and that nothing but the budget stands against."""
        if self.closed or now < self.retry_at:
            return 0
        wanted = sum(max(len(lane.waiters) - lane.dialing, 0) for lane in self.lanes.values())
        return max(min(wanted, self._parallel() - len(self.connecting), self.limit - len(self.slots)), 0)

    def dial_next(self, now: float) -> None:
        """Dial for the waiter who is first of those that lack a place."""
        lane = self._next_dial(now)
        if lane is not None:  # it is not its turn if the other pool's clock was read a moment before its own
            self._dial(lane, now)

    def first_lacking(self) -> float:
        """The ticket of the oldest waiter for whom no dial is under way."""
        lacking = (next(islice(lane.waiters, lane.dialing, None), None) for lane in self.lanes.values())
        return min((waiter.ticket for waiter in lacking if waiter is not None), default=NEVER)

    def coldest(self, count: float) -> list[Slot]:
        """The idle slots longest on the shelf, of each lane as many as `count`."""
        return [slot for lane in self.lanes.values() for slot in self._coldest(lane, int(count))]

    def evict(self, slot: Slot, now: float) -> bool:
        """Close an idle slot since its place is needed elsewhere; false if it was taken in this moment."""
        if slot.lane.idle.pop(slot, None) is None:
            return False
        self._close(slot, "moved", now)
        return True
