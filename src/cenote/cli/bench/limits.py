"""A server with a limit: how a pool without one meets "too many clients", and a pool with one does not.

The limit is that of an account made for it, so that nobody else on the server is refused. The flood is small:
a pool dials for those who wait and no more, and pauses after each refusal.
"""

from __future__ import annotations

import time
from typing import Any

from cenote.cli.bench.arguments import Plan
from cenote.cli.bench.context import Bench
from cenote.cli.bench.load import Crew
from cenote.cli.bench.results import Column, Result, Row, duration, plural, seconds, whole
from cenote.cli.bench.site import Witness
from cenote.connector import Connector
from cenote.options import OptionsDict

ALLOWED = 5
"""Connections that the account may have."""
CALLERS = 10
HOLD = 0.2
"""Seconds each caller's statement takes, so that all want a connection at once."""

COLUMNS = (
    Column("refused_dials", "dials refused", whole),
    Column("connections", "connections made", whole),
    Column("errors", "callers with an error", whole),
    Column("waits", "had to wait", whole),
    Column("wait_p99", "wait p99", duration),
    Column("seconds", "in all", seconds),
)
CASES: tuple[tuple[str, OptionsDict], ...] = (
    ("unlimited", {"max_open": None}),
    ("max open 3", {"max_open": 3}),
)


class ServerLimit:
    """See `cenote.cli.bench.context.Experiment`."""

    name = "server-limit"
    title: str = f"{CALLERS} callers at once, where the server allows {ALLOWED} connections"

    def steps(self, _plan: Plan) -> int:
        """One for each case."""
        return len(CASES)

    def run(self, bench: Bench) -> Result:
        """Run both cases on an account of their own."""
        with bench.site.own_account(ALLOWED) as account:
            if isinstance(account, str):
                return Result(name=self.name, title=self.title, not_run=account)
            rows, said = [], []
            for label, options in CASES:
                row, answer = self._flood(bench, account, label, options)
                rows.append(row)
                said += [f"{label}: the server said: {answer}"] if answer else []
                bench.progress.step()
        shape = tuple(
            f"{row.label}: {plural(row.values['refused_dials'], 'dial')} refused, "
            f"{plural(row.values['errors'], 'caller')} with an error"
            for row in rows
        )
        notes = (*said, "a caller whose dial is refused waits for a connection that comes back")
        return Result(
            name=self.name, title=self.title, columns=COLUMNS, rows=tuple(rows), shape=shape, notes=notes
        )

    def _flood(
        self, bench: Bench, account: Connector[Any], label: str, options: OptionsDict
    ) -> tuple[Row, str | None]:
        witness = Witness(account)
        hold = HOLD * bench.plan.scale
        errors: list[Exception] = []

        def call() -> None:
            try:
                with pool.connection() as connection:
                    bench.site.sleep(connection, hold)
            except Exception as error:  # noqa: BLE001 - whatever a driver raises is counted
                errors.append(error)

        with bench.site.pool(witness, **options) as pool:
            began = time.perf_counter()
            Crew(bench.bell).run([call] * CALLERS)
            took = time.perf_counter() - began
            stats = pool.stats()
        values = {
            "refused_dials": stats.connect_errors,
            "connections": stats.connect_count,
            "errors": len(errors),
            "waits": stats.wait_count,
            "wait_p99": stats.wait_time.quantile(0.99),
            "seconds": took,
        }
        said = bench.site.describe(next(iter([*witness.refusals, *errors]), Exception()))
        answer = said if witness.refusals or errors else None
        return Row(label=label, settings={**options, "server_allows": ALLOWED}, values=values), answer
