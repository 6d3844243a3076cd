"""Several pools under one budget: who gets the places, and whose idle connections make room."""

from __future__ import annotations

from typing import Any

import pytest

from cenote._core import NEVER, Budget, State
from tests.core.harness import Caller, Face, RacedShelf


class Group:
    """Pools, each with a face and a clock of its own, under one limit."""

    def __init__(self, limit: int, *names: str, **options: Any) -> None:
        self.budget = Budget(limit)
        self.faces = {name: Face(budget=self.budget, **options) for name in names}

    def __getitem__(self, name: str) -> Face:
        return self.faces[name]

    def advance(self, seconds: float) -> None:
        """Let time pass for all."""
        for face in self.faces.values():
            face.advance(seconds)

    def leave_idle(self, name: str, count: int) -> None:
        """Have a pool open connections and give them back, a second apart."""
        face = self[name]
        slots = [face.acquire() for _ in range(count)]
        for slot in slots:
            face.release(slot)
            self.advance(1)


def queue(face: Face, count: int = 1) -> list[Caller]:
    """Let callers ask, a second apart."""
    callers = []
    for _ in range(count):
        callers.append(face.ask())
        face.advance(1)
    return callers


# ── places ───────────────────────────────────────────────────────────────────────────────────────


def test_no_more_is_dialed_than_the_group_allows() -> None:
    group = Group(3, "a", "b")
    queue(group["a"], 2)
    queue(group["b"], 2)
    assert (len(group["a"].dials), len(group["b"].dials)) == (2, 1)
    assert group.budget.taken == 3


def test_a_pool_keeps_to_its_own_limit_too() -> None:
    group = Group(10, "a", "b", max_open=2)
    queue(group["a"], 5)
    assert len(group["a"].dials) == 2
    assert not group.budget.short


def test_a_freed_place_goes_to_the_pool_whose_caller_has_waited_longest() -> None:
    group = Group(1, "a", "b", "c")
    slot = group["a"].acquire()
    for name in ("c", "b"):
        queue(group[name])
        group.advance(1)
    group["a"].discard(slot)
    group["a"].farewelled()
    assert len(group["c"].dials) == 1
    assert not group["b"].dials


def test_a_freed_place_is_not_taken_by_those_who_ask_later_in_the_pool_that_freed_it() -> None:
    group = Group(2, "a", "b")
    a, b = group["a"], group["b"]
    held = [a.acquire(), a.acquire()]
    group.advance(1)
    queue(b)
    group.advance(1)
    queue(a)
    a.discard(held[0])
    a.farewelled()
    assert len(b.dials) == 1
    assert not a.dials


def test_all_places_that_are_freed_at_once_are_given_out_at_once() -> None:
    group = Group(4, "a", "b", "c", max_connecting=4)
    for _ in range(4):
        group["a"].acquire()
    queue(group["b"], 3)
    queue(group["c"], 3)
    group["a"].run(group["a"].core.shut, None)
    group["a"].run(group["a"].core.cut_off)
    assert len(group["b"].dials) + len(group["c"].dials) == 4


def test_a_waiter_who_leaves_lets_go_of_its_claim() -> None:
    group = Group(1, "a", "b", "c")
    slot = group["a"].acquire()
    (first,) = queue(group["b"])
    group.advance(1)
    queue(group["c"])
    group["b"].run(group["b"].core.abandon, first, timed_out=True)
    group["a"].discard(slot)
    group["a"].farewelled()
    assert len(group["c"].dials) == 1


def test_a_pool_whose_server_is_down_lacks_no_place_while_it_pauses() -> None:
    group = Group(1, "a", "b", "c")
    a, b, c = group["a"], group["b"], group["c"]
    for face in (a, b, c):
        face.ask()
    a.dial_failed()
    assert list(group.budget.short) == [c.core]
    assert len(b.dials) == 1
    a.reach_plan()  # its pause is over, and there is no place: from now on it waits for one, not for a time
    assert list(group.budget.short) == [c.core, a.core]
    assert a.due() > a.now


def test_one_whose_clock_was_read_a_moment_before_does_not_dial_too_early() -> None:
    group = Group(1, "a", "b")
    a, b = group["a"], group["b"]
    a.ask()
    a.dial_failed()
    slot = b.acquire()
    a.reach_plan()
    assert list(group.budget.short) == [a.core]
    b.now = a.core.retry_at - 0.001
    b.discard(slot)
    b.farewelled()
    assert not a.dials
    a.reach_plan()
    assert len(a.dials) == 1


# ── idle connections of others ───────────────────────────────────────────────────────────────────


def test_the_coldest_idle_connection_of_all_makes_room() -> None:
    group = Group(4, "a", "b", "c")
    group.leave_idle("a", 2)
    group.leave_idle("b", 2)
    (caller,) = queue(group["c"])
    (goodbye,) = group["a"].goodbyes
    assert goodbye.id == 1
    assert not group["b"].goodbyes
    group["a"].farewelled()
    group["c"].dialed()
    assert caller.outcome == "served"
    assert group["a"].stats().max_idle_closed == 0  # it was not its own limit


