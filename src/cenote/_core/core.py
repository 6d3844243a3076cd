"""What a face calls: acquire, release, the ends of dials and goodbyes, resize, close."""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Hashable

from ..options import Options
from ..stats import MANY
from .budget import Budget
from .ledger import LOOK_AGAIN, SHORT_HOLD
from .state import Act, Lane, Slot, State, Todo, Waiter
from .upkeep import Upkeep

QUEUED: Todo = []
"""Nothing is to be done: the caller stands at the end of the queue."""

TRIES_FROM_POOL = 2
"""Dead connections a caller is given before a new one is dialed for it: maxBadConnRetries of database/sql."""


class Core(Upkeep):
    """One pool. `take`, `put` and `drop` run without the lock, all other methods need it."""

    __slots__ = ()

    def __init__(
        self,
        options: Options,
        *,
        random: Callable[[], float] = _random.random,
        eventful: bool = False,
        budget: Budget | None = None,
    ) -> None:
        """Start with nothing open.

        Args:
            options: those of the pool.
            random: gives the jitter.
            eventful: whether each Todo is to tell of events.
            budget: shared with other pools; one of its own, without a limit, if None.
        """
        super().__init__(options, random=random, eventful=eventful, budget=budget)

    # ── the hit path, without the lock ──────────────────────────────────────────────────────────

    def take(self, lane: Lane, now: float) -> Slot | None:
        """Take the warmest idle slot if it needs no thought; else None, and `request` decides."""
        idle = lane.idle
        if idle and self.calm:
            try:
                slot = idle.popitem()[0]
            except KeyError:  # another thread was faster
                return None
            if now < slot.expires_at and now - slot.since < self.quiet and slot.generation == self.generation:
                slot.since = now
                return slot
            idle[slot] = slot
        return None

    def put(self, slot: Slot, now: float) -> bool | None:
        """Return a slot to its shelf, in calm. False: it could not, `release` it. None: it did, `settle`."""
        if not self.calm or now >= slot.expires_at:
            return False
        held = now - slot.since
        if held > SHORT_HOLD:
            slot.brief = held < LOOK_AGAIN
            holds = self.hold_time.noted
            holds.append(held)
            if len(holds) >= MANY:
                with self.lock:
                    self.hold_time.fold()
        slot.uses += 1
        slot.since = now
        slot.lane.idle[slot] = slot
        return self.calm or None  # type: ignore[unreachable] # others may have ended the calm meanwhile

    def drop(self, slot: Slot) -> None:
        """Note a lease that was collected without release. Finalizers call this: no lock, no other work."""
        self.dropped.append(slot)
        self.calm = False

    # ── acquire ─────────────────────────────────────────────────────────────────────────────────

    def request(self, waiter: Waiter, now: float) -> Todo:
        """Give the waiter an idle slot, a refusal, or a place at the end of the queue."""
        lane = waiter.lane
        line = lane.waiters.line
        if self.saturated and line and not lane.idle:  # one that `take` put back must be settled
            budget = self.budget
            waiter.ticket = budget.tickets = budget.tickets + 1
            waiter.surplus = True
            waiter.deaths = 0
            self.wait_count += 1
            # `Queue.join` once more, for the reason in `pass_on`.
            waiter.queued = True
            line.append(waiter)
            return QUEUED
        self._enter(waiter, now, again=False)
        return self.settle(now)

    def suspect(self, waiter: Waiter, now: float) -> Todo:
        """Refuse a waiter whose own with blocks hold every place. Asked when it has waited for a while."""
        if waiter.queued and self._holds_all(waiter.stack, scoped=True):
            self._unqueue(waiter, now)
            self._refuse(waiter, "deadlock", now)
        return self.settle(now)

    def bury(self, waiter: Waiter, now: float) -> Todo:
        """Close the dead connection that a waiter was given, and let it ask again ahead of all others."""
        self._lose(waiter, now)
        waiter.deaths += 1
        if waiter.deaths >= TRIES_FROM_POOL:
            # Idle is LIFO: what lies below two dead ones has been idle for longer still.
            idle = waiter.lane.idle
            for suspect in [slot for slot in tuple(idle) if slot.generation != self.generation]:
                if idle.pop(suspect, None):
                    self._close(suspect, "dead", now)
        self._enter(waiter, now, again=True)
        return self.settle(now)

    def give_up_check(self, waiter: Waiter, now: float, *, asked: bool = True) -> Todo:
        """Close the connection whose check did not end in time; keep it if it was not even asked.

        The time was this caller's, and may have been short: that says nothing of the other connections.
        """
        if asked:
            slot, waiter.slot = waiter.slot, None
            assert slot is not None
            self._close(slot, "dead", now)
        else:
            self._give_back(waiter, now)
        self.timeouts += 1
        return self.settle(now)

    def abandon(self, waiter: Waiter, now: float, *, timed_out: bool) -> Todo:
        """Take a waiter out of the queue, O(1).

        A slot handed over in the last moment is kept by one that merely timed out, and goes back if
        the caller was cancelled.
        """
        if waiter.queued:
            self._unqueue(waiter, now)
        if waiter.slot is None and waiter.refusal is None:
            self._note("gave_up", now, None, "timeout" if timed_out else "cancelled")
        if timed_out:
            if waiter.slot is None and waiter.refusal is None:
                self.timeouts += 1
                if self._holds_all(waiter.stack, scoped=False):
                    self._refuse(waiter, "deadlock", now)
        elif waiter.slot is not None:
            self._give_back(waiter, now)
        return self.settle(now)

    def needs_ping(self, slot: Slot) -> bool:
        """Whether the free look is not enough for a slot just granted."""
        return slot.generation != self.generation or slot.rested >= self.ping_after

    def _give_back(self, waiter: Waiter, now: float) -> None:
        """Put back what nobody has looked at: it stays as cold as it was, for the next caller to check."""
        slot, waiter.slot = waiter.slot, None
        assert slot is not None
        slot.since -= slot.rested
        slot.brief = False
        self._reshelve(slot, now)

    def _lose(self, waiter: Waiter, now: float) -> None:
        slot, waiter.slot = waiter.slot, None
        assert slot is not None
        self._doubt(slot, now)
        self._close(slot, "dead", now)

    def _enter(self, waiter: Waiter, now: float, *, again: bool) -> None:
        lane = waiter.lane
        waiter.fresh = False
        if not again:
            waiter.begin()
        if self.closed:
            self._refuse(waiter, "closed", now)
        elif (again or not lane.waiters) and (slot := self._pop(lane, now)):
            waiter.slot = slot
        elif not again and self._full():
            self.rejected += 1
            self._refuse(waiter, "full", now)
        else:
            self._queue(waiter, now, ahead=again)

    def _queue(self, waiter: Waiter, now: float, *, ahead: bool) -> None:
        self.calm = False  # before settle looks at the idle slots again; see the package
        waiter.queued_at = now
        if not ahead:
            waiter.ticket = self.budget.tickets = self.budget.tickets + 1
            waiter.surplus = self.queued >= self._free()
            self.wait_count += waiter.surplus
        if ahead:
            waiter.lane.waiters.join_ahead(waiter)
        else:
            waiter.lane.waiters.join(waiter)
        if self.eventful:
            self._note("queued", now)

    def _full(self) -> bool:
        """Whether the queue, beyond those whom free places will serve, has no room for one more."""
        return self.queued + self.overdue - self._free() >= self.queue_limit

    def _free(self) -> float:
        """Places in nobody's hands."""
        return min(self.limit - self.in_use(), self.budget.free(self))

    def obstacles(self) -> list[Slot]:
        """The slots of which one must come back before a caller can go on; none if there is room.

        Needs no lock: it looks at copies.
        """
        if len(self.slots) >= self.limit:
            return list(self.slots)
        if self.budget.taken >= self.budget.limit:
            return [slot for core in tuple(self.budget.holders) for slot in tuple(core.slots)]
        return []

    def _holds_all(self, stack: frozenset[Hashable], *, scoped: bool) -> bool:
        """Whether every place is in use by frames on the caller's own stack, which cannot go on without it.

        A lease of `acquire()` may have been handed on, so only with blocks (`scoped`) prove it at
        once; for the others the caller's deadline comes first.
        """
        obstacles = self.obstacles()
        return bool(obstacles) and all(
            slot.held and slot.owner in stack and (slot.scoped or not scoped) for slot in obstacles
        )

    # ── release ─────────────────────────────────────────────────────────────────────────────────

    def pass_on(self, slot: Slot, now: float) -> Waiter | None:
        """Give a returned slot to the oldest waiter, whom to wake; None if `release` has to decide."""
        if not self.saturated or self.dropped or now >= slot.expires_at:
            return None
        waiters = slot.lane.waiters
        while waiters.line:  # each time asked of the queue: to tidy may make it anew
            # `Queue.pop`, `_count_wait`, `accepts` and `_count_use` once more: with a crowd every turn comes
            # through here, and calls are a tenth of it, see decision 0018.
            heir = waiters.line.popleft()
            heir.queued = False
            if waiters.left:
                waiters.tidy()
            if heir.surplus:
                waits = self.wait_time.noted
                waits.append(now - heir.queued_at)
                if len(waits) >= MANY:
                    self.wait_time.fold()
                    self.hold_time.fold()
            future = heir.future
            if future is None or not future.cancelled():
                held = now - slot.since
                if held > SHORT_HOLD:
                    self.hold_time.noted.append(held)
                heir.fresh = held < LOOK_AGAIN and slot.generation == self.generation
                slot.uses += 1
                slot.since = now
                slot.rested = 0.0
                heir.slot = slot
                if not waiters.line:
                    self._note_mood()
                return heir
        return None

    def release(self, slot: Slot, now: float) -> Todo:
        """Take back a slot in good order: to the oldest waiter, to the idle ones, or out."""
        if slot.state is State.OPEN:
            self._count_use(slot, now)
            self._shelve(slot, now)
        else:
            self._part(slot)
        return self.settle(now)

    def discard(self, slot: Slot, now: float, *, lost: bool = False) -> Todo:
        """Take back a slot that must not be used again; `lost` if its peer is gone."""
        if slot.state is State.OPEN:
            self._count_use(slot, now)
            if lost:
                self._doubt(slot, now)
            self._close(slot, "discarded", now)
        else:
            self._part(slot)
        return self.settle(now)

    def _part(self, slot: Slot) -> None:
        """Close what was cut off while it was out, unless a parent process or a closed loop owns it."""
        if self.lanes.get(slot.lane.affinity) is slot.lane:
            self.todo.append((Act.CLOSE, slot))

    # ── the ends of dials and goodbyes ──────────────────────────────────────────────────────────

    def dialed(self, slot: Slot, connection: object, now: float) -> Todo:
        """Take in a new connection: to the oldest waiter, or to the pool if its caller has left."""
        slot.connection = connection
        if slot.state is State.GONE:  # cut off while it was dialing
            self.todo.append((Act.CLOSE, slot))
            return self.settle(now)
        self._dial_ended(slot)
        self.connects += 1
        self.connect_time.record(now - slot.since)
        self._note("connected", now, slot)
        self.failures = 0
        self.retry_at = 0.0
        self.last_error = None
        slot.state = State.OPEN
        slot.opened_at = slot.answered_at = now
        self._set_age(slot)
        self._shelve(slot, now)
        self.replan = True
        return self.settle(now)

    def dial_failed(self, slot: Slot, error: BaseException | None, now: float) -> Todo:
        """Free the place of a dial that failed, or that was cancelled (no error)."""
        if slot.state is not State.GONE:
            counted = slot.overdue  # as a failure, when it became overdue
            self._dial_ended(slot)
            self._remove(slot)
            if error is not None and not counted:
                self._failed(slot, error, now)
        return self.settle(now)

    def farewelled(self, slot: Slot, now: float) -> Todo:
        """Free the place of a connection that the server, too, has let go."""
        if slot.state is State.CLOSING:
            self.closing -= 1
            self._remove(slot)
            self._note("closed", now, slot)
        return self.settle(now)

    # ── resize and close ────────────────────────────────────────────────────────────────────────

    def resize(self, options: Options, now: float) -> Todo:
        """Adopt other options: surplus idle connections are closed, new room is used at once."""
        self.calm = False  # before settle looks at the idle slots; see the package
        lifetime = self.lifetime
        self.apply(options)
        self.keepalive_at = 0.0  # planned with the old interval
        if lifetime != self.lifetime:
            self.ages = []
            for slot in self.slots:
                if slot.state is State.OPEN:
                    self._set_age(slot)
        self.replan = True
        return self.settle(now)

    def close_idle(self, now: float) -> Todo:
        """Close what is idle now; the pool goes on."""
        self.calm = False  # before we look at the idle slots; see the package
        self._close_coldest(self.idle(), "max_idle", now, list(self.lanes.values()))
        self.replan = True
        return self.settle(now)

    def shut(self, ender: Waiter | None, now: float) -> Todo:
        """Refuse all waiters and close what is idle; wake `ender` when the last connection is gone."""
        if not self.closed:
            self.closed = True
            self.calm = False
            self._note("shut", now)
            self._refuse_all("closed", now)
        if ender is not None:
            self.enders.append(ender)
        return self.settle(now)

    def cut_off(self, now: float) -> Todo:
        """Give up what has not come back after `shut`: forget every slot, cut off what is in use."""
        for lane in self.lanes.values():
            self._forget_slots(lane, now)
        return self.settle(now)

    def forget(self, affinity: Hashable, now: float) -> Todo:
        """Drop all that belongs to a loop that is closed; nothing of it can be used, nor awaited."""
        lane = self.lanes.pop(affinity)
        lane.waiters.clear()
        # Nobody is left to end a goodbye that was under way.
        parting = [slot for slot in self.slots if slot.lane is lane and slot.state is State.CLOSING]
        self.todo += [(Act.CUT, slot) for slot in parting]
        self._forget_slots(lane, now)
        return self.settle(now)

    def _forget_slots(self, lane: Lane, now: float) -> None:
        lane.idle.clear()
        for slot in [slot for slot in self.slots if slot.lane is lane]:
            if slot.state is State.CONNECTING:
                self._dial_ended(slot)
            elif slot.state is State.CLOSING:
                self.closing -= 1
            else:
                if slot.held:
                    self._count_use(slot, now)
                self.todo.append((Act.CUT, slot))
            self._remove(slot)
