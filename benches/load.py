"""Many workers at once, each taking turn after turn until time is up: for threads and for tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

Turn = Callable[[], object]
AsyncTurn = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Load:
    """What the workers did: the turns of each, and how long it took until the last one had stopped."""

    turns: Sequence[int]
    seconds: float

    @property
    def per_second(self) -> float:
        """Turns of all workers per second."""
        return sum(self.turns) / self.seconds

    @property
    def unfairness(self) -> float:
        """Turns of the busiest worker for each turn of the least served one."""
        return max(self.turns) / max(1, min(self.turns))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


def run_threads(turns: Sequence[Turn], seconds: float) -> Load:
    """Run each of `turns` in a thread of its own, over and over, for `seconds`."""
    counts = [0] * len(turns)
    failures: list[BaseException] = []
    stop = threading.Event()
    start = threading.Barrier(len(turns) + 1)

    def work(index: int, turn: Turn) -> None:
        done = 0
        start.wait()
        try:
            while not stop.is_set():
                turn()
                done += 1
        except BaseException as failure:  # noqa: BLE001 - raised again below, in the thread that measures
            failures.append(failure)
            stop.set()
        counts[index] = done

    threads = [threading.Thread(target=work, args=item, daemon=True) for item in enumerate(turns)]
    for thread in threads:
        thread.start()
    start.wait()
    began = perf_counter()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    took = perf_counter() - began
    if failures:
        raise failures[0]
    return Load(counts, took)


async def run_tasks(turns: Sequence[AsyncTurn], seconds: float) -> Load:
    """Run each of `turns` in a task of its own, over and over, for `seconds`."""
    counts = [0] * len(turns)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True

    async def work(index: int, turn: AsyncTurn) -> None:
        done = 0
        while not stopped:
            await turn()
            done += 1
        counts[index] = done

    began = perf_counter()
    asyncio.get_running_loop().call_later(seconds, stop)
    async with asyncio.TaskGroup() as group:
        for index, turn in enumerate(turns):
            group.create_task(work(index, turn))
    return Load(counts, perf_counter() - began)
