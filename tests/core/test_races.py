"""The two moves without the lock, replayed step by step against every transition that could come in between.

`take` and `put` meet other threads at five points: where they read `calm`, and where they change the shelf.
A core that calls a hook at each of them lets one thread's move be interrupted there by another's transition,
in one thread and without chance. Whatever comes in between: no slot is lost, no waiter is forgotten, nobody
barges, and nothing stays idle in a pool that is closed or too large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cenote._core import Core, Slot, State
from cenote._core.ledger import Ledger
from tests.core.harness import Caller, Face, RacedShelf

Hook = Callable[[str], None]


def nothing(_: str) -> None:
    """Let it pass."""


CALM = vars(Ledger)["calm"]
"""The attribute itself, beneath the property that stands for it in `Watched`."""


class Watched(Core):
    """Calls `hook` after each read of `calm`, which is what another thread could fall in behind."""

    __slots__ = ("hook",)

    hook: Hook

    @property
    def calm(self) -> bool:
        seen: bool = CALM.__get__(self)
        getattr(self, "hook", nothing)("calm read")
        return seen

    @calm.setter
    def calm(self, value: bool) -> None:
        CALM.__set__(self, value)


class WatchedShelf(dict[Slot, Slot]):
    """Calls `hook` before and after each step of the two moves on the shelf."""

    def __init__(self, hook: Hook) -> None:
        super().__init__()
        self.hook = hook

    def popitem(self) -> tuple[Slot, Slot]:
        self.hook("before popitem")
        item = super().popitem()
        self.hook("after popitem")
        return item

    def __setitem__(self, key: Slot, value: Slot) -> None:
        self.hook("before return")
        super().__setitem__(key, value)
        self.hook("after return")


class Race:
    """A face whose next lock-free move is interrupted at the nth point it comes by."""

    def __init__(self, core: type[Watched] = Watched, **options: Any) -> None:
        self.face = Face(core=core, **options)
        self.points: list[str] = []
        self.left = -1
        self.other: Callable[[], object] = lambda: None
        self.face.lane().idle = WatchedShelf(self.pass_point)
        self.armed = False
        assert isinstance(self.face.core, Watched)
        self.face.core.hook = self.pass_point

    def pass_point(self, name: str) -> None:
        if not self.armed:
            return
        self.points.append(name)
        if len(self.points) - 1 == self.left:
            self.armed = False  # the other's own steps are not interrupted in turn
            self.other()
            self.armed = True

    def interrupt(self, move: Callable[[], object], at: int, other: Callable[[], object]) -> bool:
        """Make a move with `other` falling in at point `at`; false if the move has no such point."""
        self.left, self.other, self.points = at, other, []
        self.armed = True
        move()
        self.armed = False
        return len(self.points) > at

    def check(self, *hands: Slot) -> None:
        """See that nothing is lost."""
        core, lane = self.face.core, self.face.lane()
        out = {slot for slot in hands if slot.state is not State.GONE}
        idle = [slot for slot in lane.idle if slot.state is not State.GONE]
        assert not out & set(idle), "in two hands"
        for slot in core.slots:
            assert slot.state is not State.OPEN or slot in out or slot in idle, "lost"
        assert not (lane.waiters and idle), "a waiter beside an idle connection"
        assert not (core.closed and idle), "idle in a closed pool"
        surplus = len(core.slots) - core.closing - core.limit
        assert surplus <= 0 or not idle, "surplus and idle"
        assert core.in_use() == len([slot for slot in out if slot.state is State.OPEN])
        quiet = not (core.queued or core.closed or core.dropped or len(core.slots) > core.calm_limit)
        assert core.calm == quiet


def queue_up(face: Face) -> list[Caller]:
    """Ask until one waits."""
    callers = [face.ask()]
    while callers[-1].slot is not None:
        callers.append(face.ask())
    return callers


POINTS = range(8)
OTHERS = ["ask", "shut", "cut off", "resize", "drop", "death", "tick", "release", "loop closed"]


def other_thread(face: Face, name: str, spare: Slot, hands: set[Slot], callers: list[Caller]) -> None:
    """Do what another thread may do at any time; `spare` is a connection that it holds."""
    core = face.core
    if name == "ask":
        callers += queue_up(face)
    elif name in {"shut", "cut off"}:
        face.run(core.shut, None)
        if name == "cut off":
            face.run(core.cut_off)
    elif name == "resize":
        face.resize(max_open=1)
    elif name == "drop":
        core.drop(spare)
    elif name == "death":
        hands.discard(spare)
        face.discard(spare, lost=True)
    elif name == "tick":
        face.advance(5000.0)
        face.tick()
    elif name == "release":
        hands.discard(spare)
        face.release(spare)
    else:
        face.run(core.forget, None)


def settle_down(face: Face, hands: set[Slot], callers: list[Caller]) -> None:
    """Let upkeep run once, as it does after a drop, and see who was served."""
    if face.core.dropped:
        hands.difference_update(face.core.dropped)
        face.turn()
    hands.update(caller.slot for caller in callers if caller.slot is not None)
    for caller in callers:
        assert caller.slot or caller.refusal or caller in face.queue() or not face.core.lanes, "forgotten"


@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("other", [one for one in OTHERS if one != "loop closed"])  # it has no callers then
@pytest.mark.parametrize("age", [1.0, 100.0], ids=["young", "cold"])
def test_a_take_that_is_interrupted_loses_nothing(at: int, other: str, age: float) -> None:
    race = Race(max_open=2, ping_after=60, max_idle_time=1000)
    face = race.face
    first, spare = face.acquire(), face.acquire()
    face.release(first)
    face.advance(age)
    hands: set[Slot] = {spare}
    callers: list[Caller] = []
    asked = face.caller()

    def move() -> None:
        asked.slot = face.core.take(asked.lane, face.now)

    race.interrupt(move, at, lambda: other_thread(face, other, spare, hands, callers))
    if asked.slot is None:
        face.run(face.core.request, asked)
    settle_down(face, hands, [*callers, asked])
    race.check(*hands)


@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("other", OTHERS)
def test_a_put_that_is_interrupted_loses_nothing(at: int, other: str) -> None:
    race = Race(max_open=2, max_idle_time=1000)
    face = race.face
    slot, spare = face.acquire(), face.acquire()
    hands = {spare}
    callers: list[Caller] = []
    race.interrupt(lambda: face.release(slot), at, lambda: other_thread(face, other, spare, hands, callers))
    settle_down(face, hands, callers)
    race.check(*hands)


def test_the_moves_have_the_points_that_are_replayed() -> None:
    race = Race(max_open=2)
    slot = race.face.acquire()
    assert not race.interrupt(lambda: race.face.release(slot), 99, lambda: None)
    assert race.points == ["calm read", "before return", "after return", "calm read"]
    race.interrupt(lambda: race.face.core.take(race.face.lane(), race.face.now), 99, lambda: None)
    assert race.points == ["calm read", "before popitem", "after popitem"]


def test_a_waiter_that_queues_before_the_return_is_served_by_the_one_who_returns() -> None:
    race = Race(max_open=1)
    face = race.face
    slot = face.acquire()
    callers: list[Caller] = []
    race.interrupt(lambda: face.release(slot), 1, lambda: callers.append(face.ask()))
    assert callers[0].got is slot
    assert callers[0].woken == 1


@pytest.mark.parametrize(("held", "fresh"), [(0.001, True), (60.0, False)], ids=["briefly", "for long"])
def test_what_was_dialed_for_its_holder_is_looked_at_again_if_he_held_it_for_long(
    held: float, *, fresh: bool
) -> None:
    race = Race(max_open=1)
    face = race.face
    slot = face.acquire()
    face.advance(held)
    callers: list[Caller] = []
    race.interrupt(lambda: face.release(slot), 1, lambda: callers.append(face.ask()))
    assert callers[0].got is slot
    assert callers[0].fresh is fresh


def test_one_put_back_that_grew_too_old_before_its_hand_over_is_replaced() -> None:
    race = Race(max_open=1, max_lifetime=100)
    face = race.face
    slot = face.acquire()
    callers: list[Caller] = []

    def queue_and_dawdle() -> None:
        callers.append(face.ask())
        face.advance(101.0)

    race.interrupt(lambda: face.release(slot), 1, queue_and_dawdle)
    assert callers[0].slot is None
    assert face.farewelled() is slot
    assert face.dialed() is callers[0].slot


def test_one_that_take_put_back_serves_the_waiter_that_came_in_between() -> None:
    # Its taker then asks in a saturated pool, where joining the end of the queue is not enough.
    race = Race(max_open=1, ping_after=60)
    face = race.face
    [cold] = face.fill(1)
    face.advance(61.0)
    waiting: list[Caller] = []
    taken: list[Slot | None] = []
    race.interrupt(
        lambda: taken.append(face.core.take(face.lane(), face.now)), 2, lambda: waiting.append(face.ask())
    )
    assert taken == [None]
    late = face.caller()
    face.run(face.core.request, late)
    assert waiting[0].got is cold
    assert face.queue() == [late]


def test_a_take_that_was_faster_than_a_hand_over_leaves_the_waiter_in_the_queue() -> None:
    race = Race(max_open=1)
    face = race.face
    [slot] = face.fill(1)
    caller = face.caller()
    waiting: list[Caller] = []

    def move() -> None:
        caller.slot = face.core.take(caller.lane, face.now)

    race.interrupt(move, 2, lambda: waiting.append(face.ask()))
    assert caller.got is slot
    assert face.queue() == waiting
    face.release(face.lend(caller))
    assert waiting[0].got is slot


def test_a_shelf_emptied_between_two_looks_of_a_hand_over_is_no_error() -> None:
    race = Race(max_open=1)
    face = race.face
    face.fill(1)
    thief = face.caller()

    class Stolen(dict[Slot, Slot]):
        def popitem(self) -> tuple[Slot, Slot]:
            thief.slot = super().popitem()[0]
            return super().popitem()

    face.lane().idle = Stolen(face.lane().idle)
    caller = face.caller()
    face.run(face.core.request, caller)
    assert caller.slot is None
    assert face.queue() == [caller]
    face.release(face.lend(thief))
    assert caller.slot is not None


def test_a_surplus_one_that_is_taken_before_it_is_closed_is_closed_when_it_comes_back() -> None:
    face = Face(max_open=2)
    first, second = face.fill(2)
    face.lane().idle = RacedShelf(face.lane().idle)
    face.resize(max_open=1)
    assert face.goodbyes == []
    face.lane().idle = WatchedShelf(nothing)
    face.release(first, second)
    assert (face.goodbyes, face.idle()) == ([first], [second])


class ReturnsWithoutASecondLook(Watched):
    """The bug that the second look at `calm` in `put` is there against."""

    __slots__ = ()

    def put(self, slot: Slot, now: float) -> bool | None:
        done = super().put(slot, now)
        return True if done is None else done


def test_the_replay_finds_a_put_that_does_not_look_again() -> None:
    race = Race(ReturnsWithoutASecondLook, max_open=1)
    face = race.face
    slot = face.acquire()
    race.interrupt(lambda: face.release(slot), 1, face.ask)
    with pytest.raises(AssertionError, match="a waiter beside an idle connection"):
        race.check()


class EndsTheCalmLate(Watched):
    """The bug that was in `resize`: the calm ends only after the last look at the idle ones."""

    __slots__ = ()

    def _shrink(self, most: float, now: float) -> None:
        self.calm = True
        super()._shrink(most, now)

    def _empty(self, now: float) -> None:
        self.calm = True
        super()._empty(now)


@pytest.mark.parametrize("core", [Watched, EndsTheCalmLate])
@pytest.mark.parametrize("other", ["ask", "resize", "shut"])
def test_who_ends_the_calm_does_so_before_the_last_look_at_the_idle_ones(
    core: type[Watched], other: str
) -> None:
    race = Race(core, max_open=2)
    face = race.face
    slot, spare = face.acquire(), face.acquire()
    outcomes: list[bool | None] = []

    class PutInBetween(core):  # type: ignore[misc, valid-type]
        """Lets a put fall in after the last look at the idle ones and before the transition ends."""

        __slots__ = ()

        def _note_mood(self) -> None:
            if not outcomes:
                outcomes.append(self.put(slot, face.now))
            super()._note_mood()

    face.core.__class__ = PutInBetween
    if other == "ask":
        # Not saturated, as the short way queues only behind others, who have ended the calm.
        face.run(face.core.request, face.caller())
    else:
        other_thread(face, other, spare, set(), [])
    face.core.__class__ = core
    if outcomes != [True]:
        assert outcomes == [False]
        face.run(face.core.release, slot)
    forgotten = face.idle() if other != "ask" else face.queue()
    assert bool(forgotten) is (core is EndsTheCalmLate)


def test_a_shelf_that_changes_while_upkeep_begins_to_read_it_is_read_again() -> None:
    class Changing(dict[Slot, Slot]):
        reads = 0

        def __iter__(self) -> Iterator[Slot]:
            self.reads += 1
            if self.reads == 1:
                raise RuntimeError("dictionary changed size during iteration")
            return super().__iter__()

    face = Face(max_idle_time=900, max_lifetime=None)
    [slot] = face.fill(1)
    lane = face.lane()
    shelf = Changing(lane.idle)
    lane.idle = shelf
    assert face.core._coldest(lane, 1) == [slot]
    assert shelf.reads == 2
