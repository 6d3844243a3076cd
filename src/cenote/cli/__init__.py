"""The command line, ``cenote`` or ``python -m cenote.cli``: demo and bench. Its extra is ``cenote[cli]``.

Here are the arguments every command shares and the rule for errors: one line on stderr, no traceback, no
password. Each command is a module of its own, imported only when asked for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from cenote import __version__
from cenote.options import redact

DONE = 0
FAILED = 1
"""What was asked for makes sense, and could not be done."""
MISUSED = 2
"""An argument, a URL or the installation is wrong; nothing was opened."""
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line that show no password."""

    given: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """End with the message; whatever it quotes of the arguments is redacted."""
        for argument in self.given:
            for quoted in (argument, repr(argument)[1:-1]):
                message = message.replace(quoted, redact(quoted))
        self.exit(MISUSED, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 failed, 2 misused."""
    Parser.given = sys.argv[1:] if argv is None else argv
    parser = Parser("cenote", description="One connection pool for every driver.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"cenote {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_bench(commands)
    arguments = parser.parse_args(argv)
    try:
        import rich  # noqa: F401, PLC0415 - whether it is there; --help and --version do without
    except ImportError:
        print(
            "cenote: the command line needs rich; install it with: pip install 'cenote[cli]'", file=sys.stderr
        )
        return MISUSED
    status: int = import_module(arguments.module).run(arguments)  # imports rich
    return status


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    from cenote.cli import arguments  # noqa: PLC0415 - nothing of a command is imported with the package

    about = "See a pool at work: real statements, from threads and from asyncio tasks side by side."
    parser = commands.add_parser("demo", help=about, description=about, allow_abbrev=False)
    parser.set_defaults(module="cenote.cli.demo")
    arguments.add(parser)


def _add_bench(commands: argparse._SubParsersAction[Parser]) -> None:
    from cenote.cli.bench import arguments  # noqa: PLC0415 - as above

    about = "Measure on your own database what each option of a pool is worth."
    parser = commands.add_parser("bench", help=about, description=about, allow_abbrev=False)
    parser.set_defaults(module="cenote.cli.bench.command")
    arguments.add(parser)
