"""The queue keeps its order, whoever leaves, and holds on to hardly more than those who wait."""

from __future__ import annotations

import random

import pytest

from cenote._core import Lane, Waiter
from cenote._core.queue import Queue
from tests.core.harness import Anyone


def filled(size: int) -> tuple[Queue, list[Waiter]]:
    lane = Lane(None)
    waiters: list[Waiter] = [Anyone(lane) for _ in range(size)]
    for ticket, waiter in enumerate(waiters, 1):
        waiter.ticket = ticket
        lane.waiters.join(waiter)
    return lane.waiters, waiters


def check(queue: Queue, expected: list[Waiter]) -> None:
    assert list(queue) == expected
    assert list(reversed(queue)) == expected[::-1]
    assert len(queue) == len(expected)
    assert bool(queue.line) == bool(expected)
    assert len(queue.line) <= 2 * len(expected)
    if expected:
        assert queue.first() is expected[0]
    assert all(waiter.queued for waiter in expected)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_to_it_the_queue_is_that_of_a_plain_list(seed: int) -> None:
    dice = random.Random(seed)
    queue, expected = filled(dice.randrange(40))
    served: list[Waiter] = []
    ticket = 100
    for _ in range(600):
        what = dice.choice(["join", "leave", "leave", "pop", "back"])
        if what == "join":
            ticket += 1
            waiter: Waiter = Anyone(Lane(None))
            waiter.ticket = ticket
            queue.join(waiter)
            expected.append(waiter)
        elif what == "leave" and expected:
            waiter = expected.pop(dice.randrange(len(expected)))
            queue.leave(waiter)
            assert not waiter.queued
        elif what == "pop" and expected:
            assert queue.pop() is expected[0]
            served.append(expected.pop(0))
            assert not served[-1].queued
        elif what == "back" and served:
            waiter = served.pop(dice.randrange(len(served)))
            queue.join_ahead(waiter)
            expected.append(waiter)
            expected.sort(key=lambda one: one.ticket)
        check(queue, expected)


def test_a_line_of_which_nearly_all_have_left_is_swept() -> None:
    queue, waiters = filled(1000)
    for waiter in waiters[1:-1]:
        queue.leave(waiter)
    check(queue, [waiters[0], waiters[-1]])


def test_cleared_it_has_nobody() -> None:
    queue, waiters = filled(5)
    queue.leave(waiters[2])
    queue.clear()
    check(queue, [])
    assert not any(waiter.queued for waiter in waiters)
