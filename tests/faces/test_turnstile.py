"""How woken threads go on: a few at a time, and somebody always does; all at once where there is one core."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cenote import Pool
from cenote._core import Lane
from cenote._waiters import ThreadWaiter, Turnstile, entrance
from cenote.testing import ScriptedConnector

LONG = 60.0


class Gate:
    """A raw lock that tells when somebody is about to block at it, and lets go when a test says so."""

    def __init__(self) -> None:
        self.waits = threading.Event()
        self.closed = False
        self.opened = 0
        self._open = threading.Semaphore(0)
        self.gives_up = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self.closed:
            self.closed = True
            return True
        assert blocking
        assert timeout > 0
        self.waits.set()
        self._open.acquire()
        return not self.gives_up

    def release(self) -> None:
        self.opened += 1
        if self.opened > 1:
            raise RuntimeError
        self._open.release()

    def run_out(self) -> None:
        """Let the wait end as it does when patience runs out."""
        self.gives_up = True
        self._open.release()


def waiter_of(lane: Lane) -> ThreadWaiter:
    """Make one that is ready to wait for long."""
    waiter: ThreadWaiter = ThreadWaiter.of(lane)
    waiter.patience = LONG
    return waiter


class Waiting:
    """A waiter whose gate tells, and the thread that waits with it; it runs on when told."""

    def __init__(self, lane: Lane, waiter: ThreadWaiter | None = None) -> None:
        self.waiter = waiter or waiter_of(lane)
        self.gate = Gate()
        self.news: bool | None = None
        self.thread = threading.Thread(target=self._wait, daemon=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cenote._waiters.allocate_lock", lambda: self.gate)
            self.thread.start()
            self.gate.waits.wait()

    def _wait(self) -> None:
        self.news = self.waiter.wait()

    def end(self) -> None:
        self.thread.join()


class Held(Gate):
    """A gate at which an opened one stays until the test lets him run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = threading.Event()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        waits = self.closed
        news = super().acquire(blocking, timeout)
        if waits:
            self.runs.wait()
        return news


@pytest.fixture
def lane() -> Lane:
    """A lane whose turnstile lets in one at a time."""
    lane = Lane(None)
    lane.face = Turnstile(1)
    return lane


@pytest.fixture
def open_lane() -> Lane:
    """A lane whose threads share one core."""
    return Lane(None)


@pytest.fixture(params=["lane", "open_lane"], ids=["two cores", "one core"])
def either(request: pytest.FixtureRequest) -> Lane:
    """Return either of them, for what holds in both cases."""
    lane: Lane = request.getfixturevalue(request.param)
    return lane


