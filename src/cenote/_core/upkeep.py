"""What is due with time: expiry, keepalive, refill, backoff, overdue dials, long holds.

`tick` does what is due, `due` says when there will be something; both cost what they find, not
what is open. Nothing here is needed for a promise to hold: `take` and `request` look at the age
too, so a process whose timers did not run loses nothing.
"""

from __future__ import annotations

from heapq import heappop

from ..errors import ConfigError
from .settle import Settling
from .state import NEVER, Act, Lane, Slot, State, Todo

PATIENCE_DIALS, PATIENCE_SECONDS = 3, 1.0
"""Waiters are told the connect error after so many failures or so long, if nothing else can serve."""

BACKOFF_FIRST, BACKOFF_MOST = 0.05, 0.3
"""Pause after a failed dial, doubled each time, halved at most by jitter; finds a server back in 0.5 s."""

OVERDUE_GRACE = 1.0
"""Seconds past connect_timeout that a connector has to end its dial by itself."""

KEEPALIVE_STEPS = 16
"""Keepalive looks at the idle ones this often per interval, which spreads the pings."""

KEEPALIVE_SHARE = 0.5
"""How much of the server's time-out ``keepalive="auto"`` lets pass: a ping may be late, or late to arrive."""

BATCH = 64


class Upkeep(Settling):
    """The part of the core that time drives. All methods need the lock."""

    __slots__ = ()

    def tick(self, now: float) -> Todo:
        """Do what is due."""
        self._expire_old(now)
        for lane in self.lanes.values():
            self._expire_idle(lane, now)
        self._mark_overdue(now)
        if now >= self.keepalive_at and self.keepalive < NEVER:
            self._keep_alive(now)
        self._warn_of_holds(now)
        return self.settle(now)

    def plan(self, now: float) -> float:
        """Note, and say, when upkeep will look next; infinity if there is nothing to look for."""
        self.planned = self.due(now)
        return self.planned

    def due(self, now: float) -> float:
        """When something will be due, or may be: what is in use now can be idle at any time."""
        if self.closed and not self.dropped:
            return NEVER
        patience = self.options.connect_timeout + OVERDUE_GRACE
        times = [slot.since + patience for slot in self.connecting]
        if self.dropped:
            times.append(now)
        # One that only lacks a place of the group is not waiting for a time.
        able = len(self.slots) < self.limit and self not in self.budget.short
        if self.failures and able and not self.connecting and self._wants_dial():
            times.append(self.retry_at)
        if self.slots:
            times += [self._idle_due(now), max(self.keepalive_at, now) if self.keepalive < NEVER else NEVER]
            times.append(now + self.warn_held / 2)
        while self.ages and self.ages[0][2].state is not State.OPEN:
            heappop(self.ages)
        if self.ages:
            times.append(self.ages[0][0])
        return min(times, default=NEVER)

    def answered(self, slot: Slot, generation: int, now: float) -> Todo:
        """Put a slot back that keepalive had pinged. A ping is no use: it stays as cold as it was."""
        if slot.state is State.OPEN:
            slot.answered_at = now
            slot.generation = generation
            self._reshelve(slot, now)
        return self.settle(now)

    def unanswered(self, slot: Slot, now: float) -> Todo:
        """Close a slot that did not answer keepalive's ping."""
        self._doubt(slot, now)
        self._close(slot, "keepalive", now)
        return self.settle(now)

    def lost(self, slot: Slot, now: float) -> Todo:
        """Close an idle slot whose peer is seen to have gone. Of one that is out its holder takes notice."""
        if slot.lane.idle.pop(slot, None) is not None:
            self._doubt(slot, now)
            self._close(slot, "lost", now)
        return self.settle(now)

    # ── what tick does ──────────────────────────────────────────────────────────────────────────

    def _expire_old(self, now: float) -> None:
        while self.ages and self.ages[0][0] <= now:
            expires_at, _, slot = heappop(self.ages)
            # One in use is closed on release; one whose lifetime was changed has another entry.
            if slot.expires_at == expires_at and slot.lane.idle.pop(slot, None) is not None:
                self._close(slot, "max_lifetime", now)

    def _expire_idle(self, lane: Lane, now: float) -> None:
        while coldest := self._coldest(lane, BATCH):
            for slot in coldest:
                if now < slot.since + self.idle_time or self.idle() <= self.min_idle:
                    return
                if lane.idle.pop(slot, None):
                    self._close(slot, "max_idle_time", now)

    def _mark_overdue(self, now: float) -> None:
        """Let a dial that does not end keep its place but no longer hold up others, or its waiters' news."""
        patience = self.options.connect_timeout + OVERDUE_GRACE
        # Compared as `due` computes it: by another rounding, upkeep would come and find nothing to do.
        for slot in [slot for slot in self.connecting if now >= slot.since + patience]:
            self._dial_ended(slot)
            slot.overdue = True
            self.overdue += 1
            self._failed(slot, TimeoutError(f"no answer to a dial within {patience:g} s"), now)

    def learn(self, idle_timeout: float | None, now: float) -> Todo:
        """Set the interval of ``keepalive="auto"`` below the time after which the server hangs up."""
        self.learned = idle_timeout * KEEPALIVE_SHARE if idle_timeout else NEVER
        self.learned_in = self.generation
        if self.options.keepalive == "auto":
            self.keepalive = self.learned
            self.keepalive_at = 0.0
            self.replan = True
        return self.settle(now)

    def _keep_alive(self, now: float) -> None:
        self.keepalive_at = now + self.keepalive / KEEPALIVE_STEPS
        for lane in self.lanes.values():
            for slot in tuple(lane.idle):
                due = self.keepalive * (1 - self.random() / KEEPALIVE_STEPS)
                quiet = now - max(slot.since, slot.answered_at)
                if quiet >= due and lane.idle.pop(slot, None) is not None:
                    self.todo.append((Act.PING, slot))

    def _warn_of_holds(self, now: float) -> None:
        if self.warn_held == NEVER:
            return
        for slot in self.slots:
            held = slot.held and now - slot.since >= self.warn_held
            if held and slot.warned_for != slot.since:
                slot.warned_for = slot.since
                self.todo.append((Act.LONG, slot))

    def _idle_due(self, now: float) -> float:
        """The coldest idle slot's time, or a whole max_idle_time if none may go or all are in use."""
        if self.idle() <= self.min_idle:
            return now + self.idle_time
        coldest = (slot.since for lane in self.lanes.values() for slot in self._coldest(lane, 1))
        return min(coldest, default=now) + self.idle_time

    # ── the ends of dials ───────────────────────────────────────────────────────────────────────

    def _dial_ended(self, slot: Slot) -> None:
        if slot.overdue:
            self.overdue -= 1
        else:
            del self.connecting[slot]
            slot.lane.dialing -= 1

    def _failed(self, slot: Slot, error: BaseException, now: float) -> None:
        """Back off; tell the waiters why, once it is no passing trouble and nothing else can serve them."""
        self.connect_errors += 1
        self.last_error = error
        self._note("failed", now, slot, type(error).__name__)
        if not self.failures:
            self.failing_since = slot.since
        pause = min(BACKOFF_FIRST * 2.0**self.failures, BACKOFF_MOST)
        self.failures = min(self.failures + 1, 64)
        self.retry_at = now + pause * (1 - self.random() / 2)
        self.replan = True
        hopeless = isinstance(error, ConfigError)  # a driver that reads its URL only when it dials
        lasting = self.failures >= PATIENCE_DIALS or now - self.failing_since >= PATIENCE_SECONDS
        if hopeless or (lasting and len(self.slots) == self.closing + self.overdue):
            self._refuse_all("connect", now)
