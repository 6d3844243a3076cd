"""From two looks at a pool to rates and quantiles."""

from __future__ import annotations

from collections.abc import Sequence

from cenote import Holder, Stats
from cenote.cli.sample import HISTORY, Sampler, SideSampler, Spread, since
from cenote.cli.work import Failure, Progress
from cenote.cli.worlds import Absent
from tests.cli.pictures import histogram, stats


class Shown:
    """A pool whose numbers are set by the test."""

    def __init__(self, now: Stats | None = None) -> None:
        self.now = now or stats()

    def stats(self) -> Stats:
        return self.now

    def holders(self) -> list[Holder]:
        return [Holder(1, "app.py:1 in go", 2.0)]


def sampler(progress: Sequence[Progress], pool: Shown | None = None) -> SideSampler:
    return SideSampler("threads", "sqlite3", pool or Shown(), progress)


def test_the_rate_is_that_of_the_last_second() -> None:
    one, other = Progress(), Progress()
    look = sampler([one, other])
    assert look.take(100.0).rate == 0
    one.done = 50
    assert look.take(100.5).rate == 100
    one.done = 60
    assert look.take(101.0).rate == 60
    other.done = 40
    assert look.take(101.5).rate == 50


def test_the_history_has_a_value_for_each_second_and_an_end() -> None:
    progress = Progress()
    look = sampler([progress])
    for second in range(2 * HISTORY):
        progress.done += second
        last = look.take(float(second))
        look.take(second + 0.5)
    assert last.history == tuple(float(second) for second in range(HISTORY, 2 * HISTORY))


def test_quantiles_are_of_the_last_seconds_only() -> None:
    pool = Shown(stats(wait_time=histogram((1.0, 1000))))
    look = sampler([], pool)
    assert look.take(0.0).recent_wait == Spread(0, 0)
    pool.now = stats(wait_time=histogram((0.25, 10), (1.0, 1000)))
    assert look.take(4.0).recent_wait == Spread(0.25, 0.25)
    pool.now = stats(wait_time=histogram((0.25, 10), (1.0, 1010)))
    assert look.take(9.5).recent_wait == Spread(1.0, 1.0)


def test_a_difference_of_histograms_has_what_came_between() -> None:
    between = since(histogram((0.1, 2), (0.2, 5), (0.4, 1)), histogram((0.2, 3)))
    assert between.buckets == ((0.1, 2), (0.2, 2), (0.4, 1))
    assert between.count == 5


def test_the_latest_error_of_all_workers_is_shown() -> None:
    first, second = Progress(), Progress()
    first.errors, first.last = 2, Failure(10.0, "older")
    second.errors, second.last = 1, Failure(12.0, "newer")
    picture = sampler([first, Progress(), second]).take(15.0)
    assert (picture.errors, picture.last_error, picture.error_age) == (3, "newer", 3.0)


def test_an_absent_world_is_passed_on_as_it_is() -> None:
    absent = Absent("tasks", "no driver")
    picture = Sampler("here", "a_table", [absent], began=5.0, seconds=3.0).take(7.0)
    assert picture.sides == (absent,)
    assert (picture.elapsed, picture.wave) == (2.0, "rush")
    assert Sampler("here", "a_table", [absent], began=5.0, seconds=3.0).take(16.0).wave == "quiet"
