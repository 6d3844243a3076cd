"""Parallel INSERTs by `max_open`, by `max_idle` and by `max_lifetime`: three experiments of one make.

Every case is measured in every round, and the direction turns from round to round, so that whatever else the
machine does hits all cases alike. Each measurement has a pool of its own, which is warmed up first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from cenote import Pool
from cenote.cli.bench import load
from cenote.cli.bench.arguments import Plan
from cenote.cli.bench.context import Bench
from cenote.cli.bench.load import Done
from cenote.cli.bench.results import Column, Result, Row, compare, duration, ratio, size, whole
from cenote.cli.sample import since
from cenote.options import OptionsDict

WARM_UP = 0.15
"""Of the time of a measurement."""

COLUMNS = (
    Column("ns_per_op", "ns/op", whole),
    Column("ops", "INSERTs", whole),
    Column("connections", "connections made", whole),
    Column("dials_per_op", "dials/op", ratio),
    Column("bytes_per_op", "memory/op", size),
    Column("waits", "had to wait", whole),
    Column("wait_p99", "wait p99", duration),
)


class Case(NamedTuple):
    """One setting of the pool."""

    label: str
    options: OptionsDict


@dataclass(frozen=True, slots=True)
class Inserts:
    """Parallel INSERTs under several settings of one option, see `cenote.cli.bench.context.Experiment`.

    Attributes:
        at_once: as many connections as there are workers are taken at once, used and given back together.
        longer: how many times the usual seconds a measurement takes.
        describe: the shape of the rows in words.
        notes: what has to be known about the figures.
    """

    name: str
    title: str
    cases: tuple[Case, ...]
    describe: Callable[[Sequence[Row]], tuple[str, ...]]
    at_once: bool = False
    longer: float = 1.0
    notes: tuple[str, ...] = ()

    def steps(self, plan: Plan) -> int:
        """One for each measurement, and one for the memory of each case."""
        return len(self.cases) * (plan.rounds + 1)

    def run(self, bench: Bench) -> Result:
        """Measure all cases round by round."""
        found: dict[str, list[dict[str, float]]] = {case.label: [] for case in self.cases}
        for number in range(bench.plan.rounds):
            for case in self.cases[:: -1 if number % 2 else 1]:
                found[case.label].append(self._measure(bench, case))
                bench.progress.step()
        rows = []
        for case in self.cases:
            samples = found[case.label]
            values = {key: float(median(sample[key] for sample in samples)) for key in samples[0]}
            values["bytes_per_op"] = self._memory(bench, case)
            bench.progress.step()
            rounds = tuple(round(sample["ns_per_op"]) for sample in samples)
            rows.append(Row(label=case.label, settings={**case.options}, values=values, rounds=rounds))
        return Result(
            name=self.name,
            title=self.title,
            columns=COLUMNS,
            rows=tuple(rows),
            shape=self.describe(rows),
            notes=self.notes,
        )

    def _measure(self, bench: Bench, case: Case) -> dict[str, float]:
        if self.at_once:
            bench.site.clear_scratch()
        seconds = bench.plan.seconds * bench.plan.scale * self.longer
        with bench.site.pool(**case.options) as pool:
            self._work(bench, pool, seconds * WARM_UP)
            before = pool.stats()
            done = self._work(bench, pool, seconds)
            after = pool.stats()
        return {
            "ns_per_op": done.seconds / done.operations * 1e9,
            "ops": done.operations,
            "connections": after.connect_count,  # those of the warm-up too, which opens the first
            "dials_per_op": (after.connect_count - before.connect_count) / done.operations,
            "waits": after.wait_count - before.wait_count,
            "wait_p99": since(after.wait_time, before.wait_time).quantile(0.99),
        }

    def _work(self, bench: Bench, pool: Pool[Any], seconds: float) -> Done:
        site, workers = bench.site, bench.plan.workers
        if self.at_once:
            return load.armfuls(pool, site.insert_scratch, workers, load.until(seconds), bench.bell)
        return load.stream(pool, site.insert, workers, seconds, bench.bell)

    def _memory(self, bench: Bench, case: Case) -> float:
        site, workers = bench.site, bench.plan.workers
        with bench.site.pool(**case.options) as pool:
            self._work(bench, pool, 0.0)
            with load.Memory() as memory:
                if self.at_once:
                    load.armfuls(pool, site.insert_scratch, workers, memory.again, bench.bell)
                else:
                    load.waves(pool, site.insert, workers, memory.again, bench.bell)
            return memory.bytes() / workers


def _ns(row: Row) -> float:
    return row.values["ns_per_op"]


def _by_open(rows: Sequence[Row]) -> tuple[str, ...]:
    one, *_, ten, unlimited = rows
    return (
        compare(f"{ten.label} open", _ns(ten), one.label, _ns(one)),
        compare(unlimited.label, _ns(unlimited), f"{ten.label} open", _ns(ten)),
    )


def _by_idle(rows: Sequence[Row]) -> tuple[str, ...]:
    none, *_, ten = rows
    dials = [row.values["dials_per_op"] for row in (none, ten)]
    return (
        compare(f"{ten.label} idle", _ns(ten), none.label, _ns(none)),
        f"connections made for each INSERT: {dials[0]:.2f} with none idle, {dials[1]:.2f} with {ten.label}",
    )


def _by_lifetime(rows: Sequence[Row]) -> tuple[str, ...]:
    shortest, *_, unlimited = rows
    made, fewest = (row.values["connections"] for row in (shortest, unlimited))
    return (
        compare(unlimited.label, _ns(unlimited), shortest.label, _ns(shortest)),
        f"{shortest.label}: {made:,.0f} connections made instead of {fewest:,.0f}",
    )


MAX_OPEN = Inserts(
    "max-open",
    "parallel INSERTs by max_open",
    (
        *(Case(str(most), {"max_open": most}) for most in (1, 2, 5, 10)),
        Case("unlimited", {"max_open": None}),
    ),
    _by_open,
)
# A returned connection is handed to whoever waits, whatever max_idle says: a queue would hide what it
# is worth. So the connections are taken all at once, by one thread, and nobody waits for what is given back.
# The disk is kept out of it: how long a commit waits for it has nothing to do with connections.
MAX_IDLE = Inserts(
    "max-idle",
    "INSERTs on many connections at once, by max_idle",
    (
        Case("none", {"max_open": None, "max_idle": 0}),
        *(Case(str(most), {"max_open": None, "max_idle": most}) for most in (1, 2, 5, 10)),
    ),
    _by_idle,
    at_once=True,
    notes=(
        "all are given back together: max_idle are kept, and the others have to be opened again",
        "the table is one whose rows need not reach the disk, which would hide what connections cost",
    ),
)
LIFETIME = Inserts(
    "lifetime",
    "parallel INSERTs by max_lifetime",
    (
        *(Case(age, {"max_open": None, "max_lifetime": age}) for age in ("100ms", "200ms", "500ms", "1s")),
        Case("unlimited", {"max_open": None, "max_lifetime": None}),
    ),
    _by_lifetime,
    longer=2.4,  # so that connections come of age even with the longest
)
