"""What a pool counts: each thing once, and no counter ever falls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from cenote.stats import MANY, Recorder
from tests.core.harness import Face


def test_the_gauges_add_up_in_every_state_at_once() -> None:
    face = Face(max_open=6, max_connecting=6)
    idle, leaving, _ = face.acquire(), face.acquire(), face.acquire()
    for _ in range(2):
        face.ask()
    face.discard(leaving)
    face.run(face.core.abandon, face.queue()[0], timed_out=False)
    face.dialed()
    face.run(face.core.abandon, face.ask(), timed_out=False)
    face.release(idle)
    stats = face.stats()
    assert stats.max_open_connections == 6
    assert (stats.idle, stats.in_use, stats.connecting, stats.closing) == (1, 2, 1, 1)
    assert stats.open_connections == 4
    assert stats.waiting == 0
    assert stats.overflow_open == 0


def test_hits_are_acquires_too() -> None:
    face = Face()
    face.fill(1)
    for _ in range(3):
        face.release(face.acquire())
    held = face.acquire()
    assert face.stats().acquire_count == 5
    face.discard(held)
    assert face.stats().acquire_count == 5
    face.farewelled()
    assert face.stats().acquire_count == 5
    assert face.stats().connect_count == 1


def test_a_ping_by_upkeep_is_in_use_but_no_acquire() -> None:
    face = Face(keepalive=10)
    face.fill(1)
    face.advance(11.0)
    face.tick()
    stats = face.stats()
    assert (stats.in_use, stats.acquire_count) == (1, 1)


def test_only_who_found_every_connection_in_other_hands_has_waited() -> None:
    face = Face(max_open=1)
    first = face.ask()
    face.dialed()
    assert face.stats().wait_count == 0
    second = face.ask()
    face.advance(2.0)
    face.release(face.lend(first))
    assert second.slot
    stats = face.stats()
    assert stats.wait_count == 1
    assert stats.wait_duration == 2.0
    assert stats.wait_time.count == 1


def test_a_clock_read_before_the_caller_asked_takes_nothing_from_the_waiting_time() -> None:
    face = Face(max_open=1)
    first = face.ask()
    face.dialed()
    before = face.now
    face.advance(1.0)
    second = face.ask()
    with face.core.lock:
        assert face.core.pass_on(face.lend(first), before) is second
    assert face.stats().wait_duration == 0.0


def test_one_entry_of_wait_time_for_each_acquire() -> None:
    face = Face(max_open=1)
    slot = face.acquire()
    face.release(slot)
    slot = face.acquire()
    caller = face.ask()
    face.advance(0.5)
    face.release(slot)
    face.release(face.lend(caller))
    stats = face.stats()
    assert stats.wait_time.count == stats.acquire_count == 3


def test_hold_and_connect_times_are_kept() -> None:
    face = Face()
    caller = face.ask()
    face.advance(0.25)
    face.dialed()
    slot = face.lend(caller)
    face.advance(3.0)
    face.release(slot)
    stats = face.stats()
    assert (stats.connect_time.count, stats.connect_time.total) == (1, 0.25)
    assert (stats.hold_time.count, stats.hold_time.total) == (1, 3.0)


def test_each_reason_has_its_counter() -> None:
    face = Face(max_open=3, max_idle=2, keepalive=50, max_idle_time=100, max_lifetime=1000)
    slots = [face.acquire() for _ in range(3)]
    face.release(*slots)
    face.advance(51.0)
    face.tick()
    while face.pings:
        face.run(face.core.unanswered, face.pings.pop())
    while face.goodbyes:
        face.farewelled()
    face.fill(1)
    face.advance(101.0)
    face.tick()
    face.pings.clear()
    stats = face.stats()
    assert stats.max_idle_closed == 1
    assert stats.dead_on_keepalive == 2
    assert stats.max_idle_time_closed == 1
    assert stats.max_lifetime_closed == 0


def test_a_snapshot_can_be_taken_of_an_empty_pool() -> None:
    stats = Face(max_open=None).stats()
    assert stats.max_open_connections is None
    assert (stats.open_connections, stats.overflow_open, stats.acquire_count) == (0, 0, 0)


def test_durations_are_kept_for_a_while_and_none_is_lost() -> None:
    recorder = Recorder()
    for _ in range(MANY + 36):
        recorder.record(2.0)
    assert len(recorder.noted) == 36, "when so many are due, they are counted"
    assert (recorder.count, recorder.total) == (MANY + 36, 2 * MANY + 72.0)
    assert not recorder.noted


TURNS = 3 * MANY + 8


def test_a_busy_pool_counts_its_holds_before_they_are_many() -> None:
    face = Face()
    for _ in range(TURNS):
        slot = face.acquire()
        face.advance(0.25)
        face.release(slot)
    assert len(face.core.hold_time.noted) == 8
    assert face.stats().hold_time.count == TURNS


def test_a_crowded_pool_counts_its_waits_and_holds_before_they_are_many() -> None:
    face = Face(max_open=1)
    slot = face.acquire()
    face.ask()
    for _ in range(TURNS):
        face.ask()
        face.advance(0.25)
        face.release(slot)
    assert len(face.core.wait_time.noted) == 8
    assert len(face.core.hold_time.noted) < MANY
    stats = face.stats()
    assert (stats.wait_time.count - (stats.acquire_count - TURNS), stats.hold_time.count) == (TURNS, TURNS)
    assert (stats.wait_duration, stats.hold_time.total) == pytest.approx(
        (0.25 + (TURNS - 1) * 0.5, TURNS / 4)
    )


def test_durations_of_all_lengths_are_counted_each_in_its_range() -> None:
    durations = [0.0, 1e-9, 3e-5, 2.0**-0.5, 0.7072, 0.99, 1.0, 1.4142, 1.4143, 2.0, 3600.0] * 3
    recorder = Recorder()
    for seconds in durations:
        recorder.noted.append(seconds)
    recorder.fold()
    counted = recorder.snapshot().buckets
    assert sum(count for _, count in counted) == len(durations)
    lower = [0.0, *(upper for upper, _ in counted)]
    assert [count for _, count in counted] == [
        sum(below <= seconds < upper for seconds in durations)
        for below, (upper, _) in zip(lower, counted, strict=False)  # the last upper end begins no range
    ]


def test_a_wait_that_ended_by_the_clock_before_it_began_took_no_time() -> None:
    recorder = Recorder()
    for seconds in (2.0, -0.5, 1.0):
        recorder.record(seconds)
    assert (recorder.count, recorder.total) == (3, 3.0)
    assert [count for _, count in recorder.snapshot().buckets] == [1, 1, 1]
    assert recorder.snapshot().buckets[0][0] < 1e-8


def test_a_fold_within_a_fold_leaves_the_outer_one_nothing_to_do() -> None:
    class Visited(deque[float]):
        """In the middle of whose emptying a finalizer runs that looks at the same pool."""

        def popleft(self) -> float:
            if not visits:
                visits.append(0)
                visits[0] = recorder.count
            return super().popleft()

    visits: list[int] = []
    recorder = Recorder()
    recorder.noted = Visited([2.0, 2.0])
    recorder.fold()
    assert visits == [2]
    assert (recorder.count, recorder.total) == (2, 4.0)


def test_a_fold_while_another_one_adds_up_loses_nothing() -> None:
    class Visited(float):
        """While which is added a finalizer runs that looks at the same pool."""

        def __radd__(self, other: float) -> float:
            recorder.noted.append(8.0)
            recorder.fold()
            return other + float(self)

    recorder = Recorder()
    recorder.noted.append(Visited(2.0))
    recorder.fold()
    assert (recorder.count, recorder.total) == (2, 10.0)


class Meddled:
    """A lock in the moment after whose release somebody else comes."""

    def __init__(self, lock: Any, meddle: Callable[[], object]) -> None:
        self._lock = lock
        self._meddle = [meddle]

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._meddle:
            self._meddle.pop()()


def test_the_uses_of_a_connection_that_leaves_during_a_snapshot_are_counted_once() -> None:
    face = Face()
    face.release(face.acquire())
    used = face.acquire()
    face.discard(used)
    face.core.lock = Meddled(face.core.lock, face.farewelled)  # type: ignore[assignment]
    assert face.stats().acquire_count == 2
    assert not face.core.slots
    assert face.stats().acquire_count == 2


def test_acquires_do_not_fall_while_a_connection_is_between_hand_and_shelf() -> None:
    face = Face()
    slot = face.acquire()
    assert face.stats().acquire_count == 1
    slot.hold = face  # as a lease does it first of all
    assert face.stats().acquire_count == 1
    face.release(slot)
    assert face.stats().acquire_count == 1
    face.acquire()
    assert face.stats().acquire_count == 2
