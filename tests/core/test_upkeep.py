"""What is due with time: expiry, keepalive, min_idle, long holds, and when upkeep comes again."""

from __future__ import annotations

from typing import Any

import pytest

from cenote._core import NEVER, State
from cenote._core.settle import Settling
from cenote._core.upkeep import BATCH, KEEPALIVE_STEPS
from cenote.options import Options
from tests.core.harness import JITTER, START, Face, RacedShelf


def test_nothing_is_due_in_an_empty_pool() -> None:
    face = Face()
    assert face.due() == NEVER
    face.tick()
    assert face.core.planned == NEVER


def test_upkeep_is_asked_for_when_there_is_something_to_look_after() -> None:
    face = Face()
    face.ask()
    assert face.upkeep_calls == 1
    assert face.core.planned == START + 6.0


def test_the_idle_for_too_long_are_closed_and_the_others_are_not() -> None:
    face = Face(max_idle_time=900, max_lifetime=None)
    old, young = face.acquire(), face.acquire()
    face.release(old)
    face.advance(500.0)
    face.release(young)
    face.tick()
    face.reach_plan()
    assert face.goodbyes == [old]
    assert face.idle() == [young]
    assert face.core.closed_for == {"max_idle_time": 1}
    assert face.due() == young.since + 900


def test_upkeep_closes_more_than_a_batch_at_once() -> None:
    face = Face(max_open=2 * BATCH, max_idle_time=900, max_connecting=BATCH)
    face.fill(BATCH + 3)
    face.advance(901.0)
    face.tick()
    assert face.idle() == []
    assert len(face.goodbyes) == BATCH + 3


def test_min_idle_stay_however_long_they_rest() -> None:
    face = Face(max_idle_time=900, max_lifetime=None, min_idle=2)
    face.fill(4)
    face.advance(5000.0)
    face.tick()
    assert len(face.idle()) == 2
    assert face.due() > face.now


def test_one_that_rested_too_long_is_not_given_out_either() -> None:
    face = Face(max_idle_time=900)
    [old] = face.fill(1)
    face.advance(901.0)
    caller = face.ask()
    assert caller.slot is None
    assert face.goodbyes == [old]


def test_one_of_min_idle_that_rested_too_long_is_given_out() -> None:
    face = Face(max_idle_time=900, min_idle=1, max_lifetime=None)
    face.ask()
    face.dialed()
    face.dialed()
    [idle] = face.idle()
    face.advance(901.0)
    assert face.ask().got is idle


def test_the_idle_of_an_age_are_closed_when_it_is_reached() -> None:
    face = Face(max_lifetime=100, max_idle_time=None, random=lambda: 0.0)
    [slot] = face.fill(1)
    assert slot.expires_at == START + 100
    face.tick()
    face.reach_plan()
    assert face.now == START + 100
    assert face.goodbyes == [slot]
    assert face.core.closed_for == {"max_lifetime": 1}


def test_those_born_together_do_not_die_together() -> None:
    numbers = iter([0.0, 0.5, 1.0])
    face = Face(max_lifetime=100, random=lambda: next(numbers))
    slots = face.fill(3)
    assert [round(slot.expires_at - START, 6) for slot in slots] == [100, 95, 90]


def test_one_in_use_may_grow_too_old() -> None:
    face = Face(max_lifetime=100, max_idle_time=None)
    slot = face.acquire()
    face.advance(200.0)
    face.tick()
    assert slot.state is State.OPEN
    assert face.due() > face.now


def test_the_list_of_ages_forgets_those_that_are_gone() -> None:
    face = Face(max_open=2, max_lifetime=3600)
    eldest = face.acquire()
    for _ in range(200):
        face.discard(face.acquire())
        face.farewelled()
    assert len(face.core.ages) < 70
    assert face.core.ages[0] == (eldest.expires_at, eldest.id, eldest)


