"""`shut`, `cut_off` and `forget`: how a pool ends, at once or with its loop."""

from __future__ import annotations

import pytest

from cenote._core import State
from tests.core.harness import Face


def test_idle_ones_are_closed_at_once_and_leases_when_they_come_back() -> None:
    face = Face()
    idle, busy = face.acquire(), face.acquire()
    face.release(idle)
    ender = face.caller()
    face.run(face.core.shut, ender)
    assert face.goodbyes == [idle]
    face.release(busy)
    assert face.goodbyes == [idle, busy]
    assert ender.woken == 0
    face.farewelled()
    face.farewelled()
    assert ender.woken == 1
    assert not face.core.slots


def test_all_waiters_are_refused_and_so_is_whoever_comes() -> None:
    face = Face(max_open=1)
    face.acquire()
    waiters = [face.ask(), face.ask()]
    face.run(face.core.shut, None)
    assert [(one.refusal, one.woken) for one in waiters] == [("closed", 1)] * 2
    late = face.ask()
    assert (late.refusal, late.woken) == ("closed", 0)


def test_an_empty_pool_is_closed_at_once() -> None:
    face = Face()
    ender = face.caller()
    face.run(face.core.shut, ender)
    face.run(face.core.cut_off)
    assert ender.woken == 1


def test_closing_twice_wakes_both() -> None:
    face = Face()
    slot = face.acquire()
    enders = [face.caller(), face.caller()]
    for ender in enders:
        face.run(face.core.shut, ender)
    face.release(slot)
    face.farewelled()
    assert [ender.woken for ender in enders] == [1, 1]


def test_a_dial_that_ends_after_closing_is_closed() -> None:
    face = Face()
    face.ask()
    face.run(face.core.shut, None)
    slot = face.dialed()
    assert face.goodbyes == [slot]
    assert slot.state is State.CLOSING


def test_a_dial_that_fails_after_closing_is_not_tried_again() -> None:
    face = Face()
    face.ask()
    face.run(face.core.shut, None)
    face.dial_failed()
    assert face.dials == []
    assert not face.core.slots


def test_nothing_is_due_in_a_closed_pool() -> None:
    face = Face(keepalive=10, warn_held=10)
    face.acquire()
    face.resize(min_idle=2)
    face.dialed()
    face.dialed()
    face.run(face.core.shut, None)
    assert face.due() == float("inf")
    face.tick()
    assert face.dials == []


def test_a_lease_dropped_after_closing_is_still_reclaimed() -> None:
    face = Face()
    slot = face.acquire()
    face.run(face.core.shut, None)
    face.core.drop(slot)
    assert face.due() == face.now
    face.tick()
    assert face.leaks == face.goodbyes == [slot]


def test_cutting_off_forgets_every_slot_in_whatever_state() -> None:
    face = Face(max_open=6, max_connecting=6, connect_timeout=1)
    busy, leaving = face.acquire(), face.acquire()
    face.ask()
    face.advance(2.5)
    face.tick()
    face.ask()
    face.discard(leaving)
    ender = face.caller()
    face.run(face.core.shut, ender)
    assert {slot.state for slot in face.core.slots} == {State.OPEN, State.CLOSING, State.CONNECTING}
    assert face.core.overdue == 1
    face.run(face.core.cut_off)
    assert not face.core.slots
    assert (face.core.closing, face.core.overdue, len(face.core.connecting)) == (0, 0, 0)
    assert face.cuts == [busy]
    assert ender.woken == 1
    stats = face.stats()
    assert (stats.open_connections, stats.in_use, stats.closing) == (0, 0, 0)


def test_what_was_cut_off_in_use_was_still_an_acquire() -> None:
    face = Face()
    face.acquire()
    before = face.stats().acquire_count
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    assert face.stats().acquire_count == before == 1


@pytest.mark.parametrize("end", ["release", "discard"])
def test_a_lease_that_comes_back_after_the_cut_is_only_closed(end: str) -> None:
    face = Face()
    slot = face.acquire()
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    getattr(face, end)(slot)
    assert face.goodbyes == [slot]
    face.farewelled()
    assert face.stats().acquire_count == 1
    assert face.stats().closing == 0


def test_a_goodbye_answered_after_the_cut_changes_nothing() -> None:
    face = Face()
    slot = face.acquire()
    face.discard(slot)
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    face.farewelled()
    assert face.core.closing == 0


def test_a_closed_loop_takes_its_connections_and_waiters_with_it() -> None:
    face = Face(max_open=3)
    idle, busy = face.acquire("old"), face.acquire("old")
    face.release(idle)
    face.acquire("old")
    face.ask("old")
    face.ask("old")
    face.run(face.core.forget, "old")
    assert face.queue("new") == []
    assert not face.core.slots
    assert face.core.queued == 0
    assert busy in face.cuts
    assert face.core.calm


def test_a_closed_loop_frees_its_places_for_the_others() -> None:
    face = Face(max_open=1)
    face.acquire("old")
    caller = face.ask("new")
    face.run(face.core.forget, "old")
    face.dialed()
    assert caller.got.lane.affinity == "new"


@pytest.mark.parametrize("end", ["release", "discard"])
def test_a_lease_of_a_closed_loop_is_nobodys_to_close(end: str) -> None:
    face = Face()
    slot = face.acquire("old")
    face.run(face.core.forget, "old")
    getattr(face, end)(slot)
    assert face.goodbyes == []
    assert face.idle("old") == []


def test_a_goodbye_under_way_in_a_closed_loop_is_cut_since_nobody_is_left_to_end_it() -> None:
    face = Face()
    slot = face.acquire("old")
    face.discard(slot)
    face.run(face.core.forget, "old")
    assert face.cuts == [slot]
    assert face.stats().closing == 0
