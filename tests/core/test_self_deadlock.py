"""A caller that waits for connections which only its own frames hold."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from tests.core.harness import Face

MINE: frozenset[Hashable] = frozenset({1, 2, "task"})


def test_it_is_refused_when_all_is_held_by_with_blocks_below_it() -> None:
    face = Face(max_open=2)
    face.acquire(owner=1)
    face.acquire(owner=2)
    caller = face.ask(stack=MINE)
    assert caller.outcome == "waiting", "asked only after it has waited for a while"
    face.run(face.core.suspect, caller)
    assert caller.outcome == "deadlock"
    assert face.queue() == []
    assert caller.woken == 0, "it is the one who asks"


def test_a_lease_without_a_block_may_be_handed_on_so_only_the_deadline_tells() -> None:
    face = Face(max_open=1)
    face.acquire(owner="task")
    caller = face.ask(stack=MINE)
    face.run(face.core.suspect, caller)
    assert caller.outcome == "waiting"
    assert face.queue() == [caller]
    face.run(face.core.abandon, caller, timed_out=True)
    assert caller.outcome == "deadlock"
    assert face.stats().timeout_count == 1


@pytest.mark.parametrize("owner", [7, "other task"])
def test_one_connection_in_other_hands_may_come_back(owner: Hashable) -> None:
    face = Face(max_open=2)
    face.acquire(owner=1)
    face.acquire(owner=owner)
    caller = face.ask(stack=MINE)
    face.run(face.core.suspect, caller)
    assert caller.refusal is None
    face.run(face.core.abandon, caller, timed_out=True)
    assert caller.refusal is None


def test_a_free_place_is_no_deadlock() -> None:
    face = Face(max_open=2)
    face.acquire(owner=1)
    caller = face.ask(stack=MINE)
    face.run(face.core.suspect, caller)
    assert caller.refusal is None


def test_a_goodbye_under_way_is_no_deadlock() -> None:
    face = Face(max_open=2)
    face.acquire(owner=1)
    face.discard(face.acquire(owner=2))
    caller = face.ask(stack=MINE)
    face.run(face.core.suspect, caller)
    assert caller.refusal is None


def test_one_that_is_served_meanwhile_is_not_refused() -> None:
    face = Face(max_open=1)
    slot = face.acquire(owner=1)
    caller = face.ask(stack=MINE)
    face.release(slot)
    face.run(face.core.suspect, caller)
    assert caller.got is slot
    assert caller.refusal is None
