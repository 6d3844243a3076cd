"""Dials: how many at once, what happens when they fail, are cancelled or do not end."""

from __future__ import annotations

import pytest

from cenote._core import State
from tests.core.harness import Face


def test_each_waiter_has_a_dial_until_the_limit_of_dials() -> None:
    face = Face(max_open=10, max_connecting=2)
    for _ in range(4):
        face.ask()
    assert len(face.dials) == 2
    face.dialed()
    assert len(face.dials) == 2


def test_each_waiter_has_a_dial_until_the_limit_of_connections() -> None:
    face = Face(max_open=2, max_connecting=4)
    for _ in range(4):
        face.ask()
    assert len(face.dials) == 2
    assert face.stats().open_connections == 2


def test_a_pool_without_limit_dials_for_everybody() -> None:
    face = Face(max_open=None, max_connecting=100)
    callers = [face.ask() for _ in range(50)]
    while face.dials:
        face.dialed()
    assert all(caller.slot for caller in callers)
    face.release(*[face.lend(caller) for caller in callers])
    assert len(face.idle()) == 50


def test_a_waiter_takes_whichever_comes_first() -> None:
    face = Face(max_open=2)
    slot = face.acquire()
    caller = face.ask()
    face.release(slot)
    assert caller.got is slot
    dialed = face.dialed()
    assert face.idle() == [dialed], "the dial goes to the pool"


def test_what_was_dialed_is_fresh_for_the_one_it_was_dialed_for() -> None:
    face = Face()
    caller = face.ask()
    face.dialed()
    assert caller.fresh
    assert not face.core.needs_ping(caller.got)


def test_a_place_is_free_again_when_its_dial_fails() -> None:
    face = Face(max_open=1)
    caller = face.ask()
    failed = face.dial_failed()
    assert failed.state is State.GONE
    assert not face.core.slots
    assert (caller.slot, caller.refusal) == (None, None)


def test_after_a_failure_the_next_dial_waits_for_the_pause() -> None:
    face = Face()
    caller = face.ask()
    face.dial_failed()
    assert face.dials == []
    assert face.core.planned == face.core.retry_at > face.now
    face.reach_plan()
    face.dialed()
    assert caller.slot is not None


def test_upkeep_that_comes_late_still_retries() -> None:
    face = Face()
    face.ask()
    face.dial_failed()
    face.advance(60.0)
    assert face.due() <= face.now
    face.tick()
    assert len(face.dials) == 1


def test_a_caller_that_comes_in_the_pause_is_not_forgotten() -> None:
    face = Face()
    cancelled = face.ask()
    face.run(face.core.abandon, cancelled, timed_out=False)
    face.dial_failed()
    assert face.core.planned > face.core.retry_at
    face.ask()
    assert face.dials == []
    assert face.core.planned == face.core.retry_at


def test_a_place_that_gets_free_in_the_pause_is_not_forgotten() -> None:
    face = Face(max_open=2)
    leaving = face.acquire()
    face.ask()
    face.discard(leaving)
    face.dial_failed()
    face.farewelled()
    assert face.dials == []
    assert face.core.planned == face.core.retry_at


def test_a_late_end_of_an_overdue_dial_in_the_pause_is_not_forgotten() -> None:
    face = Face(max_open=1, connect_timeout=100)
    face.acquire()
    overdue = face.ask()
    face.run(face.core.abandon, overdue, timed_out=False)
    face.resize(max_open=2, min_idle=1)
    face.advance(101.0)
    face.tick()
    face.dial_failed()
    assert face.dials == []
    assert face.core.planned == face.core.retry_at


def test_a_dial_for_min_idle_is_tried_again_too() -> None:
    face = Face(max_open=2, min_idle=1)
    face.acquire()
    face.dial_failed()
    assert face.dials == []
    face.reach_plan()
    assert face.idle() == []
    assert len(face.dials) == 1


def test_while_dials_fail_only_one_is_under_way() -> None:
    face = Face(max_connecting=2)
    for _ in range(3):
        face.ask()
    for _ in range(2):
        face.dial_failed()
    face.reach_plan()
    assert len(face.dials) == 1
    face.dialed()
    assert len(face.dials) == 2, "it works again: as many as are wanted"


