"""The stateful model: Hypothesis takes steps on the core and on the reference, and compares after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cenote._core import NEVER, Core, Slot, State
from cenote.errors import ConfigError
from cenote.options import Options
from tests.core.book import Conn, Wait
from tests.core.harness import JITTER, Caller, Face
from tests.core.reference import Reference

T = TypeVar("T")

LANES = ("red", "green", "blue")
ACTORS = st.integers(0, 2)
NTH = st.integers(0, 11)  # which of those there are, modulo their number
PASSES = st.sampled_from([0.00001, 0.013, 0.07, 0.3, 1.7, 6.3, 13.9, 100.1])
CHOICES: dict[str, list[Any]] = {
    "max_open": [1, 1, 2, 2, 3, 4, None],
    "max_idle": [None, None, None, 0, 1, 2],
    "min_idle": [0, 0, 0, 1, 2],
    "max_lifetime": [None, 9.7, 60.1],
    "max_idle_time": [None, 7.3],
    "keepalive": [None, None, 5.3],
    "ping_after": [None, 0, 6.1],
    "connect_timeout": [0.7, 5.3],
    "max_waiting": [None, None, None, None, None, 0, 2],
    "on_full": ["wait", "wait", "wait", "wait", "wait", "wait", "overflow", "reject"],
    "max_connecting": [1, 2, 4],
    "warn_held": [None, None, 11.1],
}
OPTIONS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHOICES.items()})
CHANGES = st.sampled_from([(name, value) for name, values in CHOICES.items() for value in values])


def pick(items: Sequence[T], nth: int) -> T:
    return items[nth % len(items)]


def valid(options: dict[str, Any]) -> dict[str, Any]:
    """Lower min_idle to what the other options leave room for."""
    try:
        Options.of(**options)
    except ConfigError:
        return {**options, "min_idle": 0}
    return options


class PoolModel(RuleBasedStateMachine):
    """One pool, up to three lanes, three actors that may hold and ask at once."""

    core: ClassVar[type[Core]] = Core
    steps: ClassVar[int] = 0
    """How many rules were executed, over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.age = -1  # the invariants run once after `begin`, which is no step
        self.lanes: list[str] = []
        self.face: Face
        self.ref: Reference

    @initialize(
        options=OPTIONS,
        lanes=st.sampled_from([1, 1, 1, 2, 3]),
        eventful=st.sampled_from([False, False, True]),
        callers=st.integers(0, 6),
    )
    def begin(self, options: dict[str, Any], lanes: int, eventful: bool, callers: int) -> None:
        options = valid(options)
        if options["on_full"] == "overflow":
            options = {**options, "max_overflow": 2}
        self.face = Face(core=self.core, eventful=eventful, **options)
        self.ref = Reference(self.face.options, JITTER, self.face.now, eventful=eventful)
        self.lanes = list(LANES[:lanes])
        self.queued: list[tuple[Caller, Wait]] = []
        self.checking: list[tuple[Caller, Wait]] = []
        self.leases: list[tuple[Slot, Conn]] = []
        self.pings: list[tuple[Slot, Conn, int]] = []
        self.past: list[tuple[Caller, Wait]] = []
        self.conns: dict[int, Conn] = {}
        self.rush(callers)

    @rule(callers=st.integers(2, 6))
    def rush(self, callers: int) -> None:
        """Let several ask at once in one lane and everything go well, which fills the pool and its queue."""
        for nth in range(callers):
            self.acquire(0, nth, scoped=True, suspicious=False)
            self.agree()
        while self.face.dials:
            self.dial_succeeds(0)
            self.agree()
        while self.checking:
            self.accept_one(self.checking[0], 0, scoped=True)

    # ── acquire ─────────────────────────────────────────────────────────────────────────────────

    @rule(lane=NTH, actor=ACTORS, scoped=st.booleans(), suspicious=st.sampled_from([False, False, True]))
    def acquire(self, lane: int, actor: int, scoped: bool, suspicious: bool) -> None:
        stack = frozenset({actor, f"task {actor}"})
        caller = self.face.ask(pick(self.lanes, lane), stack, suspicious=suspicious)
        wait = Wait(caller.name, str(caller.lane.affinity), stack)
        is_hit = self.ref.hit(wait, suspicious=suspicious)
        if not is_hit:
            self.ref.request(wait)
        self.sort([*self.queued, (caller, wait)])
        if is_hit and not suspicious:
            self.accept_one((caller, wait), actor, scoped)

    @precondition(lambda self: self.checking)
    @rule(nth=NTH, actor=ACTORS, scoped=st.booleans())
    def accept(self, nth: int, actor: int, scoped: bool) -> None:
        self.accept_one(pick(self.checking, nth), actor, scoped)

    def accept_one(self, one: tuple[Caller, Wait], actor: int, scoped: bool) -> None:
        self.checking.remove(one)
        caller, wait = one
        if caller.got.state is State.OPEN and not caller.fresh and self.face.core.needs_ping(caller.got):
            caller.got.generation = self.face.core.generation
            assert wait.conn is not None
            wait.conn.generation = self.ref.generation
        owner = actor if scoped else f"task {actor}"
        slot = self.face.lend(caller, owner)
        self.leases.append((slot, self.ref.lend(wait, owner)))

    @precondition(lambda self: self.checking)
    @rule(nth=NTH)
    def find_it_dead(self, nth: int) -> None:
        caller, wait = one = pick(self.checking, nth)
        self.face.run(self.face.core.bury, caller)
        self.ref.bury(wait)
        self.checking.remove(one)
        self.sort([*self.queued, one])

    @precondition(lambda self: self.checking)
    @rule(nth=NTH, asked=st.booleans())
    def give_up_the_check(self, nth: int, asked: bool) -> None:
        caller, wait = one = pick(self.checking, nth)
        self.checking.remove(one)
        self.face.run(self.face.core.give_up_check, caller, asked=asked)
        self.ref.give_up_check(wait, asked=asked)

    @precondition(lambda self: self.checking or self.queued)
    @rule(nth=NTH, timed_out=st.booleans())
    def give_up(self, nth: int, timed_out: bool) -> None:
        caller, wait = one = pick([*self.queued, *self.checking], nth)
        self.face.run(self.face.core.abandon, caller, timed_out=timed_out)
        self.ref.abandon(wait, timed_out=timed_out)
        if wait.state != "granted":  # given in the last moment, it is kept by one that timed out
            (self.queued if one in self.queued else self.checking).remove(one)
            self.past.append(one)

    @precondition(lambda self: self.queued)
    @rule(nth=NTH)
    def suspect(self, nth: int) -> None:
        caller, wait = pick(self.queued, nth)
        self.face.run(self.face.core.suspect, caller)
        self.ref.suspect(wait)

    @precondition(lambda self: self.queued)
    @rule(nth=NTH)
    def be_cancelled_before_it_runs(self, nth: int) -> None:
        caller, wait = pick(self.queued, nth)
        caller.willing = wait.willing = False

    # ── release ─────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.leases)
    @rule(nth=NTH)
    def come_back_and_ask_again(self, nth: int) -> None:
        """Do what most callers do."""
        lane = LANES.index(pick(self.leases, nth)[1].lane)
        self.release(nth)
        self.agree()
        self.acquire(lane, nth % 3, scoped=True, suspicious=False)

    @precondition(lambda self: self.leases)
    @rule(nth=NTH)
    def release(self, nth: int) -> None:
        slot, conn = self.leases.pop(nth % len(self.leases))
        self.face.release(slot)
        self.ref.release(conn)

    @precondition(lambda self: self.leases)
    @rule(nth=NTH, lost=st.booleans())
    def discard(self, nth: int, lost: bool) -> None:
        slot, conn = self.leases.pop(nth % len(self.leases))
        self.face.discard(slot, lost=lost)
        self.ref.discard(conn, lost=lost)

    @precondition(lambda self: self.leases)
    @rule(nth=NTH)
    def drop(self, nth: int) -> None:
        slot, conn = self.leases.pop(nth % len(self.leases))
        if slot.held:  # else its finalizer has nothing to report
            self.face.core.drop(slot)
            self.ref.drop(conn)

    # ── dials and goodbyes ──────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.face.dials)
    @rule(nth=NTH)
    def dial_succeeds(self, nth: int) -> None:
        slot = self.face.dialed(pick(self.face.dials, nth))
        self.ref.dialed(self.conn(slot))

    @precondition(lambda self: self.face.dials)
    @rule(nth=NTH, cancelled=st.sampled_from([False, False, True]))
    def dial_fails(self, nth: int, cancelled: bool) -> None:
        slot = pick(self.face.dials, nth)
        conn = self.conn(slot)
        (self.face.dial_cancelled if cancelled else self.face.dial_failed)(slot)
        self.ref.dial_failed(conn, cancelled=cancelled)

    @precondition(lambda self: self.face.goodbyes)
    @rule(nth=NTH)
    def goodbye_is_answered(self, nth: int) -> None:
        slot = self.face.farewelled(pick(self.face.goodbyes, nth))
        self.ref.farewelled(self.conn(slot))

    # ── time ────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.age % 2 == 0)
    @rule(seconds=PASSES)
    def time_passes(self, seconds: float) -> None:
        self.face.advance(seconds)
        self.ref.now = self.face.now

    @precondition(lambda self: self.age % 3 == 1)
    @rule()
    def upkeep_is_early(self) -> None:
        self.upkeep(self.face.tick)

    @precondition(lambda self: self.age % 2 == 1 and self.face.core.planned < NEVER)
    @rule()
    def upkeep_comes_as_planned(self) -> None:
        self.face.now = self.ref.now = max(self.face.now, self.face.core.planned)
        if self.face.due() <= self.face.now:
            self.upkeep(self.face.tick)
        else:
            with self.face.core.lock:
                self.face.core.plan(self.face.now)

    def upkeep(self, tick: Callable[[], None]) -> None:
        tick()
        pinged: list[int] = []
        self.ref.tick(pinged.append)
        assert sorted(pinged) == sorted(slot.id for slot in self.face.pings)
        self.pings += [(slot, self.conn(slot), self.face.core.generation) for slot in self.face.pings]
        self.face.pings.clear()
        assert self.face.due() > self.face.now, "upkeep would never rest"

    @precondition(lambda self: self.pings)
    @rule(nth=NTH)
    def ping_is_answered(self, nth: int) -> None:
        slot, conn, generation = self.pings.pop(nth % len(self.pings))
        self.face.run(self.face.core.answered, slot, generation)
        self.ref.answered(conn, generation)

    @precondition(lambda self: self.pings)
    @rule(nth=NTH)
    def ping_is_not_answered(self, nth: int) -> None:
        slot, conn, _ = self.pings.pop(nth % len(self.pings))
        self.face.run(self.face.core.unanswered, slot)
        self.ref.unanswered(conn)

    @precondition(lambda self: self.age % 2 == 0 and self.face.core.slots)
    @rule(nth=NTH)
    def peer_goes(self, nth: int) -> None:
        """The peer of any connection goes, and a loop that watches it says so."""
        slot = pick(list(self.face.core.slots), nth)
        self.face.run(self.face.core.lost, slot)
        self.ref.lost(self.conn(slot))

    # ── the whole pool ──────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.age % 3 == 0)
    @rule(change=CHANGES)
    def resize(self, change: tuple[str, Any]) -> None:
        name, value = change
        try:
            options = self.face.options.replace(**{name: value})
        except ConfigError:
            options = self.face.options.replace(**{name: value, "min_idle": 0})
        self.face.options = options
        self.face.run(self.face.core.resize, options)
        self.ref.resize(options)

    @precondition(lambda self: self.age > 35)
    @rule()
    def shut(self) -> None:
        ender = self.face.caller(self.lanes[0])
        self.face.run(self.face.core.shut, ender)
        self.ref.place(self.lanes[0])
        self.ref.shut()

    @precondition(lambda self: self.face.core.closed)
    @rule()
    def cut_off(self) -> None:
        self.face.run(self.face.core.cut_off)
        self.ref.cut_off()
        self.is_cut = True

    @precondition(lambda self: len(self.face.core.lanes) > 1)
    @rule(nth=NTH)
    def loop_is_closed(self, nth: int) -> None:
        lane = str(pick(list(self.face.core.lanes), nth))
        self.face.run(self.face.core.forget, lane)
        self.ref.forget(lane)
        self.queued = [one for one in self.queued if one[1].lane != lane]
        self.checking = [one for one in self.checking if one[1].lane != lane]

    # ── what is compared after each step ────────────────────────────────────────────────────────

    def conn(self, slot: Slot) -> Conn:
        return self.conns[slot.id]

    def sort(self, asked: list[tuple[Caller, Wait]]) -> None:
        """Move callers to where they belong by now."""
        self.queued = [one for one in asked if one[1].state == "queued"]
        self.checking += [one for one in asked if one[1].state == "granted"]
        self.past += [one for one in asked if one[1].state in {"refused", "gone"}]

    @invariant()
    def core_and_reference_agree(self) -> None:
        if hasattr(self, "ref"):
            self.age += 1
            type(self).steps += self.age > 0
            self.agree()

    def agree(self) -> None:
        self.conns.update((conn.id, conn) for conn in self.ref.conns)
        self.callers_agree()
        self.sort(self.queued)
        self.connections_agree()
        self.counters_agree()
        self.rules_hold()
        self.past.clear()

    def callers_agree(self) -> None:
        for caller, wait in [*self.queued, *self.checking, *self.past]:
            slot = None if caller.slot is None else caller.slot.id
            conn = None if wait.conn is None else wait.conn.id
            assert (slot, caller.refusal) == (conn, wait.why), f"{caller}: {wait}"
            assert caller.woken == wait.woken, f"{caller} was woken {caller.woken} times: {wait}"
            assert wait.state != "granted" or caller.fresh == wait.fresh, f"{caller}: {wait}"
        for name, lane in self.face.core.lanes.items():
            place = self.ref.place(str(name))
            assert [str(w) for w in lane.waiters] == [f"<{w.name}>" for w in place.queue], "the queue"
            assert [slot.id for slot in lane.idle] == [conn.id for conn in place.shelf], "the idle ones"

    def connections_agree(self) -> None:
        slots = self.face.core.slots
        assert [slot.id for slot in slots] == [conn.id for conn in self.ref.conns]
        for slot, conn in zip(slots, self.ref.conns, strict=True):
            assert state_of(slot) == conn.state, f"connection {conn.id}"
            assert slot.held == conn.held, f"connection {conn.id}"
            seen = (slot.expires_at, slot.generation, slot.uses)
            assert seen == (conn.expires, conn.generation, conn.uses), f"connection {conn.id}"
            assert conn.state == "closing" or slot.since == conn.since, f"connection {conn.id}"

    def counters_agree(self) -> None:
        core, ref, stats = self.face.core, self.ref, self.face.stats()
        assert core.calm == ref.calm
        assert (core.generation, core.failures, core.retry_at) == (ref.generation, ref.failures, ref.retry_at)
        assert stats.open_connections == stats.in_use + stats.idle + stats.connecting
        assert (stats.in_use, stats.idle) == (ref.count("out"), ref.count("idle"))
        assert stats.connecting == ref.count("connecting", "overdue")
        assert (stats.closing, stats.waiting) == (ref.count("closing"), ref.queued)
        assert stats.acquire_count == ref.past_uses + sum(conn.uses + conn.held for conn in ref.conns)
        assert (stats.wait_count, stats.timeout_count) == (ref.wait_count, ref.timeouts)
        assert (stats.rejected_count, stats.connect_count) == (ref.rejected, ref.connects)
        assert stats.connect_errors == ref.connect_errors
        assert (core.wait_time.count, core.hold_time.count) == (len(ref.waits), len(ref.holds))
        assert [slot.id for slot in self.face.long] == ref.long
        if not core.closed:  # then all reasons are one
            assert core.closed_for == ref.reasons

    def rules_hold(self) -> None:
        """Hold the core to its promises by itself, whatever the reference says."""
        core = self.face.core
        lanes = list(core.lanes.values())
        hands = [c.got for c, _ in self.checking] + [s for s, _ in self.leases] + [s for s, *_ in self.pings]
        hands = [slot for slot in hands if slot.state is not State.GONE]
        idle = [slot for lane in lanes for slot in lane.idle]
        assert len(set(hands)) == len(hands), "a connection is in two hands"
        assert not set(idle) & set(hands), "an idle connection is in use"
        newest = max((slot.id for slot in core.slots), default=0)
        if newest > getattr(self, "newest", 0):
            assert len(core.slots) <= core.limit, "a dial beyond the limit"
        self.newest = newest
        for lane in lanes:
            assert not (lane.idle and lane.waiters), "a caller waits beside an idle connection"
            tickets = [waiter.ticket for waiter in lane.waiters]
            assert tickets == sorted(tickets), "the queue is not in the order of arrival"
        if not core.closed:
            self.nobody_is_forgotten()

    def nobody_is_forgotten(self) -> None:
        """A waiter has a dial under way unless a limit forbids it; if only a pause does, upkeep is coming."""
        core = self.face.core
        unserved = any(len(lane.waiters) > lane.dialing for lane in core.lanes.values())
        most = 1 if core.failures else core.max_connecting
        if unserved and len(core.connecting) < most and len(core.slots) < core.limit:
            assert core.planned <= core.retry_at, "a caller waits, a place is free, and nobody dials"
            assert self.face.now < core.retry_at or core.planned <= self.face.now
        ends = [slot.since + self.ref.patience for slot in core.connecting]
        ends += [slot.expires_at for lane in core.lanes.values() for slot in lane.idle]
        assert core.planned <= min(ends, default=NEVER), "upkeep comes too late"

    # ── the end of an example ───────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        """Let everything that is under way end well: then everybody still in the queue is served."""
        if not hasattr(self, "ref") or self.face.core.closed:
            return
        for _ in range(60 + 2 * len(self.queued)):
            if not any(wait.willing for _, wait in self.queued):
                return
            for caller, wait in list(self.checking):
                self.accept_one((caller, wait), 0, scoped=False)
            for ready, end in (
                (self.leases, self.release),
                (self.face.goodbyes, self.goodbye_is_answered),
                (self.face.dials, self.dial_succeeds),
                (self.pings, self.ping_is_answered),
            ):
                while ready:
                    end(0)
                    self.agree()
            if self.face.core.dropped:  # its finalizer has called upkeep
                self.upkeep(self.face.tick)
            elif self.face.core.planned < NEVER:
                self.upkeep_comes_as_planned()
            self.agree()
        raise AssertionError(f"never served: {self.queued}")


def state_of(slot: Slot) -> str:
    """Say where a slot is, in the words of the reference."""
    if slot.state is State.OPEN:
        return "idle" if slot in slot.lane.idle else "out"
    return "overdue" if slot.overdue and slot.state is State.CONNECTING else slot.state.name.lower()
