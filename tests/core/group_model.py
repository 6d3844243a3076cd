"""Random steps on several pools under one limit, and what has to hold after each of them.

What each pool does by itself is compared with the reference in `model`. Here are the promises that
only hold for all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cenote._core import NEVER, Budget, Core, Slot, State
from tests.core.harness import Caller, Face

T = TypeVar("T")

NTH = st.integers(0, 11)  # which of those there are, modulo their number
LIMITS = st.sampled_from([1, 2, 2, 3, 4, 6])
OPTIONS = st.fixed_dictionaries(
    {
        "max_open": st.sampled_from([1, 2, 4]),
        "max_connecting": st.sampled_from([1, 4]),
        "min_idle": st.sampled_from([0, 0, 1]),
        "max_idle": st.sampled_from([None, 1]),
        "on_full": st.sampled_from(["wait", "wait", "wait", "reject"]),
        "max_idle_time": st.sampled_from([None, 7.3]),
    }
)


def pick(items: Sequence[T], nth: int) -> T:
    return items[nth % len(items)]


class GroupModel(RuleBasedStateMachine):
    """Up to four pools of one group, some of them with connections under two loops."""

    core: ClassVar[type[Core]] = Core
    budget_type: ClassVar[type[Budget]] = Budget
    steps: ClassVar[int] = 0
    """How many rules were executed, over all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.faces: list[Face] = []
        self.callers: list[tuple[Face, Caller]] = []
        self.leases: list[tuple[Face, Slot]] = []

    @initialize(
        limit=LIMITS, options=st.lists(OPTIONS, min_size=2, max_size=4), lanes=st.sampled_from([1, 1, 2])
    )
    def begin(self, limit: int, options: list[dict[str, Any]], lanes: int) -> None:
        self.budget = self.budget_type(limit)
        self.faces = [Face(core=self.core, budget=self.budget, **one) for one in options]
        self.lanes = ["red", "green"][:lanes]
        self.taken = 0  # before the last step

    # ── steps ───────────────────────────────────────────────────────────────────────────────────

    @rule(pool=NTH, lane=NTH, count=st.sampled_from([1, 1, 3]))
    def ask(self, pool: int, lane: int, count: int) -> None:
        face = pick(self.faces, pool)
        self.callers += [(face, face.ask(pick(self.lanes, lane))) for _ in range(count)]
        self.advance(0.001)

    @precondition(lambda self: self.callers)
    @rule(nth=NTH, timed_out=st.booleans())
    def give_up(self, nth: int, timed_out: bool) -> None:
        face, caller = self.callers.pop(nth % len(self.callers))
        face.run(face.core.abandon, caller, timed_out=timed_out)
        if caller.slot is not None:
            self.leases.append((face, face.lend(caller)))

    @precondition(lambda self: self.leases)
    @rule(nth=NTH, broken=st.sampled_from([False, False, True]))
    def give_back(self, nth: int, broken: bool) -> None:
        face, slot = self.leases.pop(nth % len(self.leases))
        (face.discard if broken else face.release)(slot)

    @precondition(lambda self: any(face.dials for face in self.faces))
    @rule(nth=NTH, outcome=st.sampled_from(["dialed", "dialed", "dialed", "dial_failed", "dial_cancelled"]))
    def end_a_dial(self, nth: int, outcome: str) -> None:
        face = pick([face for face in self.faces if face.dials], nth)
        getattr(face, outcome)()

    @precondition(lambda self: any(face.goodbyes for face in self.faces))
    @rule(nth=NTH)
    def end_a_goodbye(self, nth: int) -> None:
        pick([face for face in self.faces if face.goodbyes], nth).farewelled()

    @rule(limit=LIMITS)
    def resize(self, limit: int) -> None:
        self.budget.limit = limit
        for face in self.faces:
            face.run(face.core.settle)

    @rule(seconds=st.sampled_from([0.01, 0.3, 8.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.advance(seconds)
        for face in self.faces:
            if face.core.planned <= face.now:
                face.turn()
                assert face.due() > face.now, "upkeep would never rest"

    @precondition(lambda self: self.leases)
    @rule(nth=NTH)
    def close_a_pool(self, nth: int) -> None:
        face, _ = pick(self.leases, nth)
        face.run(face.core.shut, None)

    def advance(self, seconds: float) -> None:
        for face in self.faces:
            face.advance(seconds)

    # ── what holds after each ───────────────────────────────────────────────────────────────────

    @invariant()
    def all_is_well(self) -> None:
        if not self.faces:
            return
        type(self).steps += 1
        self.accept()
        self.books_are_right()
        self.nobody_waits_in_vain()

    def accept(self) -> None:
        """Let those who were served have their connections; forget those who were refused."""
        for face, caller in [one for one in self.callers if one[1].outcome != "waiting"]:
            self.callers.remove((face, caller))
            if caller.slot is not None:
                self.leases.append((face, face.lend(caller)))

    def books_are_right(self) -> None:
        budget, cores = self.budget, [face.core for face in self.faces]
        assert budget.taken <= max(budget.limit, self.taken), "more are open than may be"
        self.taken = budget.taken
        assert budget.taken == sum(len(core.slots) for core in cores)
        assert set(budget.holders) == {core for core in cores if core.slots}
        lacking = {face.core for face in self.faces if face.core.lacking(face.now)}
        pausing = {core for core in cores if core.retry_at}  # noticed when upkeep comes
        assert lacking - pausing <= set(budget.short) <= lacking
        assert budget.tight == (bool(budget.short) or budget.taken > budget.limit)
        for core in cores:
            assert not (core.slots and core.calm and budget.tight), "calm while somebody lacks a place"
        lent = [slot for _, slot in self.leases]
        assert len(lent) == len(set(lent))
        assert all(slot.held for slot in lent if slot.state is State.OPEN)

    def nobody_waits_in_vain(self) -> None:
        budget = self.budget
        lacking = sum(core.lacking(face.now) for face in self.faces if (core := face.core) in budget.short)
        closing = sum(face.core.closing for face in self.faces)
        idle = sum(face.core.idle() for face in self.faces)
        if lacking:
            assert budget.taken >= budget.limit, "a place is free, and somebody lacks one"
            assert not idle or closing - (budget.taken - budget.limit) >= lacking, "an idle one is in the way"
        if budget.taken - closing > budget.limit:
            assert not idle, "more are open than may be, and one of them is idle"

    def teardown(self) -> None:
        """Nobody is left behind: if all that is under way ends well, everybody is served."""
        for _ in range(400):
            if not self.callers:
                return
            self.accept()
            while self.leases:
                face, slot = self.leases.pop(0)
                face.release(slot)
                self.all_is_well()
            for face in self.faces:
                while face.goodbyes:
                    face.farewelled()
                    self.all_is_well()
                while face.dials:
                    face.dialed()
                    self.all_is_well()
                if face.core.planned < NEVER:
                    self.advance(max(face.core.planned - face.now, 0.0))
                    face.turn()
                    self.all_is_well()
        raise AssertionError(f"never served: {self.callers}")
