"""``cenote bench`` from beginning to end: check, connect, make the table, run, drop the table, report."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from cenote.cli import DONE, FAILED, INTERRUPTED, MISUSED
from cenote.cli.bell import Bell
from cenote.cli.bench import plot
from cenote.cli.bench.arguments import STANDARD_OUTPUT, Plan
from cenote.cli.bench.context import Bench, Experiment
from cenote.cli.bench.experiments import EXPERIMENTS
from cenote.cli.bench.progress import bars, teller
from cenote.cli.bench.report import Report, console_for
from cenote.cli.bench.results import Result
from cenote.cli.bench.site import Failed, Site
from cenote.errors import ConfigError


def run(arguments: argparse.Namespace) -> int:
    """Run the experiments and return the exit status."""
    try:
        if arguments.plot is not None:
            plot.require()
        site = Site(arguments.url)
        report, interrupted = _measure(site, Plan.of(arguments))
        _publish(report, arguments.json, None if interrupted else arguments.plot)
    except ConfigError as error:
        return _complain(str(error), MISUSED)
    except (Failed, OSError) as error:
        if isinstance(error, BrokenPipeError):  # as in `cenote bench ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would complain
            return FAILED
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:  # before there was anything to show, or a second time
        return INTERRUPTED
    if interrupted:
        return _complain("interrupted; what was made on the server is dropped", INTERRUPTED)
    return FAILED if any(result.failed for result in report.results) else DONE


def _complain(text: str, status: int) -> int:
    print(f"cenote bench: {' '.join(text.split())}", file=sys.stderr)
    return status


def _measure(site: Site, plan: Plan) -> tuple[Report, bool]:
    """Run what was asked for; say whether somebody ended it, and then report what there is."""
    server = site.version()
    results: list[Result] = []
    interrupted = False
    chosen = [experiment for experiment in EXPERIMENTS if experiment.name in plan.names]
    with Bell() as bell, site.own_tables(), ExitStack() as screen:
        drawn = bars()
        if drawn is not None:
            screen.enter_context(drawn)
        bench = Bench(site, plan, bell, teller(drawn))
        try:
            results.extend(_one(experiment, bench) for experiment in chosen)  # those before the end are kept
        except KeyboardInterrupt:
            interrupted = True
    return Report(site.where, server, site.driver, plan, tuple(results)), interrupted


def _one(experiment: Experiment, bench: Bench) -> Result:
    """Run one experiment; what breaks it off does not break off the others."""
    bench.progress.begin(experiment.name, experiment.steps(bench.plan))
    try:
        return experiment.run(bench)
    except Exception as error:  # noqa: BLE001 - drivers raise what they like, and it is shown
        text = str(error) if isinstance(error, Failed) else bench.site.describe(error)
        return Result(name=experiment.name, title=experiment.title, failed=text)
    finally:
        bench.progress.end()


def _publish(report: Report, figures: Path | None, picture: Path | None) -> None:
    """Print the tables, and write the files that were asked for."""
    alone = figures == STANDARD_OUTPUT
    report.show(console_for(sys.stderr if alone else sys.stdout))
    if alone:
        print(report.as_json())
    elif figures is not None:
        figures.write_text(report.as_json() + "\n", encoding="utf-8")
    if picture is not None:
        plot.draw(report, picture)
