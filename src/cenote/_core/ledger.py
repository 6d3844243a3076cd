"""The state of a pool and the single steps on it, which keep no invariant by themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from heapq import heapify, heappush
from itertools import islice
from typing import Any

from ..events import Event, Kind
from ..options import Options
from ..stats import Recorder, Stats
from .budget import Budget
from .state import NEVER, Act, Lane, Slot, State, Todo, Waiter

SHORT_HOLD = 5e-5
"""Holds below this many seconds are counted and not timed: no round trip is that short."""

LOOK_AGAIN = 0.01
"""A connection passed straight from one caller to the next is looked at again after a longer hold.

Each look at a socket costs a system call and gives other threads the interpreter in between; one
that is this young is as good as new.
"""

LIFETIME_JITTER = 0.1
"""A connection lives up to this share shorter, so that those born together do not die together."""


class Ledger:
    """Everything a pool knows. `lock` guards all of it but the idle shelves, see the package."""

    # Slots, since the hit path reads them: an instance dict of so many names is slower.
    __slots__ = (
        "acquired",
        "ages",
        "budget",
        "calm",
        "calm_limit",
        "closed",
        "closed_for",
        "closing",
        "connect_errors",
        "connect_time",
        "connecting",
        "connects",
        "dropped",
        "enders",
        "eventful",
        "failing_since",
        "failures",
        "generation",
        "hold_time",
        "home",
        "idle_limit",
        "idle_time",
        "ids",
        "keepalive",
        "keepalive_at",
        "learned",
        "learned_in",
        "lanes",
        "last_error",
        "lifetime",
        "limit",
        "lock",
        "max_connecting",
        "max_open",
        "min_idle",
        "options",
        "overdue",
        "owned",
        "past_uses",
        "ping_after",
        "planned",
        "queue_limit",
        "quiet",
        "random",
        "rejected",
        "replan",
        "retry_at",
        "saturated",
        "slots",
        "timeouts",
        "todo",
        "wait_count",
        "wait_time",
        "warn_held",
    )

    def __init__(
        self, options: Options, *, random: Callable[[], float], eventful: bool, budget: Budget | None = None
    ) -> None:
        """Start with nothing open."""
        self.budget = budget or Budget()
        self.lock, self.owned = self.budget.lock, self.budget.owned
        self.home: Callable[[], Any] = type(None)  # the face's own: gives its pool, None if that is gone
        self.random = random
        self.eventful = eventful
        self.todo: Todo = []
        self.replan = False  # what is due may have changed
        self.lanes: dict[Hashable, Lane] = {}
        # Every slot that takes a place: connecting, open or closing. len() is what the limit bounds.
        self.slots: dict[Slot, None] = {}
        self.connecting: dict[Slot, None] = {}  # dials under way that are not overdue
        self.overdue = 0  # dials past their deadline; they keep their place until they end
        self.closing = 0
        self.ages: list[tuple[float, int, Slot]] = []  # heap of expires_at; entries of past slots are skipped
        self.dropped: deque[Slot] = deque()  # appended to by finalizers, which must not take the lock
        self.enders: list[Waiter] = []  # callers of close() who wait for the last connection
        self.closed = False
        self.calm = True
        self.generation = 0
        self.failures = 0  # dials failed in a row
        self.failing_since = 0.0
        self.retry_at = 0.0
        self.last_error: BaseException | None = None
        self.planned = NEVER  # when upkeep will look next
        self.keepalive_at = 0.0
        self.learned = NEVER  # the interval of keepalive="auto", once the server has been asked
        self.learned_in = -1  # the generation in which it was
        # Every place is taken, under one lane, and the queue is open: then a caller can only join the end
        # of the queue, and what is returned can only go to its head.
        self.saturated = False
        self.ids = 0
        self.closed_for: dict[str, int] = {}
        self.past_uses = 0  # of slots that are gone
        self.acquired = 0  # what the last snapshot said
        self.wait_count = self.timeouts = self.rejected = self.connects = self.connect_errors = 0
        self.wait_time, self.hold_time, self.connect_time = Recorder(), Recorder(), Recorder()
        self.apply(options)

    def apply(self, options: Options) -> None:
        """Take the options over in the form in which they are compared: numbers, infinity for none."""
        self.options = options
        self.max_open: float = NEVER if options.max_open is None else options.max_open
        self.limit = options.limit
        self.idle_limit = options.idle_limit
        self.calm_limit = min(self.idle_limit, self.max_open)
        self.min_idle = options.min_idle
        self.lifetime = options.max_lifetime or NEVER
        self.idle_time = options.max_idle_time or NEVER
        self.keepalive = self.learned if options.keepalive == "auto" else options.keepalive or NEVER
        self.warn_held = options.warn_held or NEVER
        self.ping_after: float = NEVER if options.ping_after is None else options.ping_after
        self.quiet = min(self.ping_after, self.idle_time)
        waiting = NEVER if options.max_waiting is None else options.max_waiting
        self.queue_limit: float = 0 if options.on_full == "reject" else waiting
        self.max_connecting = options.max_connecting

    def lane(self, affinity: Hashable) -> Lane:
        """Find or make the lane of one event loop, or of all threads (None). Needs the lock."""
        lane = self.lanes.get(affinity)
        if lane is None:
            lane = self.lanes[affinity] = Lane(affinity)
        return lane

    # ── single steps ────────────────────────────────────────────────────────────────────────────

    def _shelve(self, slot: Slot, now: float) -> None:
        """Put an open slot among the idle ones unless it is too old; `settle` decides how long it stays."""
        if now >= slot.expires_at:  # upkeep has passed over it while it was in use, and will not come back
            self._close(slot, "max_lifetime", now)
            return
        slot.since = now
        slot.lane.idle[slot] = slot

    def _reshelve(self, slot: Slot, now: float) -> None:
        """Put a slot that was only looked at back among the idle ones, below those that are warmer."""
        if slot.state is not State.OPEN:
            return
        if now >= slot.expires_at:
            self._close(slot, "max_lifetime", now)
            return
        idle = slot.lane.idle
        warmer = [one for one in tuple(idle) if one.since > slot.since and idle.pop(one, None) is not None]
        idle[slot] = slot
        idle.update((one, one) for one in warmer)

    def _count_use(self, slot: Slot, now: float) -> None:
        slot.uses += 1
        held = now - slot.since
        slot.brief = held < LOOK_AGAIN
        if held > SHORT_HOLD:
            self.hold_time.record(held)

    def _close(self, slot: Slot, reason: str, now: float) -> None:
        """Send an open slot, off its shelf, on its way out; it keeps its place until `farewelled`."""
        if slot.state is not State.OPEN:  # cut off, or its loop was closed: no longer ours
            return
        slot.state = State.CLOSING
        slot.expires_at = -NEVER
        self.closing += 1
        self.closed_for[reason] = self.closed_for.get(reason, 0) + 1
        self._note("closing", now, slot, reason)
        self.todo.append((Act.CLOSE, slot))

    def _doubt(self, slot: Slot, now: float) -> None:
        """Raise the generation after a death, once for all connections that were open at that time."""
        if slot.generation == self.generation:
            self.generation += 1
            self._note("generation", now, slot)

    def _set_age(self, slot: Slot) -> None:
        slot.expires_at = slot.opened_at + self.lifetime * (1 - LIFETIME_JITTER * self.random())
        if slot.expires_at < NEVER:
            heappush(self.ages, (slot.expires_at, slot.id, slot))
        if len(self.ages) > 2 * len(self.slots) + 64:  # mostly of slots that are gone
            self.ages = [(s.expires_at, s.id, s) for s in self.slots if s.state is State.OPEN]
            heapify(self.ages)

    def _pop(self, lane: Lane, now: float) -> Slot | None:
        """Take the warmest idle slot of the lane that has not expired; expired ones are closed on the way."""
        while lane.idle:
            try:
                slot = lane.idle.popitem()[0]
            except KeyError:  # a take came between the two looks
                return None
            if slot.expires_at <= now:
                self._close(slot, "max_lifetime", now)
            elif now - slot.since >= self.idle_time and self.idle() >= self.min_idle:
                self._close(slot, "max_idle_time", now)
            else:
                slot.rested = now - max(slot.since, slot.answered_at)
                slot.since = now
                return slot
        return None

    @staticmethod
    def _coldest(lane: Lane, count: int) -> list[Slot]:
        """The idle slots longest on the shelf, read in one C call: no take or put can fall into it."""
        while True:
            try:
                return list(islice(lane.idle, count))
            except RuntimeError:  # one fell between that call and the one before it, which begins to read
                continue

    def _close_coldest(self, count: float, reason: str, now: float, lanes: list[Lane]) -> int:
        """Close as many as `count` idle slots of these lanes, those returned first; say how many it were."""
        most = max(min(count, self.idle()), 0)
        coldest = [slot for lane in lanes for slot in self._coldest(lane, int(most))]
        if len(lanes) > 1:
            coldest.sort(key=lambda slot: slot.since)
        closed = 0
        for slot in coldest[: int(most)]:
            if slot.lane.idle.pop(slot, None):
                self._close(slot, reason, now)
                closed += 1
        return closed

    def _note(self, kind: Kind, now: float, slot: Slot | None = None, reason: str | None = None) -> None:
        if self.eventful:
            self.todo.append((Act.TELL, Event(kind, now, slot.id if slot else None, reason)))

    # ── counts ──────────────────────────────────────────────────────────────────────────────────

    def idle(self) -> int:
        """Idle slots of all lanes."""
        count = 0
        for lane in self.lanes.values():
            count += len(lane.idle)
        return count

    @property
    def queued(self) -> int:
        """Waiters of all lanes."""
        count = 0
        for lane in self.lanes.values():
            count += len(lane.waiters)
        return count

    def in_use(self) -> int:
        """Slots in somebody's hands, upkeep's included."""
        return len(self.slots) - self.closing - len(self.connecting) - self.overdue - self.idle()

    def stats(self) -> Stats:
        """Take the snapshot. Takes the lock itself, for as long as copying the list of slots takes."""
        with self.lock:
            slots = tuple(self.slots)  # now: the uses of one that leaves are among `past_uses` from then on
            idle, waiting, in_use = self.idle(), self.queued, max(self.in_use(), 0)
            closing, total, past_uses = self.closing, len(slots), self.past_uses
            dials = len(self.connecting) + self.overdue
            closed_for = self.closed_for.copy()
            wait, hold, connect = self.wait_time.copy(), self.hold_time.copy(), self.connect_time.copy()
            counts = (self.wait_count, self.timeouts, self.rejected, self.connects, self.connect_errors)
        released = past_uses + sum(slot.uses for slot in slots)
        acquired = released + sum(slot.held for slot in slots)
        with self.lock:  # one on its way from a hand to the shelf is neither held any more nor counted yet
            acquired = self.acquired = max(acquired, self.acquired)
        return Stats(
            max_open_connections=self.options.max_open,
            open_connections=total - closing,
            in_use=in_use,
            idle=idle,
            wait_count=counts[0],
            wait_duration=wait.total,
            max_idle_closed=closed_for.get("max_idle", 0),
            max_idle_time_closed=closed_for.get("max_idle_time", 0),
            max_lifetime_closed=closed_for.get("max_lifetime", 0),
            waiting=waiting,
            connecting=dials,
            closing=closing,
            acquire_count=acquired,
            timeout_count=counts[1],
            rejected_count=counts[2],
            connect_count=counts[3],
            connect_errors=counts[4],
            dead_on_acquire=closed_for.get("dead", 0),
            dead_on_keepalive=closed_for.get("keepalive", 0) + closed_for.get("lost", 0),
            discarded=closed_for.get("discarded", 0) + closed_for.get("dropped", 0),
            overflow_open=int(max(total - closing - self.max_open, 0)),
            generation=self.generation,
            wait_time=wait.snapshot(acquired - wait.count),
            hold_time=hold.snapshot(released - hold.count, SHORT_HOLD),
            connect_time=connect.snapshot(),
        )
