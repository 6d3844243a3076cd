"""How a task waits: whose loop runs here, and one timer that ends the first waits of a whole crowd."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from cenote._core import NEVER, Core, Todo
from cenote._waiters import FIRST_WAIT, NO_NEWS, Home, TaskEnder, TaskWaiter, sign_of
from cenote.options import Options

LOOPS = pytest.mark.parametrize(
    "make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


class Alarms:
    """A loop that sets its timers and lets them go off on demand."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[..., object], tuple[Any, ...]]] = []

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[bool]:
        return asyncio.Future(loop=self)  # type: ignore[arg-type] # all of a loop that a future asks for here

    def call_later(self, delay: float, call: Callable[..., object], *arguments: Any) -> None:
        self.set.append((delay, call, arguments))

    def call_soon(self, call: Callable[..., object], *arguments: Any, context: object) -> None:
        """Let pass what a future tells: nobody awaits it here."""

    def go_off(self) -> float:
        """Let all that are set go off; say how long the longest was."""
        due, self.set = self.set, []
        for _, call, arguments in due:
            call(*arguments)
        return max(delay for delay, _, _ in due)


class Queue:
    """The queue of a pool whose first dial does not end."""

    def __init__(self) -> None:
        self.core = Core(Options(max_open=1))
        self.alarms = Alarms()
        with self.core.lock:
            self.lane = self.core.lane(self.alarms)
        self.lane.face = Home(self.alarms, self.lane, self.core.lock)  # type: ignore[arg-type] # as above

    def join(self, patience: float = NEVER) -> tuple[TaskWaiter, asyncio.Future[bool]]:
        """Wait for the first time."""
        waiter = TaskEnder(self.lane)
        self.change(self.core.request, waiter, 0.0)
        waiter.patience = patience
        return waiter, waiter.wait_first()

    def change(self, transition: Callable[..., Todo], *arguments: object, **options: object) -> None:
        with self.core.lock:
            transition(*arguments, **options)


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_a_first_wait_ends_between_one_interval_and_two(queue: Queue) -> None:
    _, first = queue.join()
    intervals = queue.alarms.go_off()
    assert not first.done()
    intervals += queue.alarms.go_off()
    assert first.result() is NO_NEWS
    assert intervals == FIRST_WAIT
    assert not queue.alarms.set, "nothing is due any more"


def test_who_came_after_a_ring_is_told_at_the_second_one_from_there(queue: Queue) -> None:
    _, first = queue.join()
    queue.alarms.go_off()
    _, second = queue.join()
    queue.alarms.go_off()
    assert first.done()
    assert not second.done()
    queue.alarms.go_off()
    assert second.done()


def test_a_crowd_has_one_timer(queue: Queue) -> None:
    waits = [queue.join()[1] for _ in range(1000)]
    assert len(queue.alarms.set) == 1
    queue.alarms.go_off()
    assert len(queue.alarms.set) == 1
    queue.alarms.go_off()
    assert all(wait.done() for wait in waits)


def test_who_has_left_the_queue_is_not_told(queue: Queue) -> None:
    waiter, first = queue.join()
    _, second = queue.join()
    queue.change(queue.core.abandon, waiter, 0.0, timed_out=True)
    queue.alarms.go_off()
    queue.alarms.go_off()
    assert not first.done()
    assert second.done()


def test_who_waits_on_is_not_told_again(queue: Queue) -> None:
    waiter, _ = queue.join()
    queue.alarms.go_off()
    queue.alarms.go_off()
    on = waiter.wait()
    _, newcomer = queue.join()
    queue.alarms.go_off()
    queue.alarms.go_off()
    assert newcomer.done()
    assert not on.done()


def test_a_nearer_deadline_has_its_own_timer(queue: Queue) -> None:
    _, first = queue.join(FIRST_WAIT / 5)
    assert queue.alarms.go_off() == FIRST_WAIT / 5
    assert first.result() is NO_NEWS


@LOOPS
def test_a_loop_is_here_while_it_runs_in_this_thread(make_loop: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner, asyncio.Runner(loop_factory=make_loop) as other:
        is_here = sign_of(runner.get_loop())

        async def ask() -> tuple[bool, bool]:
            return is_here(), await asyncio.to_thread(is_here)

        assert not is_here()
        assert runner.run(ask()) == (True, False)
        assert other.run(ask()) == (False, False)
        assert not is_here()


@LOOPS
def test_a_loop_is_here_whatever_becomes_of_the_hooks_for_generators(make_loop: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        is_here = sign_of(runner.get_loop())

        async def ask() -> bool:
            sys.set_asyncgen_hooks(firstiter=None)
            return is_here()

        assert runner.run(ask())