def test_a_new_lifetime_counts_for_those_that_are_open() -> None:
    face = Face(max_lifetime=3600)
    idle, busy = face.acquire(), face.acquire()
    face.release(idle)
    face.tick()
    face.resize(max_lifetime=10)
    assert idle.expires_at == busy.expires_at == pytest.approx(START + 9.63)
    assert face.core.planned == idle.expires_at
    face.resize(max_lifetime=None)
    assert idle.expires_at == NEVER


def test_a_new_lifetime_counts_for_a_dial_when_it_succeeds() -> None:
    face = Face(max_lifetime=3600)
    face.ask()
    face.resize(max_lifetime=10)
    assert face.dials[0].expires_at == NEVER
    assert face.dialed().expires_at == pytest.approx(START + 9.63)


def test_the_same_lifetime_again_changes_no_age() -> None:
    numbers = iter([0.1, 0.9])
    face = Face(max_lifetime=3600, random=lambda: next(numbers))
    [slot] = face.fill(1)
    before = slot.expires_at
    face.resize(max_idle=5)
    assert slot.expires_at == before


def test_an_idle_connection_is_pinged_once_an_interval() -> None:
    face = Face(keepalive=30, max_idle_time=None, max_lifetime=None)
    [slot] = face.fill(1)
    face.advance(31.0)
    face.tick()
    assert face.pings == [slot]
    assert face.idle() == []
    assert face.stats().in_use == 1
    face.run(face.core.answered, slot, face.core.generation)
    assert face.idle() == [slot]
    assert slot.since == START, "a ping is no use: it is as cold as before"
    face.tick()
    assert face.pings == [slot]
    face.advance(31.0)
    face.tick()
    assert face.pings == [slot, slot]


def test_keepalive_looks_several_times_an_interval() -> None:
    face = Face(keepalive=32, max_idle_time=None, max_lifetime=None)
    face.fill(1)
    face.tick()
    assert face.due() == face.now + 32 / KEEPALIVE_STEPS


def test_one_that_answered_goes_below_the_warmer() -> None:
    face = Face(keepalive=30)
    cold, cool, warm = face.acquire(), face.acquire(), face.acquire()
    for slot in (cold, cool, warm):
        face.release(slot)
        face.advance(20.0)
    face.tick()
    assert face.pings == [cold, cool]
    face.run(face.core.answered, cool, 0)
    face.run(face.core.answered, cold, 0)
    assert face.idle() == [cold, cool, warm]


def test_one_that_answered_goes_to_a_waiter() -> None:
    face = Face(keepalive=30, max_open=1)
    [slot] = face.fill(1)
    face.advance(31.0)
    face.tick()
    caller = face.ask()
    face.run(face.core.answered, slot, 0)
    assert caller.got is slot


def test_one_that_answered_but_is_too_old_is_closed() -> None:
    face = Face(keepalive=30, max_lifetime=40, max_idle_time=None)
    [slot] = face.fill(1)
    face.advance(31.0)
    face.tick()
    face.advance(31.0)
    face.tick()
    face.run(face.core.answered, slot, 0)
    assert face.goodbyes == [slot]


def test_one_that_does_not_answer_is_closed_and_its_siblings_are_doubted() -> None:
    face = Face(keepalive=30)
    [slot] = face.fill(1)
    face.advance(31.0)
    face.tick()
    face.run(face.core.unanswered, slot)
    assert face.goodbyes == [slot]
    assert face.stats().dead_on_keepalive == 1
    assert face.core.generation == 1


@pytest.mark.parametrize("answer", ["answered", "unanswered"])
def test_an_answer_after_the_pool_was_cut_off_changes_nothing(answer: str) -> None:
    face = Face(keepalive=30)
    [slot] = face.fill(1)
    face.advance(31.0)
    face.tick()
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    face.run(getattr(face.core, answer), slot, *([0] if answer == "answered" else []))
    assert not face.core.slots
    assert face.idle() == []
    assert face.goodbyes == []


def test_a_shorter_keepalive_counts_at_once() -> None:
    face = Face(keepalive=3600, max_lifetime=None)
    [slot] = face.fill(1)
    face.tick()
    face.advance(20.0)
    face.resize(keepalive=10)
    assert face.core.planned <= face.now
    face.turn()
    assert face.pings == [slot]


