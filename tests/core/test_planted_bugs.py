"""A net that catches nothing proves nothing: the model has to find each bug planted here.

Each class says in its docstring which line of the core it undoes, and how.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from cenote._core import Core, Lane, Refusal, Slot, State, Todo, Waiter
from tests.core.model import PoolModel


def move_to_head(lane: Lane, waiter: Waiter | None) -> None:
    """Let somebody who waits push in."""
    if waiter is not None:
        lane.waiters.line.remove(waiter)
        lane.waiters.line.appendleft(waiter)


class HandsToTheNewest(Core):
    """Hand-off: before each hand-over the newest waiter is moved to the head of its queue."""

    __slots__ = ()

    def _hand_over(self, now: float) -> None:
        for lane in self.lanes.values():
            move_to_head(lane, next(reversed(lane.waiters), None))
        super()._hand_over(now)


class PassesOnToTheNewest(Core):
    """Hand-off, the short way of a saturated pool: what is returned goes to the end of the queue."""

    __slots__ = ()

    def pass_on(self, slot: Slot, now: float) -> Waiter | None:
        if self.saturated:
            move_to_head(slot.lane, next(reversed(slot.lane.waiters), None))
        return super().pass_on(slot, now)


class HandsOverWithoutLeavingTheQueue(Core):
    """Hand-off: whoever was served is left in the queue behind the others, to be served again."""

    __slots__ = ()

    def _grant(self, waiter: Waiter, slot: Slot, now: float) -> None:
        super()._grant(waiter, slot, now)
        waiter.lane.waiters.join(waiter)


class FreesThePlaceTooEarly(Core):
    """Open count: a place is free when the goodbye is said, not when the server has answered it."""

    __slots__ = ()

    def _close(self, slot: Slot, reason: str, now: float) -> None:
        was_open = slot.state is State.OPEN
        super()._close(slot, reason, now)
        if was_open:
            self.closing -= 1
            self._remove(slot)


class NeverFreesThePlace(Core):
    """Open count: the answer to a goodbye frees no place."""

    __slots__ = ()

    def farewelled(self, slot: Slot, now: float) -> Todo:
        return self.settle(now)


class KeepsThePlaceOfAFailedDial(Core):
    """Open count: a dial that failed is over but keeps its place in the lane's share."""

    __slots__ = ()

    def dial_failed(self, slot: Slot, error: BaseException | None, now: float) -> Todo:
        todo = super().dial_failed(slot, error, now)
        self.slots[slot] = None
        return todo


class DialsOneTooMany(Core):
    """Open count: the limit is compared with one less than is open."""

    __slots__ = ()

    def _grow(self, now: float) -> None:
        self.limit += 1
        super()._grow(now)
        self.limit -= 1


class FailsWithoutSettling(Core):
    """Wake-up on a failed connect: the place is freed, and nobody is dialed for or told."""

    __slots__ = ()

    def dial_failed(self, slot: Slot, error: BaseException | None, now: float) -> Todo:
        if slot.state is not State.GONE:
            self._dial_ended(slot)
            self._remove(slot)
        todo, self.todo = self.todo, []
        return todo


class RefusesNobody(Core):
    """Wake-up on a failed connect: waiters are never told that nothing can be reached."""

    __slots__ = ()

    def _refuse_all(self, why: Refusal, now: float) -> None:
        if why != "connect":
            super()._refuse_all(why, now)


class RefusesWithoutWaking(Core):
    """Wake-up on a failed connect: waiters are refused, but nobody wakes them."""

    __slots__ = ()

    def _failed(self, slot: Slot, error: BaseException, now: float) -> None:
        before = len(self.todo)
        super()._failed(slot, error, now)
        del self.todo[before:]


class ForgetsTheRetry(Core):
    """Wake-up on a failed connect: upkeep is not told that a dial waits for the end of the pause."""

    __slots__ = ()

    def _grow(self, now: float) -> None:
        before = self.replan
        super()._grow(now)
        if now < self.retry_at:
            self.replan = before and not self.failures


class LetsTheNewcomerBarge(Core):
    """Fairness: one who asks takes what was returned this moment, whoever waits."""

    __slots__ = ()

    def _enter(self, waiter: Waiter, now: float, *, again: bool) -> None:
        super()._enter(waiter, now, again=again)
        if waiter.queued:
            move_to_head(waiter.lane, waiter)


class StaysCalm(Core):
    """The lock-free pair: the calm does not end when somebody queues."""

    __slots__ = ()

    def _note_mood(self) -> None:
        super()._note_mood()
        self.calm = not self.closed


class ServesDeadLoops(Core):
    """Lanes: a waiter is given the connection of another loop."""

    __slots__ = ()

    def _pop(self, lane: Lane, now: float) -> Slot | None:
        for other in self.lanes.values():
            slot = super()._pop(other, now)
            if slot is not None:
                return slot
        return None


class LosesWhatIsOut(Core):
    """Liveness: a connection whose peer has gone is closed under its holder."""

    __slots__ = ()

    def lost(self, slot: Slot, now: float) -> Todo:
        if slot.held:
            self._close(slot, "lost", now)
        return super().lost(slot, now)


class KeepsWhatIsLost(Core):
    """Liveness: a connection that is idle when its peer goes stays on the shelf."""

    __slots__ = ()

    def lost(self, slot: Slot, now: float) -> Todo:
        return self.settle(now)


PLANTED: list[type[Core]] = [
    HandsToTheNewest,
    PassesOnToTheNewest,
    HandsOverWithoutLeavingTheQueue,
    FreesThePlaceTooEarly,
    NeverFreesThePlace,
    KeepsThePlaceOfAFailedDial,
    DialsOneTooMany,
    FailsWithoutSettling,
    RefusesNobody,
    RefusesWithoutWaking,
    ForgetsTheRetry,
    LetsTheNewcomerBarge,
    StaysCalm,
    ServesDeadLoops,
    LosesWhatIsOut,
    KeepsWhatIsLost,
]


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.__name__)
def test_the_model_finds_a_planted_bug(bug: type[Core]) -> None:
    class Buggy(PoolModel):
        core = bug

    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(
            Buggy,
            settings=settings(
                settings.get_profile("deterministic"),
                max_examples=400,
                stateful_step_count=50,
                phases=[Phase.generate],  # that it fails is enough, the shortest way to it is of no interest
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
