"""Leases that were dropped without release: noted by a finalizer, reclaimed by the next transition."""

from __future__ import annotations

from cenote._core import State
from tests.core.harness import Face


def test_a_finalizer_may_note_a_leak_while_the_lock_is_held() -> None:
    face = Face()
    slot = face.acquire()
    with face.core.lock:
        face.core.drop(slot)
    assert slot.state is State.OPEN
    assert not face.core.calm
    assert face.due() == face.now


def test_the_connection_is_closed_told_and_counted() -> None:
    face = Face()
    slot = face.acquire()
    face.advance(3.0)
    face.core.drop(slot)
    face.turn()
    assert face.goodbyes == face.leaks == [slot]
    stats = face.stats()
    assert (stats.discarded, stats.acquire_count, stats.hold_time.count) == (1, 1, 1)
    assert not face.core.dropped


def test_its_place_serves_a_waiter() -> None:
    face = Face(max_open=1)
    slot = face.acquire()
    caller = face.ask()
    face.core.drop(slot)
    face.tick()
    face.farewelled()
    face.dialed()
    assert caller.slot is not None


def test_a_leak_of_a_connection_that_is_gone_is_no_leak() -> None:
    face = Face()
    slot = face.acquire()
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    face.core.drop(slot)
    face.turn()
    assert face.leaks == []
    assert not face.core.dropped


def test_the_calm_returns_when_all_is_reclaimed() -> None:
    face = Face()
    face.core.drop(face.acquire())
    assert not face.core.calm
    face.tick()
    assert face.core.calm