def test_pauses_grow_to_a_limit_and_vanish_with_success() -> None:
    face = Face(random=lambda: 0.0)
    pauses = []
    for _ in range(70):
        face.now = max(face.now, face.core.retry_at)
        if not face.queue():
            face.ask()
        if not face.dials:
            face.tick()
        face.dial_failed()
        pauses.append(round(face.core.retry_at - face.now, 6))
    assert pauses[:5] == [0.05, 0.1, 0.2, 0.3, 0.3]
    assert pauses[-1] == 0.3
    face.ask()
    face.now = face.core.retry_at
    face.tick()
    face.dialed()
    assert (face.core.failures, face.core.retry_at, face.core.last_error) == (0, 0.0, None)


def test_a_passing_failure_is_not_told() -> None:
    face = Face()
    caller = face.ask()
    face.fail_dials(2)
    assert caller.refusal is None


def test_after_three_failures_the_waiters_are_told_why() -> None:
    face = Face()
    callers = [face.ask(), face.ask()]
    face.dial_failed()
    face.dial_failed()
    error = ConnectionRefusedError("port 5432")
    face.reach_plan()
    face.dial_failed(error=error)
    assert [(one.refusal, one.cause, one.woken) for one in callers] == [("connect", error, 1)] * 2
    assert face.core.calm


def test_after_a_second_of_failures_the_waiters_are_told() -> None:
    face = Face()
    caller = face.ask()
    face.advance(1.0)
    face.dial_failed()
    assert caller.refusal == "connect"


def test_while_another_could_come_back_the_waiters_go_on_waiting() -> None:
    face = Face(max_open=2)
    slot = face.acquire()
    caller = face.ask()
    face.fail_dials(5)
    assert caller.refusal is None
    face.release(slot)
    assert caller.got is slot


def test_a_cancelled_dial_is_no_failure_and_the_next_begins_at_once() -> None:
    face = Face()
    face.ask()
    face.dial_cancelled()
    assert face.stats().connect_errors == 0
    assert len(face.dials) == 1


def test_a_dial_that_does_not_end_keeps_its_place_and_lets_others_try() -> None:
    face = Face(max_open=2, max_connecting=1, connect_timeout=5)
    face.ask()
    face.ask()
    [stuck] = face.dials
    face.reach_plan()
    assert stuck.overdue
    assert stuck in face.core.slots
    assert face.stats().connect_errors == 1
    face.ask()
    face.reach_plan()
    assert len(face.dials) == 2
    assert face.stats().connecting == 2


def test_upkeep_that_is_in_time_finds_the_overdue_dial() -> None:
    # 1000.1 + 6 - 1000.1 is a little less than 6, so the comparison has to be the one of the plan.
    face = Face(connect_timeout=5)
    face.ask()
    face.reach_plan()
    assert face.dials[0].overdue
    assert face.due() > face.now


def test_waiters_are_told_when_all_dials_are_overdue() -> None:
    face = Face(max_open=2, connect_timeout=5)
    callers = [face.ask(), face.ask()]
    face.reach_plan()
    assert [caller.refusal for caller in callers] == ["connect", "connect"]
    assert isinstance(callers[0].cause, TimeoutError)


def test_an_overdue_dial_that_succeeds_is_welcome() -> None:
    face = Face(max_open=1, connect_timeout=5)
    face.ask()
    face.reach_plan()
    late = face.ask()
    face.dialed()
    assert late.slot is not None
    assert face.core.overdue == 0


def test_an_overdue_dial_that_fails_is_counted_once() -> None:
    face = Face(max_open=1, connect_timeout=5)
    face.ask()
    face.reach_plan()
    face.ask()
    face.dial_failed()
    assert face.stats().connect_errors == 1
    assert face.core.overdue == 0
    face.reach_plan()
    assert len(face.dials) == 1


@pytest.mark.parametrize("end", ["dialed", "dial_failed"])
def test_a_dial_that_ends_after_it_was_cut_off_changes_nothing(end: str) -> None:
    face = Face()
    face.ask()
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    slot = getattr(face, end)()
    assert not face.core.slots
    assert face.goodbyes == ([slot] if end == "dialed" else [])
    if face.goodbyes:
        face.farewelled()
    assert face.stats().closing == 0
