"""What every experiment is handed: the database, the plan, the bell that ends it all, and whom to tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cenote.cli.bell import Bell
from cenote.cli.bench.arguments import Plan
from cenote.cli.bench.results import Result
from cenote.cli.bench.site import Site


class Progress(Protocol):
    """Shows how far it has come."""

    def begin(self, name: str, steps: int) -> None:
        """Start an experiment of so many steps."""
        ...

    def step(self) -> None:
        """One of them is done."""
        ...

    def end(self) -> None:
        """The experiment is over, however many steps there were."""
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """The surroundings of an experiment."""

    site: Site
    plan: Plan
    bell: Bell
    progress: Progress


class Experiment(Protocol):
    """One experiment: `name` is what ``--only`` calls it, `title` says what is done."""

    @property
    def name(self) -> str:
        """As in `cenote.cli.bench.arguments.NAMES`."""
        ...

    @property
    def title(self) -> str:
        """What is done, in a few words."""
        ...

    def steps(self, plan: Plan) -> int:
        """Return how many steps it will tell of."""
        ...

    def run(self, bench: Bench) -> Result:
        """Do it. Whatever it makes on the server is gone when it returns or raises."""
        ...
