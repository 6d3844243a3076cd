"""``python -m benches``: measure the cases asked for, print the table, say which bars were held."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benches import cores, report
from benches.cases import CASES
from benches.database import Database
from benches.measure import Measured
from benches.process import alone
from benches.settings import Case, Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 if a case crashed or, with ``--strict``, if a bar was missed."""
    choices = parser().parse_args(arguments)
    if not choices.shared_cores:
        cores.keep_apart()
    picked = [case for case in CASES if not choices.only or case.key in choices.only]
    measured, crashed = measure(picked, Settings(Database(choices.postgres), choices.rounds, choices.quick))
    rows = [row for key, several in measured.items() for one in several for row in one.rows(key)]
    draw = report.markdown if choices.markdown else report.table
    sys.stdout.write(f"{report.heading()}\n\n{draw(rows)}\n")
    if choices.json:
        choices.json.write_text(report.as_json(measured), encoding="utf-8")
    return int(crashed or (choices.strict and bool(report.missed(rows))))


def measure(cases: Sequence[Case], settings: Settings) -> tuple[dict[str, list[Measured]], bool]:
    """Measure one case after the other; one that crashes is shown and does not take the others along."""
    measured: dict[str, list[Measured]] = {}
    crashed = False
    for case in cases:
        began = perf_counter()
        report.say(f"{case.key}: {case.title} …")
        try:
            measured[case.key] = alone(case, settings)
        except Exception:  # noqa: BLE001 - shown below, and the exit code tells
            crashed = True
            report.say(f"{case.key} crashed:\n{traceback.format_exc()}")
        else:
            report.say(f"{case.key}: {perf_counter() - began:.0f} s")
    return measured, crashed


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    described = "\n".join(f"  {case.key:20}{case.title}" for case in CASES)
    command = argparse.ArgumentParser(
        prog="python -m benches",
        description=f"Measure cenote beside its peers, in ratios.\n\ncases:\n{described}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add(
        "--only",
        action="append",
        choices=[case.key for case in CASES],
        metavar="CASE",
        help="a case; repeatable",
    )
    add("--rounds", type=positive, metavar="N", help="rounds of every case, in place of its own number")
    add("--quick", action="store_true", help="few and short rounds: does it run at all?")
    add("--json", type=new_file, metavar="FILE", help="write every figure of every round")
    add("--markdown", action="store_true", help="print the table as Markdown")
    add("--shared-cores", action="store_true", help="leave it to the scheduler where client and servers run")
    add("--strict", action="store_true", help="fail when a bar is missed")
    add(
        "--postgres",
        type=address,
        metavar="URL",
        help="use this PostgreSQL (postgresql://…) in place of a private one",
    )
    return command


def positive(text: str) -> int:
    """Read a whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} rounds make no median: give 1 or more")
    return int(text)


def new_file(text: str) -> Path:
    """Read where to write to, and see now that it can be done rather than after all has been measured."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be written: give a file in a directory that exists"
        )
    return path


def address(text: str) -> str:
    """Read a URL that all drivers understand."""
    if not text.startswith("postgresql://"):
        # It may hold a password, so it is not shown.
        raise argparse.ArgumentTypeError("this URL does not begin with postgresql:// as it must")
    return text


if __name__ == "__main__":
    sys.exit(main())