def test_no_more_is_closed_than_is_lacking_and_not_on_its_way_out_already() -> None:
    group = Group(4, "a", "b", max_connecting=4)
    group.leave_idle("a", 4)
    queue(group["b"])
    queue(group["b"])
    assert len(group["a"].goodbyes) == 2
    group["a"].farewelled()
    assert len(group["a"].goodbyes) == 1


def test_a_connection_that_is_given_back_makes_room_if_nobody_of_its_own_waits() -> None:
    group = Group(1, "a", "b")
    slot = group["a"].acquire()
    (caller,) = queue(group["b"])
    group["a"].release(slot)
    group["a"].farewelled()
    group["b"].dialed()
    assert caller.outcome == "served"
    assert not group.budget.tight


def test_a_connection_taken_in_the_last_moment_is_not_closed() -> None:
    group = Group(1, "a", "b")
    group.leave_idle("a", 1)
    lane = group["a"].lane()
    lane.idle = RacedShelf(lane.idle)
    queue(group["b"])
    assert not group["a"].goodbyes


def test_nobody_is_calm_while_somebody_lacks_a_place_and_all_are_again_afterwards() -> None:
    group = Group(2, "a", "b")
    held = [group["a"].acquire(), group["a"].acquire()]
    queue(group["b"])
    moods = [group["a"].core.calm]
    group["a"].release(held[0])
    group["a"].farewelled()
    group["b"].dialed()
    group["a"].release(held[1])
    moods.append(group["a"].core.calm)
    assert moods == [False, True]
    assert len(group["a"].lane().idle) == 1


def test_idle_connections_of_a_closed_loop_or_another_lane_make_room_as_well() -> None:
    group = Group(2, "a", "b")
    slots = [group["a"].acquire("red"), group["a"].acquire("green")]
    group["a"].release(*slots)
    queue(group["b"], 2)
    assert len(group["a"].goodbyes) == 2


def test_min_idle_takes_no_place_that_somebody_waits_for() -> None:
    group = Group(2, "a", "b", min_idle=2)
    a, b = group["a"], group["b"]
    slot = a.acquire()
    a.dialed()
    queue(b)
    assert [one.state for one in a.core.slots] == [State.OPEN, State.CLOSING]
    a.farewelled()
    assert (len(a.dials), len(b.dials)) == (0, 1)
    a.release(slot)
    b.dialed()
    assert not a.dials
    assert not b.dials


# ── who is served first ──────────────────────────────────────────────────────────────────────────


def test_within_its_share_a_pool_serves_its_own_callers_first() -> None:
    group = Group(4, "a", "b")
    held = {name: [group[name].acquire() for _ in range(2)] for name in ("a", "b")}
    queue(group["b"])
    group.advance(1)
    (own,) = queue(group["a"])
    group["a"].release(held["a"][0])
    assert own.outcome == "served"


def test_beyond_its_share_a_pool_gives_up_a_place_to_one_that_has_less_and_has_waited_longer() -> None:
    group = Group(4, "a", "b")
    a, b = group["a"], group["b"]
    held = [a.acquire() for _ in range(4)]
    (other,) = queue(b)
    a.advance(2)
    (own,) = queue(a)
    a.release(held[0])
    assert own.outcome == "waiting"
    a.farewelled()
    b.dialed()
    assert other.outcome == "served"
    a.release(held[1])
    assert own.outcome == "served"


def test_even_then_a_caller_who_has_waited_longer_in_the_pool_itself_is_served() -> None:
    group = Group(4, "a", "b")
    a, b = group["a"], group["b"]
    held = [a.acquire() for _ in range(4)]
    (own,) = queue(a)
    b.advance(2)
    queue(b)
    a.release(held[0])
    assert own.outcome == "served"


def test_with_fewer_places_than_pools_each_has_its_turn() -> None:
    group = Group(1, "a", "b", "c")
    slot = group["a"].acquire()
    callers = []
    for name in ("b", "c", "a"):
        callers += queue(group[name])
        group.advance(1)
    place = "a"
    for name, caller in zip(("b", "c", "a"), callers, strict=True):
        group[place].release(slot)
        group[place].farewelled()
        slot = group[name].lend(caller) if caller.slot else group[name].dialed()
        assert caller.outcome == "served"
        group[name].lend(caller)
        place = name


def test_a_caller_for_whom_a_dial_is_under_way_does_not_speak_for_those_behind_it() -> None:
    group = Group(2, "a", "b", "c", max_connecting=4)
    slot = group["c"].acquire()
    for name in ("a", "b", "a"):  # the first one's dial takes the last place
        group[name].ask()
        group.advance(1)
    group["c"].discard(slot)
    group["c"].farewelled()
    assert (len(group["a"].dials), len(group["b"].dials)) == (1, 1)


