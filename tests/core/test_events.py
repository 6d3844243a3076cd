"""What a listener hears, in which order; and that nobody pays for it when there is none."""

from __future__ import annotations

from tests.core.harness import Face


def test_the_life_of_one_connection() -> None:
    face = Face(eventful=True)
    slot = face.acquire()
    face.discard(slot)
    face.farewelled()
    assert face.told() == [
        ("queued", None),
        ("connecting", None),
        ("connected", None),
        ("granted", None),
        ("closing", "discarded"),
        ("closed", None),
    ]
    ids = [event.connection for event in face.events]
    assert ids == [None, slot.id, slot.id, slot.id, slot.id, slot.id]
    assert all(event.at == face.now for event in face.events)


def test_a_plain_hit_and_release_are_not_told() -> None:
    face = Face(eventful=True)
    face.fill(1)
    before = len(face.events)
    face.release(face.acquire())
    assert len(face.events) == before


def test_a_failed_dial_is_told_with_the_name_of_its_error_only() -> None:
    face = Face(eventful=True)
    face.ask()
    face.dial_failed(error=PermissionError("password authentication failed for user app: secret"))
    assert ("failed", "PermissionError") in face.told()
    assert "secret" not in repr(face.events)


def test_each_refusal_is_told_with_its_reason() -> None:
    face = Face(eventful=True, max_open=1, on_full="reject")
    face.acquire()
    face.ask()
    face.run(face.core.shut, None)
    face.ask()
    assert face.told("refused") == [("refused", "full"), ("refused", "closed")]
    assert face.told("shut") == [("shut", None)]


def test_each_one_that_leaves_the_queue_is_told() -> None:
    face = Face(eventful=True, max_open=1)
    face.acquire()
    callers = [face.ask(), face.ask()]
    face.run(face.core.abandon, callers[0], timed_out=True)
    face.run(face.core.abandon, callers[1], timed_out=False)
    assert face.told("gave_up") == [("gave_up", "timeout"), ("gave_up", "cancelled")]


def test_one_that_was_passed_over_before_it_could_leave_is_told_once() -> None:
    face = Face(eventful=True, max_open=1)
    slot = face.acquire()
    cancelled = face.ask()
    cancelled.willing = False
    face.release(slot)
    face.run(face.core.abandon, cancelled, timed_out=False)
    assert face.told("gave_up") == [("gave_up", "cancelled")]


def test_a_death_is_told_with_the_new_generation() -> None:
    face = Face(eventful=True)
    face.discard(face.acquire(), lost=True)
    assert face.told("generation", "closing") == [("generation", None), ("closing", "discarded")]


def test_without_a_listener_there_is_nothing_to_tell() -> None:
    face = Face()
    face.discard(face.acquire())
    assert face.events == []
