"""Five statements that sleep for two seconds, started one second apart, under several settings side by side.

The first is started at once. Every dial is made to last 0.2 s longer, as to a server far away, since that is
what the settings differ in. Then, with a connection that is used once:

- one open: the statements follow each other, and each pays its dial: 5 × (0.2 + 2) = 11 s;
- three open, none kept idle: nobody waits, the last begins after 4 s and pays its dial: 4 + 0.2 + 2 = 6.2 s.

With connections that are kept it is 0.2 + 5 × 2 = 10.2 s with one, and 4 + 2 = 6 s with three.

A returned connection is handed to whoever waits, whatever `max_idle` says. "Used once" is therefore a
`max_lifetime` shorter than the statement.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from cenote import Pool
from cenote.cli.bench.arguments import Plan
from cenote.cli.bench.context import Bench
from cenote.cli.bench.load import Crew
from cenote.cli.bench.results import Column, Result, Row, plural, seconds, whole
from cenote.cli.bench.site import Witness
from cenote.options import OptionsDict

CALLERS = 5
SLEEP, TICK, FAR = 2.0, 1.0, 0.2
"""Seconds: of a statement, between two starts, and more for every dial."""
PATIENCE = 60.0
ALLOWED = 2
"""Connections that the account with a limit may have: one fewer than would be needed."""

COLUMNS = (
    Column("seconds", "in all", seconds),
    Column("connections", "connection phases", whole),
    Column("refused_dials", "dials refused", whole),
    Column("waits", "had to wait", whole),
    Column("wait_seconds", "waited", seconds),
    Column("errors", "errors", whole),
)


@dataclass(slots=True)
class Case:
    """One setting: `once` is a connection that serves one statement, `limited` a server that allows few."""

    label: str
    options: OptionsDict
    once: bool = False
    limited: bool = False
    ended: list[float] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)


def _cases() -> tuple[Case, ...]:
    return (
        Case("max open 1, used once", {"max_open": 1}, once=True),
        Case("max open 1", {"max_open": 1}),
        Case(f"unlimited, server allows {ALLOWED}", {"max_open": None}, limited=True),
        Case("max open 3, max idle 0", {"max_open": 3, "max_idle": 0}),
        Case("max open 3, max idle 3", {"max_open": 3, "max_idle": 3}),
    )


class Sleeps:
    """See `cenote.cli.bench.context.Experiment`."""

    name = "sleep"
    title: str = f"{CALLERS} statements of {SLEEP:g} s, started {TICK:g} s apart"

    def steps(self, _plan: Plan) -> int:
        """One for each statement, as it ends."""
        return CALLERS * len(_cases())

    def run(self, bench: Bench) -> Result:
        """Run all cases at the same time: they only sleep."""
        cases = _cases()
        rows: list[Row] = []
        with bench.site.own_account(ALLOWED) as account, ExitStack() as undo:
            pools: dict[str, Pool[Any]] = {}
            for case in cases:
                connector = account if case.limited else bench.site.connector
                if isinstance(connector, str):
                    continue
                options: OptionsDict = {**case.options, "timeout": PATIENCE}
                if case.once:
                    options["max_lifetime"] = SLEEP * bench.plan.scale / 2
                witness = Witness(connector, FAR * bench.plan.scale)
                pools[case.label] = undo.enter_context(bench.site.pool(witness, **options))
            began = time.perf_counter()
            self._call(bench, [(case, pools[case.label]) for case in cases if case.label in pools], began)
            for case in cases:
                pool = pools.get(case.label)
                rows.append(_row(case, pool, began, str(account)))
        return Result(
            name=self.name,
            title=self.title,
            columns=COLUMNS,
            rows=tuple(rows),
            shape=tuple(_shape(row) for row in rows if not row.problem),
            notes=(
                f"every dial is made to last {FAR * bench.plan.scale:g} s longer, as to a server far away",
                *(f"{row.label}: not run: {row.problem}" for row in rows if row.problem),
                *(f"{case.label}: {bench.site.describe(case.errors[0])}" for case in cases if case.errors),
            ),
        )

    def _call(self, bench: Bench, calls: list[tuple[Case, Pool[Any]]], began: float) -> None:
        crew = Crew(bench.bell)
        scale = bench.plan.scale
        told = threading.Lock()

        def call(case: Case, pool: Pool[Any], number: int) -> None:
            if crew.stop.wait(max(began + number * TICK * scale - time.perf_counter(), 0)):
                return
            try:
                with pool.connection() as connection:
                    bench.site.sleep(connection, SLEEP * scale)
            except Exception as error:  # noqa: BLE001 - whatever a driver raises is counted
                case.errors.append(error)
            case.ended.append(time.perf_counter())
            with told:
                bench.progress.step()

        crew.run(
            [
                lambda case=case, pool=pool, number=number: call(case, pool, number)  # type: ignore[misc]  # defaults bind
                for case, pool in calls
                for number in range(CALLERS)
            ]
        )


def _row(case: Case, pool: Pool[Any] | None, began: float, problem: str) -> Row:
    settings = {**case.options, "used_once": case.once, "server_allows": ALLOWED if case.limited else None}
    if pool is None:
        return Row(label=case.label, settings=settings, values={}, problem=problem)
    stats = pool.stats()
    values = {
        "seconds": max(case.ended) - began,
        "connections": stats.connect_count,
        "refused_dials": stats.connect_errors,
        "waits": stats.wait_count,
        "wait_seconds": stats.wait_duration,
        "errors": len(case.errors),
    }
    return Row(label=case.label, settings=settings, values=values)


def _shape(row: Row) -> str:
    values = row.values
    phases = plural(values["connections"], "connection phase")
    refused = f", {plural(values['refused_dials'], 'dial')} refused" if values["refused_dials"] else ""
    return f"{row.label}: {values['seconds']:.1f} s, {phases}{refused}"
