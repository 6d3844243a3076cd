"""Several loops under one limit: their connections stay apart, their places move."""

from __future__ import annotations

from tests.core.harness import Face


def test_a_connection_is_given_to_its_own_lane_only() -> None:
    face = Face(max_open=2)
    [slot] = face.fill(1, "red")
    other = face.ask("green")
    assert other.slot is None
    dialed = face.dialed()
    assert other.got is dialed is not slot
    assert face.idle("red") == [slot]


def test_an_idle_connection_makes_room_for_a_waiter_of_another_lane() -> None:
    face = Face(max_open=1)
    [slot] = face.fill(1, "red")
    other = face.ask("green")
    assert face.goodbyes == [slot]
    assert face.core.closed_for == {"moved": 1}
    assert face.dials == []
    face.farewelled()
    face.dialed()
    assert other.got.lane.affinity == "green"


def test_no_more_places_are_moved_than_there_are_waiters() -> None:
    face = Face(max_open=3)
    face.fill(3, "red")
    face.ask("green")
    assert len(face.goodbyes) == 1
    face.ask("green")
    assert len(face.goodbyes) == 2
    face.farewelled()
    assert len(face.dials) == 1


def test_a_place_is_moved_even_while_dials_pause() -> None:
    # Often it is that place which the server has not got for the dial.
    face = Face(max_open=2)
    idle, busy = face.acquire("red"), face.acquire("red")
    face.discard(busy)
    face.farewelled()
    face.ask("green")
    face.dial_failed()
    face.resize(max_open=1)
    face.release(idle)
    assert face.goodbyes == [idle]
    face.farewelled()
    assert face.dials == []
    assert face.core.planned == face.core.retry_at


def test_what_is_returned_serves_its_own_lane_while_each_has_its_share() -> None:
    face = Face(max_open=2)
    red, green = face.acquire("red"), face.acquire("green")
    older, younger = face.ask("green"), face.ask("red")
    face.release(red)
    assert younger.got is red
    face.release(green)
    assert older.got is green
    assert face.goodbyes == []


def test_a_lane_beyond_its_share_gives_a_place_to_an_older_waiter_of_one_below() -> None:
    face = Face(max_open=2)
    slots = [face.acquire("red"), face.acquire("red")]
    older, younger = face.ask("green"), face.ask("red")
    face.release(slots[0])
    assert face.goodbyes == [slots[0]]
    assert younger.slot is None
    face.release(slots[1])
    assert younger.got is slots[1], "one place is enough for one waiter"
    face.farewelled()
    face.dialed()
    assert older.got.lane.affinity == "green"


def test_a_lane_beyond_its_share_serves_its_own_if_they_are_older() -> None:
    face = Face(max_open=2)
    slots = [face.acquire("red"), face.acquire("red")]
    older = face.ask("red")
    face.ask("green")
    face.release(slots[0])
    assert older.got is slots[0]


def test_with_fewer_places_than_lanes_no_lane_starves() -> None:
    # One place and two busy loops: the place goes back and forth by the age of the waiters.
    face = Face(max_open=1)
    slot = face.acquire("red")
    waiting = {name: face.ask(name) for name in ("green", "red")}
    served = []
    for _ in range(6):
        face.release(slot)
        for name in ("red", "green"):
            if waiting[name].slot is None:
                continue
            slot = face.lend(waiting[name])
            break
        else:
            face.farewelled()
            slot = face.lend(waiting[str(face.dialed().lane.affinity)])
        name = str(slot.lane.affinity)
        served.append(name)
        waiting[name] = face.ask(name)
    assert served == ["green", "red"] * 3


def test_the_oldest_waiter_of_all_lanes_is_dialed_for_first() -> None:
    face = Face(max_open=3, max_connecting=1)
    face.ask("red")
    face.ask("green")
    face.ask("red")
    lanes = []
    for _ in range(3):
        lanes.append(face.dials[0].lane.affinity)
        face.dialed()
    assert lanes == ["red", "green", "red"]


def test_min_idle_are_kept_in_the_newest_lane() -> None:
    face = Face(min_idle=1)
    face.lane("red")
    face.lane("green")
    face.tick()
    assert [slot.lane.affinity for slot in face.dials] == ["green"]


def test_surplus_is_closed_across_lanes_by_the_time_of_return() -> None:
    face = Face(max_open=4)
    red, green, late = face.acquire("red"), face.acquire("green"), face.acquire("red")
    face.release(green)
    face.advance(1.0)
    face.release(red)
    face.advance(1.0)
    face.release(late)
    face.resize(max_open=1)
    assert face.goodbyes == [green, red]


def test_the_oldest_of_a_limitless_pool_owes_no_place() -> None:
    face = Face(max_open=None)
    slot = face.acquire("red")
    face.ask("green")
    caller = face.ask("red")
    face.release(slot)
    assert caller.got is slot


def test_a_second_lane_ends_the_short_ways() -> None:
    face = Face(max_open=1)
    slot = face.acquire("red")
    face.ask("red")
    moods = [face.core.saturated]
    face.ask("green")
    moods.append(face.core.saturated)
    assert moods == [True, False]
    with face.core.lock:
        assert face.core.pass_on(slot, face.now) is None