def test_one_that_was_given_a_dead_connection_is_still_as_old_as_it_was() -> None:
    group = Group(2, "a", "b")
    a, b = group["a"], group["b"]
    held = [a.acquire(), b.acquire()]
    (first,) = queue(a)
    queue(b)
    a.release(held[0])
    a.run(a.core.bury, first)
    b.discard(held[1])
    b.farewelled()
    assert (len(a.dials), len(b.dials)) == (1, 0)


def test_lanes_of_one_pool_share_the_places_of_a_group_that_are_fewer_than_its_own() -> None:
    group = Group(4, "a")
    a = group["a"]
    held = [a.acquire("red") for _ in range(4)]
    green = a.ask("green")
    a.ask("red")
    a.release(held[0])
    a.farewelled()
    a.dialed()
    assert green.outcome == "served"


# ── full, dead-locked, resized ───────────────────────────────────────────────────────────────────


def test_a_pool_that_does_not_queue_refuses_when_the_group_is_full() -> None:
    group = Group(2, "a", "b", on_full="reject")
    group["a"].acquire()
    group["a"].acquire()
    assert group["b"].ask().outcome == "full"


def test_it_does_not_refuse_when_an_idle_connection_could_make_room() -> None:
    group = Group(2, "a", "b", on_full="reject")
    group["a"].acquire()
    group.leave_idle("a", 1)
    caller = group["b"].ask()
    assert caller.outcome == "waiting"
    group["a"].farewelled()
    group["b"].dialed()
    assert caller.outcome == "served"


def test_a_place_that_another_pool_s_callers_wait_for_is_not_free() -> None:
    group = Group(1, "a", "b", "c", on_full="reject")
    assert group["a"].ask().outcome == "waiting"  # for its dial
    assert group["b"].ask().outcome == "full"
    group["a"].dialed()
    assert group["c"].ask().outcome == "full"


def test_to_wait_for_a_place_of_the_group_counts_as_a_wait() -> None:
    group = Group(1, "a", "b")
    group["a"].acquire()
    queue(group["b"])
    assert group["b"].stats().wait_count == 1


def test_a_caller_who_holds_every_place_of_the_group_waits_for_itself() -> None:
    group = Group(2, "a", "b")
    group["a"].acquire(owner=7)
    group["b"].acquire(owner=8)
    caller = group["b"].ask(stack=frozenset({7, 8}))
    group["b"].run(group["b"].core.suspect, caller)
    assert caller.outcome == "deadlock"


@pytest.mark.parametrize("owner", [7, 9])
def test_one_who_holds_not_all_of_them_does_not(owner: int) -> None:
    group = Group(3 if owner == 7 else 2, "a", "b")
    group["a"].acquire(owner=7)
    group["b"].acquire(owner=owner)
    caller = group["b"].ask(stack=frozenset({7}))
    group["b"].run(group["b"].core.suspect, caller)
    assert caller.outcome == "waiting"


def resize(group: Group, limit: int) -> None:
    """Change the limit, as the face does."""
    group.budget.limit = limit
    for face in group.faces.values():
        face.run(face.core.settle)


def test_with_less_room_surplus_idle_connections_are_closed_and_leases_when_they_come_back() -> None:
    group = Group(4, "a", "b")
    held = [group["a"].acquire(), group["b"].acquire()]
    group.leave_idle("a", 1)
    group.leave_idle("b", 1)
    resize(group, 1)
    assert (len(group["a"].goodbyes), len(group["b"].goodbyes)) == (1, 1)
    group["a"].release(held[0])
    assert len(group["a"].goodbyes) == 2
    group["b"].release(held[1])
    assert len(group["b"].goodbyes) == 1
    assert len(group["b"].lane().idle) == 1
    for name in ("a", "a", "b"):
        group[name].farewelled()
    assert group.budget.taken == 1
    assert not group.budget.tight


def test_with_more_room_those_who_wait_are_served_at_once() -> None:
    group = Group(1, "a", "b")
    group["a"].acquire()
    queue(group["b"], 2)
    resize(group, 3)
    assert len(group["b"].dials) == 2


# ── the budget itself ────────────────────────────────────────────────────────────────────────────


def test_a_pool_alone_has_a_budget_without_an_end() -> None:
    face = Face(max_open=2)
    face.acquire()
    assert (face.core.budget.limit, face.core.budget.taken) == (NEVER, 1)
    assert list(face.core.budget.holders) == [face.core]
    assert face.core.budget.free(face.core) == NEVER


def test_what_says_goodbye_takes_a_place_and_is_not_open_any_more() -> None:
    group = Group(3, "a", "b")
    slot = group["a"].acquire()
    group["b"].acquire()
    group["a"].discard(slot)
    assert (group.budget.taken, group.budget.open()) == (2, 1)


def test_a_forked_child_has_one_new_budget_for_all_who_shared_one() -> None:
    group = Group(3, "a", "b")
    group["a"].acquire()
    renewed = group["a"].core.budget.renewed()
    assert renewed is group["b"].core.budget.renewed()
    assert renewed is not group.budget
    assert (renewed.limit, renewed.taken) == (3, 0)