def test_the_keepalive_that_is_found_out_is_half_the_servers_patience() -> None:
    face = Face(keepalive="auto", max_idle_time=None, max_lifetime=None)
    [slot] = face.fill(1)
    face.advance(31.0)
    face.turn()
    assert face.pings == [], "nothing is known yet"
    face.run(face.core.learn, 60.0)
    assert face.core.planned <= face.now
    face.turn()
    assert face.pings == [slot]


def test_a_server_that_waits_for_ever_needs_no_pings() -> None:
    face = Face(keepalive="auto", max_idle_time=None, max_lifetime=None)
    face.fill(1)
    face.run(face.core.learn, 0.0)
    assert face.due() == NEVER


def test_an_answer_that_comes_after_auto_was_changed_counts_when_it_is_asked_for_again() -> None:
    face = Face(keepalive="auto", max_idle_time=None, max_lifetime=None)
    [slot] = face.fill(1)
    face.resize(keepalive=3600)
    face.run(face.core.learn, 60.0)
    face.advance(31.0)
    face.turn()
    assert face.pings == []
    face.resize(keepalive="auto")
    face.turn()
    assert face.pings == [slot]


def test_min_idle_are_dialed_as_soon_as_anything_happens() -> None:
    face = Face(min_idle=3, max_connecting=10)
    face.lane()
    face.tick()
    assert len(face.dials) == 3
    for _ in range(3):
        face.dialed()
    assert len(face.idle()) == 3
    assert face.dials == []


def test_min_idle_are_refilled_beside_those_in_use_up_to_max_open() -> None:
    face = Face(min_idle=2, max_open=3)
    slots = [face.acquire() for _ in range(2)]
    while face.dials:
        face.dialed()
    assert face.stats().open_connections == 3
    face.discard(slots[0])
    assert face.dials == []
    face.farewelled()
    assert len(face.dials) == 1


def test_a_pool_nobody_has_used_under_any_loop_has_no_place_for_min_idle() -> None:
    face = Face(min_idle=3)
    face.tick()
    assert face.dials == []


def test_a_long_hold_is_told_once() -> None:
    face = Face(warn_held=10)
    slot = face.acquire()
    face.advance(11.0)
    face.tick()
    face.tick()
    assert face.long == [slot]
    face.release(slot)
    face.tick()
    face.acquire()
    face.advance(11.0)
    face.tick()
    assert face.long == [slot, slot]


def test_upkeep_comes_in_time_for_a_long_hold() -> None:
    face = Face(warn_held=10)
    face.acquire()
    face.tick()
    assert face.due() == face.now + 5


def test_upkeep_is_planned_no_earlier_without_a_reason() -> None:
    face = Face(max_idle_time=900, max_lifetime=None)
    face.fill(2)
    face.tick()
    calls = face.upkeep_calls
    for _ in range(3):
        face.advance(1.0)
        slots = [face.acquire(), face.acquire()]
        face.release(*slots)
    face.discard(face.acquire())
    face.farewelled()
    assert face.upkeep_calls == calls
    face.acquire()
    face.ask()
    assert face.upkeep_calls == calls + 1, "for the dial, which might not end"


@pytest.mark.parametrize(
    "options",
    [
        {"max_idle_time": 900, "max_lifetime": None},
        {"max_lifetime": 800},
        {"keepalive": 700, "max_lifetime": None},
    ],
    ids=["idle", "old", "keepalive"],
)
def test_one_taken_in_the_moment_it_is_due_is_left_to_its_taker(options: dict[str, Any]) -> None:
    face = Face(**options)
    slots = face.fill(3)
    face.lane().idle = RacedShelf(face.lane().idle)
    face.advance(901.0)
    face.tick()
    assert face.goodbyes == face.pings == []
    assert [slot.state for slot in slots] == [State.OPEN] * 3


def test_what_is_due_is_for_the_room_above_to_say() -> None:
    with pytest.raises(NotImplementedError):
        Settling(Options.of(), random=lambda: JITTER, eventful=False).due(START)
