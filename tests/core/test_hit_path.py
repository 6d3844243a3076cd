"""`take` and `put`: an idle connection is there, nothing needs a thought, and nothing is locked."""

from __future__ import annotations

import pytest

from cenote._core import Lane, Slot
from tests.core.harness import Anyone, Face


def test_the_warmest_connection_is_taken_first() -> None:
    face = Face()
    first, second = face.fill(2)
    lane = face.lane()
    assert face.core.take(lane, face.now) is second
    assert face.core.take(lane, face.now) is first
    assert face.core.take(lane, face.now) is None


def test_a_hit_leaves_nothing_to_do() -> None:
    face = Face(eventful=True)
    face.fill(1)
    before = (list(face.events), face.core.todo)
    face.advance(1.0)
    face.release(face.acquire())
    assert (face.events, face.core.todo) == before
    assert face.core.calm


def test_a_hit_and_its_return_each_begin_a_new_time() -> None:
    face = Face()
    [slot] = face.fill(1)
    face.advance(2.0)
    taken_at = face.now
    face.core.take(face.lane(), face.now)
    assert slot.since == taken_at
    face.advance(2.0)
    assert face.core.put(slot, face.now) is True
    assert slot.since == face.now
    assert face.idle() == [slot]


def test_one_that_is_too_old_is_left_to_request_which_replaces_it() -> None:
    face = Face(max_lifetime=100)
    [old] = face.fill(1)
    face.advance(99.0)
    assert face.core.take(face.lane(), face.now) is None
    caller = face.ask()
    assert face.goodbyes == [old]
    assert face.core.closed_for == {"max_lifetime": 1}
    assert caller.slot is None
    assert len(face.dials) == 1


def test_one_that_rested_for_long_is_left_to_request_which_asks_for_a_ping() -> None:
    face = Face(ping_after=60)
    [cold] = face.fill(1)
    face.advance(60.5)
    assert face.core.take(face.lane(), face.now) is None
    caller = face.ask()
    assert caller.got is cold
    assert face.core.needs_ping(cold)


def test_one_that_rested_less_is_taken_without_a_ping() -> None:
    face = Face(ping_after=60)
    [slot] = face.fill(1)
    face.advance(59.0)
    assert face.core.take(face.lane(), face.now) is slot
    assert not face.core.needs_ping(slot)


def test_without_ping_after_only_a_raised_generation_asks_for_a_ping() -> None:
    face = Face(ping_after=None, max_idle_time=None, max_lifetime=None)
    face.fill(1)
    face.advance(1e9)
    assert face.core.take(face.lane(), face.now) is not None


def test_one_of_an_older_generation_is_left_to_request() -> None:
    face = Face()
    dead, sibling = face.acquire(), face.acquire()
    face.release(sibling)
    face.discard(dead, lost=True)
    assert face.core.take(face.lane(), face.now) is None
    assert face.idle() == [sibling]
    caller = face.ask()
    assert caller.got is sibling
    assert face.core.needs_ping(sibling)


def test_a_shelf_that_another_thread_emptied_meanwhile_is_no_hit() -> None:
    class Emptied(dict[Slot, Slot]):
        def popitem(self) -> tuple[Slot, Slot]:
            self.clear()
            return super().popitem()

    face = Face()
    face.fill(1)
    lane = face.lane()
    lane.idle = Emptied(lane.idle)
    assert face.core.take(lane, face.now) is None


def test_one_too_old_is_not_put_back_but_closed() -> None:
    face = Face(max_lifetime=100)
    slot = face.acquire()
    face.advance(99.0)
    assert face.core.put(slot, face.now) is False
    face.release(slot)
    assert face.goodbyes == [slot]
    assert face.core.closed_for == {"max_lifetime": 1}


def test_one_that_upkeep_passed_over_while_in_use_is_closed_on_release() -> None:
    # Once upkeep has seen the age of a connection in use it has no reason to come back for it.
    face = Face(max_lifetime=100, max_idle_time=None)
    slot = face.acquire()
    face.advance(99.0)
    face.tick()
    face.release(slot)
    assert face.goodbyes == [slot]


def test_without_calm_nothing_is_taken_or_put() -> None:
    face = Face(max_open=1)
    slot = face.acquire()
    face.ask()
    assert not face.core.calm
    assert face.core.put(slot, face.now) is False


@pytest.mark.parametrize(("held", "timed"), [(1e-5, 0), (1e-4, 1)])
def test_only_holds_that_can_be_a_round_trip_are_timed(held: float, timed: int) -> None:
    face = Face()
    face.fill(1)
    count = face.core.hold_time.count
    slot = face.acquire()
    face.advance(held)
    face.release(slot)
    assert face.core.hold_time.count == count + timed


def test_a_popped_slot_that_was_cut_off_cannot_come_back() -> None:
    face = Face()
    slot = face.acquire()
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    assert face.core.put(slot, face.now) is False
    face.release(slot)
    assert face.cuts == [slot]
    assert face.goodbyes == [slot], "cut off is not closed"
    assert not face.core.slots


def test_a_waiter_by_itself_neither_refuses_nor_waits() -> None:
    waiter = Anyone(Lane(None))
    assert waiter.accepts()
    waiter.wake()
    with pytest.raises(NotImplementedError):
        waiter.wait()
