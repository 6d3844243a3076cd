"""A face made of lists: it makes transitions on a core, sorts what they leave to do, does it when told."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from cenote._core import Act, Budget, Core, Lane, Slot, Todo, Waiter
from cenote.events import Event
from cenote.options import Options
from cenote.stats import Stats

START = 1000.1  # no whole number and no binary fraction, as on a real clock
JITTER = 0.37


class Caller(Waiter):
    """A waiter that counts what it is told, and refuses a hand-off when a test says so."""

    def __init__(
        self, lane: Lane, name: str, stack: frozenset[Hashable], found: Slot | None, now: float
    ) -> None:
        super().__init__(lane)
        self.queued_at = now
        if found is not None:
            self.find(found)
        self.stack = stack
        self.name = name
        self.willing = True
        self.future = self
        self.woken = 0

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def cancelled(self) -> bool:
        return not self.willing

    def wake(self) -> None:
        self.woken += 1

    @property
    def outcome(self) -> str:
        """What became of it so far: served, waiting, or why it was refused."""
        return self.refusal or ("waiting" if self.slot is None else "served")

    @property
    def got(self) -> Slot:
        """The slot it was given."""
        assert self.slot is not None, f"{self.name} was given nothing, refused: {self.refusal}"
        return self.slot


class Anyone(Waiter):
    """A waiter to whom nothing is said."""


class RacedShelf(dict[Slot, Slot]):
    """A shelf off which another thread takes each slot in the moment before it would be."""

    def pop(self, key: Slot, default: Slot | None = None) -> Slot | None:  # type: ignore[override]
        """Come too late."""
        super().pop(key, None)
        return default


class Face:
    """One core and its clock. What a real face would carry out waits in lists, oldest first."""

    def __init__(
        self,
        *,
        core: type[Core] = Core,
        random: Callable[[], float] = lambda: JITTER,
        eventful: bool = False,
        budget: Budget | None = None,
        **options: Any,
    ) -> None:
        self.options = Options.of(**options)
        self.core = core(self.options, random=random, eventful=eventful, budget=budget)
        self.core.home = lambda: self
        self.now = START
        self.dials: list[Slot] = []
        self.goodbyes: list[Slot] = []
        self.pings: list[Slot] = []
        self.cuts: list[Slot] = []
        self.leaks: list[Slot] = []
        self.long: list[Slot] = []
        self.events: list[Event] = []
        self.upkeep_calls = 0
        self.callers = 0
        self._lists: dict[Act, list[Any]] = {
            Act.DIAL: self.dials,
            Act.CLOSE: self.goodbyes,
            Act.PING: self.pings,
            Act.CUT: self.cuts,
            Act.LEAK: self.leaks,
            Act.LONG: self.long,
            Act.TELL: self.events,
        }

    # ── one transition, and time ────────────────────────────────────────────────────────────────

    def run(self, transition: Callable[..., Todo], *args: Any, **options: Any) -> None:
        """Make a transition under the lock, and sort what it leaves to do."""
        with self.core.lock:
            todo = transition(*args, self.now, **options)
        self.sort(todo)

    def sort(self, todo: Todo) -> None:
        """Put what is to be done into its lists."""
        for act, subject in todo:
            if act is Act.RELAY:
                core, rest = subject
                core.home().sort(rest)
            elif act is Act.WAKE:
                subject.wake()
            elif act is Act.UPKEEP:
                self.upkeep_calls += 1
                with self.core.lock:
                    self.core.plan(self.now)
            else:
                self._lists[act].append(subject)

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody looking."""
        self.now += seconds

    def tick(self) -> None:
        """Do what is due."""
        self.run(self.core.tick)
        with self.core.lock:
            self.core.plan(self.now)

    def due(self) -> float:
        """Ask when something will be due."""
        with self.core.lock:
            return self.core.due(self.now)

    def turn(self) -> None:
        """Do what upkeep does when it wakes: what is due, if anything, and the next plan."""
        if self.due() <= self.now:
            self.tick()
        with self.core.lock:
            self.core.plan(self.now)

    def reach_plan(self) -> None:
        """Let time pass to the moment for which upkeep was planned."""
        self.now = max(self.now, self.core.planned)
        self.turn()

    # ── callers ─────────────────────────────────────────────────────────────────────────────────

    def lane(self, name: str | None = None) -> Lane:
        """Find or make a lane."""
        with self.core.lock:
            return self.core.lane(name)

    def caller(self, lane: str | None = None, stack: frozenset[Hashable] = frozenset()) -> Caller:
        """Make one who has not asked yet."""
        return self._caller(self.lane(lane), stack, None)

    def _caller(self, lane: Lane, stack: frozenset[Hashable], found: Slot | None) -> Caller:
        self.callers += 1
        return Caller(lane, f"caller {self.callers}", stack, found, self.now)

    def ask(
        self, lane: str | None = None, stack: frozenset[Hashable] = frozenset(), *, suspicious: bool = False
    ) -> Caller:
        """Ask as a face does: a hit if there is one, else a request. What it got is not accepted yet.

        A face makes a waiter for a hit only if there is something `suspicious` about it to look into.
        """
        place = self.lane(lane)
        hit = self.core.take(place, self.now)
        caller = self._caller(place, stack, hit if suspicious else None)
        if hit is None:
            self.run(self.core.request, caller)
        else:
            caller.slot = hit
        return caller

    def lend(self, caller: Caller, owner: Hashable = 0) -> Slot:
        """Let a caller have what it got: from here on a lease holds the slot.

        An owner that is a number is a frame with a with block; any other has no block.
        """
        slot = caller.got
        slot.hold, slot.owner = None, owner
        return slot

    def acquire(self, lane: str | None = None, owner: Hashable = 0) -> Slot:
        """Acquire from a pool that has a connection, or dial one."""
        caller = self.ask(lane)
        while caller.slot is None and self.dials:
            self.dialed()
        return self.lend(caller, owner)

    def release(self, *slots: Slot) -> None:
        """Release as a face does: without the lock if that goes, else straight to the oldest waiter."""
        for slot in slots:
            slot.hold = self
            outcome = self.core.put(slot, self.now)
            if outcome is None:
                self.run(self.core.settle)
            elif not outcome:
                with self.core.lock:
                    heir = self.core.pass_on(slot, self.now)
                if heir is not None:
                    heir.wake()
                else:
                    self.run(self.core.release, slot)

    def discard(self, slot: Slot, *, lost: bool = False) -> None:
        """Discard what a lease held."""
        slot.hold = self
        self.run(self.core.discard, slot, lost=lost)

    def fill(self, count: int, lane: str | None = None) -> list[Slot]:
        """Have `count` idle connections, the first of the list returned first."""
        slots = [self.acquire(lane) for _ in range(count)]
        self.release(*slots)
        return slots

    # ── the ends of dials and goodbyes ──────────────────────────────────────────────────────────

    def dialed(self, slot: Slot | None = None) -> Slot:
        """Let a dial succeed, the oldest if none is named."""
        slot = self._pick(self.dials, slot)
        slot.hold = self
        self.run(self.core.dialed, slot, f"connection {slot.id}")
        return slot

    def dial_failed(self, slot: Slot | None = None, error: BaseException | None = None) -> Slot:
        """Let a dial fail."""
        slot = self._pick(self.dials, slot)
        self.run(self.core.dial_failed, slot, error or ConnectionRefusedError())
        return slot

    def dial_cancelled(self, slot: Slot | None = None) -> Slot:
        """Let a dial be cancelled, which is no failure."""
        slot = self._pick(self.dials, slot)
        self.run(self.core.dial_failed, slot, None)
        return slot

    def farewelled(self, slot: Slot | None = None) -> Slot:
        """Let a server have answered a goodbye."""
        slot = self._pick(self.goodbyes, slot)
        self.run(self.core.farewelled, slot)
        return slot

    def fail_dials(self, count: int) -> None:
        """Let `count` dials fail in a row, each as soon as its pause allows."""
        for _ in range(count):
            self.now = max(self.now, self.core.retry_at)
            self.tick()
            self.dial_failed()

    @staticmethod
    def _pick(slots: list[Slot], slot: Slot | None) -> Slot:
        slot = slot or slots[0]
        slots.remove(slot)
        return slot

    # ── what tests look at ──────────────────────────────────────────────────────────────────────

    def idle(self, lane: str | None = None) -> list[Slot]:
        """The idle slots of a lane, the coldest first."""
        return list(self.lane(lane).idle)

    def queue(self, lane: str | None = None) -> list[Waiter]:
        """The waiters of a lane, the oldest first."""
        return list(self.lane(lane).waiters)

    def resize(self, **options: Any) -> None:
        """Change options."""
        self.options = self.options.replace(**options)
        self.run(self.core.resize, self.options)

    def stats(self) -> Stats:
        """Take the snapshot."""
        return self.core.stats()

    def told(self, *kinds: str) -> list[tuple[str, str | None]]:
        """The events so far, of these kinds if any are named, and their reasons."""
        return [(event.kind, event.reason) for event in self.events if not kinds or event.kind in kinds]
