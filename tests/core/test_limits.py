"""Options that change under a running pool, and what is surplus."""

from __future__ import annotations

import pytest

from cenote._core import State
from tests.core.harness import Face


def test_less_room_closes_the_coldest_of_the_idle() -> None:
    face = Face(max_open=4)
    slots = face.fill(4)
    face.resize(max_open=2)
    assert face.goodbyes == slots[:2]
    assert face.idle() == slots[2:]
    assert face.stats().max_idle_closed == 2


def test_less_room_closes_those_in_use_when_they_come_back() -> None:
    face = Face(max_open=3)
    slots = [face.acquire() for _ in range(3)]
    face.resize(max_open=1)
    assert face.goodbyes == []
    face.release(*slots)
    assert face.goodbyes == slots[:2]
    assert face.idle() == slots[2:]


def test_less_room_comes_before_the_waiters() -> None:
    face = Face(max_open=2)
    slots = [face.acquire(), face.acquire()]
    caller = face.ask()
    face.resize(max_open=1)
    face.release(slots[0])
    assert caller.slot is None
    assert face.goodbyes == [slots[0]]
    face.release(slots[1])
    assert caller.got is slots[1]


def test_nothing_is_dialed_while_more_are_open_than_there_is_room_for() -> None:
    face = Face(max_open=3)
    slots = [face.acquire() for _ in range(3)]
    face.resize(max_open=1)
    face.ask()
    face.discard(slots[0])
    face.farewelled()
    assert face.dials == []


def test_more_room_serves_the_waiters_at_once() -> None:
    face = Face(max_open=1)
    face.acquire()
    callers = [face.ask(), face.ask()]
    face.resize(max_open=3)
    assert len(face.dials) == 2
    face.dialed()
    face.dialed()
    assert all(caller.slot for caller in callers)


def test_more_dials_at_once_begin_at_once() -> None:
    face = Face(max_connecting=1)
    for _ in range(3):
        face.ask()
    face.resize(max_connecting=3)
    assert len(face.dials) == 3


def test_a_higher_min_idle_is_filled_at_once() -> None:
    face = Face()
    face.fill(1)
    face.resize(min_idle=3)
    assert len(face.dials) == 2


def test_surplus_idle_ones_are_closed_on_release() -> None:
    face = Face(max_idle=1)
    first, second = face.acquire(), face.acquire()
    face.release(first)
    face.release(second)
    assert face.goodbyes == [first]
    assert face.idle() == [second]
    assert face.core.calm is False, "the goodbye still takes a place"
    face.farewelled()
    assert face.core.calm is True


def test_no_idle_one_is_kept_with_max_idle_0() -> None:
    face = Face(max_idle=0)
    slot = face.acquire()
    waiting = face.ask()
    face.release(slot)
    assert waiting.got is slot, "but a waiter is served"
    face.release(face.lend(waiting))
    assert face.goodbyes == [slot]


def test_no_limit_of_idle_ones_keeps_them_all() -> None:
    face = Face(max_open=None)
    face.fill(10)
    assert len(face.idle()) == 10
    assert face.goodbyes == []


def test_a_resize_ends_the_calm_before_it_looks_at_the_idle_ones() -> None:
    # Else one put between the look and the end of the calm would stay surplus until something else happens.
    face = Face(max_open=2)
    slots = [face.acquire(), face.acquire()]

    class Shelf(dict[object, object]):
        def __len__(self) -> int:
            if face.core.put(slots[0], face.now) is not False:
                pytest.fail("the calm has not ended")
            return super().__len__()

    face.lane().idle = Shelf()  # type: ignore[assignment]
    face.resize(max_open=1)


def test_a_longer_connect_timeout_is_planned_for() -> None:
    face = Face(connect_timeout=5)
    face.ask()
    face.resize(connect_timeout=1)
    assert face.core.planned == face.dials[0].since + 2.0


def test_a_dial_counts_for_the_limit_that_was_lowered_meanwhile() -> None:
    face = Face(max_open=2)
    face.ask()
    face.ask()
    face.resize(max_open=1)
    face.dialed()
    assert len(face.goodbyes) == 1
    kept = face.dialed()
    assert kept.state is State.OPEN
    assert face.stats().in_use == 1


def test_a_closed_pool_may_be_resized_and_stays_closed() -> None:
    face = Face(max_open=1)
    face.acquire()
    face.run(face.core.shut, None)
    face.resize(max_open=5, min_idle=3)
    assert face.dials == []


def test_what_is_idle_can_be_closed_and_the_pool_goes_on() -> None:
    face = Face(max_open=3)
    held = [face.acquire() for _ in range(3)]
    face.release(*held[:2])
    face.run(face.core.close_idle)
    assert face.goodbyes == held[:2]
    assert held[2].state is State.OPEN
    face.farewelled()
    assert face.acquire().state is State.OPEN


def test_to_close_what_is_idle_ends_the_calm_before_it_looks() -> None:
    face = Face(max_open=2)
    slots = [face.acquire(), face.acquire()]
    looks: list[bool | None] = []

    class Shelf(dict[object, object]):
        def __len__(self) -> int:
            if not looks:
                looks.append(face.core.put(slots[0], face.now))
            return super().__len__()

    face.lane().idle = Shelf()  # type: ignore[assignment]
    face.run(face.core.close_idle)
    assert looks == [False]
