"""Who gets what comes back, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.harness import Caller, Face


def full(*, eventful: bool = False, **options: Any) -> Face:
    """Give a pool whose only connection is in use; with events it never takes its short ways."""
    return Face(max_open=1, eventful=eventful, **options)


either_way = pytest.mark.parametrize("eventful", [False, True], ids=["short ways", "long ways"])


@either_way
def test_a_returned_connection_goes_to_the_oldest_waiter(eventful: bool) -> None:
    face = full(eventful=eventful)
    slot = face.acquire()
    callers = [face.ask() for _ in range(3)]
    for nth, caller in enumerate(callers):
        face.release(slot)
        assert [one.woken for one in callers] == [1] * (nth + 1) + [0] * (2 - nth)
        assert face.lend(caller) is slot
    assert face.queue() == []
    assert face.core.calm
    face.release(slot)
    assert face.core.calm


@either_way
def test_whoever_asks_while_others_wait_joins_the_end(eventful: bool) -> None:
    face = full(eventful=eventful)
    slot = face.acquire()
    first = face.ask()
    face.release(slot)
    second = face.ask()
    assert first.got is slot
    assert second.slot is None
    assert face.queue() == [second]


@either_way
def test_a_waiter_that_no_longer_wants_it_is_passed_over(eventful: bool) -> None:
    face = full(eventful=eventful)
    slot = face.acquire()
    cancelled, patient = face.ask(), face.ask()
    cancelled.willing = False
    face.release(slot)
    assert patient.got is slot
    assert (cancelled.slot, cancelled.woken) == (None, 0)


@either_way
def test_when_nobody_wants_it_any_more_it_goes_to_the_idle_ones(eventful: bool) -> None:
    face = full(eventful=eventful)
    slot = face.acquire()
    face.ask().willing = False
    face.release(slot)
    assert face.idle() == [slot]
    assert face.core.calm


@either_way
def test_one_that_gives_up_leaves_the_queue_at_once(eventful: bool) -> None:
    face = full(eventful=eventful)
    slot = face.acquire()
    callers = [face.ask() for _ in range(3)]
    face.run(face.core.abandon, callers[1], timed_out=True)
    assert face.queue() == [callers[0], callers[2]]
    assert face.stats().timeout_count == 1
    face.run(face.core.abandon, callers[0], timed_out=False)
    face.release(slot)
    assert callers[2].got is slot
    assert face.stats().timeout_count == 1


def test_one_that_timed_out_keeps_what_it_was_given_in_the_last_moment() -> None:
    face = full()
    slot = face.acquire()
    caller = face.ask()
    face.release(slot)
    face.run(face.core.abandon, caller, timed_out=True)
    assert caller.got is slot
    assert face.stats().timeout_count == 0


def test_nobody_is_served_twice_when_one_was_cancelled_before_many_who_left() -> None:
    face = full()
    slot = face.acquire()
    cancelled, patient, *leavers = [face.ask() for _ in range(4)]
    for leaver in leavers:
        face.run(face.core.abandon, leaver, timed_out=True)
    cancelled.willing = False  # its turn makes the line anew, without those who left
    face.release(slot)
    assert patient.got is slot
    assert face.queue() == []
    assert face.core.queued == 0
    face.release(slot)
    assert face.idle() == [slot]


def test_what_a_cancelled_one_was_given_goes_to_the_next() -> None:
    face = full()
    slot = face.acquire()
    cancelled, patient = face.ask(), face.ask()
    face.release(slot)
    face.run(face.core.abandon, cancelled, timed_out=False)
    assert cancelled.slot is None
    assert patient.got is slot
    assert not patient.fresh, "nobody has looked at it"


def test_what_a_cancelled_one_was_given_stays_as_cold_as_it_was() -> None:
    # Else the next caller would skip the ping that a long rest asks for.
    face = full(ping_after=60)
    [cold] = face.fill(1)
    face.advance(70.0)
    cancelled = face.ask()
    assert face.core.needs_ping(cancelled.got)
    face.run(face.core.abandon, cancelled, timed_out=False)
    assert face.core.take(face.lane(), face.now) is None
    assert face.core.needs_ping(face.ask().got)
    assert cold.since == face.now


def test_what_a_cancelled_one_had_of_a_closed_pool_is_gone() -> None:
    face = full()
    slot = face.acquire()
    caller = face.ask()
    face.release(slot)
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    face.run(face.core.abandon, caller, timed_out=False)
    assert not face.core.slots
    assert face.idle() == []


def test_a_connection_passed_on_was_not_resting() -> None:
    # Else each hand-over of a pool that is busy after a quiet night would cost a round trip.
    face = full(ping_after=60)
    face.fill(1)
    face.advance(70.0)
    slot = face.lend(face.ask())
    caller = face.ask()
    face.advance(1.0)
    face.release(slot)
    assert caller.got is slot
    assert not face.core.needs_ping(slot)


@either_way
@pytest.mark.parametrize(("held", "fresh"), [(0.001, True), (0.02, False)])
def test_only_after_a_short_hold_is_the_next_spared_a_look(eventful: bool, held: float, fresh: bool) -> None:
    face = full(eventful=eventful)
    slot = face.acquire()
    caller = face.ask()
    face.advance(held)
    face.release(slot)
    assert caller.got is slot
    assert caller.fresh is fresh


def test_a_connection_that_is_too_old_is_not_passed_on() -> None:
    face = full(max_lifetime=100)
    slot = face.acquire()
    caller = face.ask()
    face.advance(99.0)
    face.release(slot)
    assert caller.slot is None
    face.farewelled(slot)
    assert face.dialed() is caller.slot


def test_nothing_is_passed_on_while_a_dropped_lease_waits_to_be_reclaimed() -> None:
    face = Face(max_open=2)
    kept, lost = face.acquire(), face.acquire()
    caller = face.ask()
    face.core.drop(lost)
    face.release(kept)
    assert caller.got is kept
    assert face.leaks == [lost]


def test_a_full_queue_refuses_at_once() -> None:
    face = full(max_waiting=1)
    face.acquire()
    face.ask()
    refused = face.ask()
    assert refused.refusal == "full"
    assert refused.woken == 0
    assert face.stats().rejected_count == 1


def test_callers_that_free_places_will_serve_do_not_fill_the_queue() -> None:
    face = Face(max_open=2, max_waiting=0)
    callers = [face.ask(), face.ask()]
    assert [caller.refusal for caller in callers] == [None, None]
    assert face.ask().refusal == "full"


def test_reject_refuses_when_all_are_in_use_and_only_then() -> None:
    face = full(on_full="reject")
    slot = face.acquire()
    assert face.ask().refusal == "full"
    face.discard(slot)
    assert face.ask().refusal is None, "the place is about to be free"


def test_a_dial_that_is_overdue_counts_as_one_in_use_for_the_queue() -> None:
    face = full(on_full="reject", connect_timeout=1)
    face.ask()
    face.advance(2.0)
    face.tick()
    assert face.ask().refusal == "full"


def test_overflow_dials_beyond_max_open_and_closes_what_is_surplus() -> None:
    face = Face(max_open=1, on_full="overflow", max_overflow=1)
    slots = [face.acquire(), face.acquire()]
    assert face.stats().overflow_open == 1
    third = face.ask()
    assert third.slot is None
    assert face.dials == []
    face.release(slots[0])
    face.release(slots[1])
    assert third.got is slots[0]
    assert face.goodbyes == [slots[1]]
    assert face.stats().overflow_open == 0


def test_a_dead_one_sends_its_caller_back_ahead_of_all_others() -> None:
    face = full()
    slot = face.acquire()
    unlucky, other = face.ask(), face.ask()
    face.release(slot)
    face.run(face.core.bury, unlucky)
    assert face.queue() == [unlucky, other]


def test_of_two_that_are_sent_back_the_older_goes_first() -> None:
    face = Face(max_open=2)
    slots = [face.acquire(), face.acquire()]
    older, younger, last = (face.ask() for _ in range(3))
    face.release(*slots)
    face.run(face.core.bury, older)
    face.run(face.core.bury, younger)
    assert face.queue() == [older, younger, last]


def test_a_hit_found_dead_goes_ahead_of_all_who_queued() -> None:
    face = Face(max_open=2)
    face.fill(2)
    unlucky = face.ask(suspicious=True)
    face.acquire()
    waiting = face.ask()
    face.run(face.core.bury, unlucky)
    assert face.queue() == [unlucky, waiting]


def test_leaving_a_queue_of_many_looks_at_nobody_else() -> None:
    class Counting(Caller):
        looks = 0
        is_queued = False

        @property
        def queued(self) -> bool:  # an attribute whose readers are counted
            Counting.looks += 1
            return self.is_queued

        @queued.setter
        def queued(self, value: bool) -> None:
            self.is_queued = value

    face = full()
    face.acquire()
    callers = [Counting(face.lane(), str(nth), frozenset(), None, face.now) for nth in range(1000)]
    for caller in callers:
        face.run(face.core.request, caller)
    Counting.looks = 0
    face.run(face.core.abandon, callers[500], timed_out=True)
    assert 0 < Counting.looks < 10
    assert len(face.queue()) == 999