@contextmanager
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the threads of waiters stay where they are, once they are let in."""
    with monkeypatch.context() as patch:
        patch.setattr("tests.faces.test_turnstile.Gate", Held)
        yield


def test_who_is_woken_goes_on_when_the_one_before_him_runs(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow(monkeypatch):
        first, second, third = (Waiting(lane) for _ in range(3))
    for one in (first, second, third):
        one.waiter.wake()
    assert [one.gate.opened for one in (first, second, third)] == [1, 0, 0]
    let_run(first)
    assert [one.gate.opened for one in (second, third)] == [1, 0]
    let_run(second)
    assert third.gate.opened == 1
    let_run(third)


def let_run(one: Waiting) -> None:
    assert isinstance(one.gate, Held)
    one.gate.runs.set()
    one.end()
    assert one.news


def test_one_alone_goes_on_at_once(either: Lane) -> None:
    for _ in range(2):
        alone = Waiting(either)
        alone.waiter.wake()
        alone.end()
        assert alone.news


def test_who_ran_out_of_patience_is_passed_over(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    with slow(monkeypatch):
        first = Waiting(lane)
    impatient, last = Waiting(lane), Waiting(lane)
    for one in (first, impatient, last):
        one.waiter.wake()
    assert impatient.gate.opened == 0
    impatient.gate.run_out()
    impatient.end()
    assert last.gate.opened == 1, "whoever stops waiting lets the next one in"
    last.end()
    let_run(first)
    assert impatient.gate.opened == 0


def test_who_left_while_he_was_let_in_lets_in_the_next(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    with slow(monkeypatch):
        first = Waiting(lane)
        second = Waiting(lane)
    first.waiter.wake()
    second.waiter.wake()
    assert isinstance(first.gate, Held)
    first.gate.gives_up = True  # it was opened as his patience ran out
    first.gate.runs.set()
    first.end()
    assert second.gate.opened == 1
    let_run(second)


def test_news_that_came_before_the_wait_is_found_by_it(either: Lane) -> None:
    early = waiter_of(either)
    early.wake()
    assert early.wait()
    late = Waiting(either)
    late.waiter.wake()
    late.end()
    assert late.news, "nobody was let in who did not wait"


def test_who_is_woken_and_never_waits_stands_in_nobodys_way(lane: Lane) -> None:
    waiter_of(lane).wake()
    other = Waiting(lane)
    other.waiter.wake()
    other.end()
    assert other.news


def test_news_between_two_waits_is_found_by_the_second(either: Lane) -> None:
    one = Waiting(either)
    one.gate.run_out()
    one.end()
    assert one.news is False
    one.waiter.wake()
    assert one.waiter.wait()


def test_the_same_news_does_not_end_two_waits(either: Lane) -> None:
    one = Waiting(either)
    one.waiter.wake()
    one.end()
    again = Waiting(either, one.waiter)
    assert again.gate.opened == 0, "it blocks"
    again.waiter.wake()
    again.end()
    assert again.news


def test_news_that_comes_twice_lets_in_one_alone_and_keeps_no_place(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.face = Turnstile(2)
    with slow(monkeypatch):
        twice, others = Waiting(lane), [Waiting(lane) for _ in range(2)]
    twice.waiter.wake()
    twice.waiter.wake()
    assert twice.gate.opened == 2, "the second time it is open already"
    for one in others:
        one.waiter.wake()
    assert [one.gate.opened for one in others] == [1, 0]
    for one in (twice, *others):
        let_run(one)


class Raced(deque[Any]):
    """A deque that is found empty, though something was in it a moment ago; then somebody steps in."""

    def __init__(self, items: list[Any], step_in: Callable[[], object]) -> None:
        super().__init__(items)
        self.step_in: list[Callable[[], object]] = [step_in]

    def popleft(self) -> Any:
        if not self.step_in:
            return super().popleft()
        self.clear()  # another thread was faster
        self.step_in.pop()()
        raise IndexError


def test_who_comes_as_the_line_is_found_empty_goes_on(lane: Lane) -> None:
    late = Waiting(lane)
    turnstile: Any = lane.face
    turnstile._line = Raced([waiter_of(lane)], late.waiter.wake)  # finds that no place is free
    turnstile.advance()
    late.end()
    assert late.news


def test_two_are_on_their_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(None)
    lane.face = Turnstile()
    with slow(monkeypatch):
        crowd = [Waiting(lane) for _ in range(5)]
    for one in crowd:
        one.waiter.wake()
    assert [one.gate.opened for one in crowd] == [1, 1, 0, 0, 0]
    let_run(crowd[1])
    assert [one.gate.opened for one in crowd] == [1, 1, 1, 0, 0]
    for one in (crowd[0], *crowd[2:]):
        let_run(one)


def test_those_who_stop_waiting_by_themselves_add_no_places(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        impatient = Waiting(lane)
        impatient.gate.run_out()
        impatient.end()
    with slow(monkeypatch):
        crowd = [Waiting(lane) for _ in range(3)]
    for one in crowd:
        one.waiter.wake()
    assert [one.gate.opened for one in crowd] == [1, 0, 0]
    for one in crowd:
        let_run(one)


def test_an_interrupt_during_the_wait_lets_in_the_next(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupts(Held):
        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            waits = self.closed
            super().acquire(blocking, timeout)
            if waits:
                raise KeyboardInterrupt
            return True

    stopped: list[BaseException] = []
    monkeypatch.setattr(threading, "excepthook", lambda hooked: stopped.append(hooked.exc_value))
    with monkeypatch.context() as patch:
        patch.setattr("tests.faces.test_turnstile.Gate", Interrupts)
        interrupted = Waiting(lane)
    other = Waiting(lane)
    interrupted.waiter.wake()
    other.waiter.wake()
    assert other.gate.opened == 0
    assert isinstance(interrupted.gate, Held)
    interrupted.gate.runs.set()
    interrupted.end()
    other.end()
    assert other.news
    assert [type(error) for error in stopped] == [KeyboardInterrupt]


def test_on_one_core_all_who_are_woken_go_on_at_once(
    open_lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow(monkeypatch):
        crowd = [Waiting(open_lane) for _ in range(3)]
    for one in crowd:
        one.waiter.wake()
    assert [one.gate.opened for one in crowd] == [1, 1, 1]
    for one in crowd:
        let_run(one)


def test_on_one_core_news_that_comes_twice_is_no_error(
    open_lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow(monkeypatch):
        twice = Waiting(open_lane)
    twice.waiter.wake()
    twice.waiter.wake()
    let_run(twice)


NONE = type(None)


@pytest.mark.parametrize(("cores", "kind"), [({3}, NONE), ({0, 1}, Turnstile)])
def test_the_cores_that_a_process_may_use_say_how_its_threads_go_on(
    cores: set[int], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores)
    assert isinstance(Pool(ScriptedConnector())._lane.face, kind)


@pytest.mark.parametrize(("cores", "kind"), [(1, NONE), (None, NONE), (8, Turnstile)])
def test_where_the_system_has_no_affinity_the_number_of_cores_says_it(
    cores: int | None, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert isinstance(entrance(), kind)
