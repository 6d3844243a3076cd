"""From one URL to the two worlds of the demo, threads and tasks, as far as there are drivers for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cenote import AsyncPool, Pool, drivers
from cenote.cli import dialects
from cenote.cli.tasks import Tasks
from cenote.cli.threads import Threads
from cenote.cli.work import World
from cenote.drivers._urls import scheme_of, with_scheme
from cenote.errors import ConfigError
from cenote.options import Options


@dataclass(frozen=True, slots=True)
class Absent:
    """A world that is not shown, and the reason."""

    kind: str
    reason: str


def make(url: str, options: Callable[[str], Options], table: str) -> list[World | Absent]:
    """Make the world of threads and that of tasks; opens nothing.

    A scheme like ``postgresql+asyncpg`` names a driver of one world: the other takes the database's usual
    one, and is left out if that cannot be. A scheme both know needs a driver in one of them.

    Raises:
        ConfigError: neither world can be made, or not the one whose driver the URL names.
    """
    scheme = scheme_of(url).replace("postgres+", "postgresql+")
    usual = with_scheme(url, scheme.partition("+")[0])
    made: list[World | Absent] = []
    wanted: list[ConfigError | None] = []  # what became of each world that knows the URL's own scheme
    for kind, build, own, foreign in (
        ("threads", _threads, drivers._SYNC, drivers._ASYNC),
        ("tasks", _tasks, drivers._ASYNC, drivers._SYNC),
    ):
        named = scheme in own or scheme not in foreign
        refused: ConfigError | None = None
        try:
            made.append(build(options(url if named else usual), table))
        except ConfigError as error:
            refused = error
            made.append(Absent(kind, str(error)))
        if named:
            wanted.append(refused)
    if wanted[0] is not None and all(wanted):
        raise wanted[0]
    return made


def _threads(options: Options, table: str) -> World:
    pool: Pool[Any] = Pool(options)
    return Threads(pool, _dialect(dialects.THREADS, pool), table)


def _tasks(options: Options, table: str) -> World:
    pool: AsyncPool[Any] = AsyncPool(options)
    return Tasks(pool, _dialect(dialects.TASKS, pool), table)


def _dialect(table: dict[str, dialects.Dialect[dialects.Run]], pool: Any) -> dialects.Dialect[dialects.Run]:
    driver = type(pool._connector).__module__.rpartition(".")[2]
    if driver not in table:
        known = ", ".join(dialect.driver for dialect in table.values())
        raise ConfigError(f"the demo has no SQL for {driver}; it works with {known}")
    return table[driver]
