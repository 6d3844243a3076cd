"""The handle under test: on every database, through every driver, in threads and in asyncio, by one text.

A test is a coroutine function in either world. What may wait goes through `done`, blocks through `using`,
rows through `each`: in asyncio they await, in threads nothing is left to await, so the same text blocks.
What has to happen at once is begun with `World.start`, as a thread or as a task.

A driver is added by a line in `KINDS`.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from itertools import count
from os import sched_yield
from time import monotonic
from typing import Any, Literal, Unpack

import cenote
from cenote.options import OptionsDict
from tests.patience import SAFETY

Work = Callable[[], Coroutine[Any, Any, Any]]
Database = Literal["sqlite", "postgresql", "mysql"]


@dataclass(frozen=True)
class Kind:
    """A driver in one of the two worlds.

    Attributes:
        placeholder: how a parameter is written: ``?``, ``%s``, or ``$`` for ``$1``, ``$2``.
        named: how a parameter with a name is written; None if the driver knows no names.
        holds: whether a result of several batches keeps its connection until it is read.
        dbapi: the module, if its connections follow PEP 249.
        main: whether it runs every test. The others of a family run those of statements, rows, values,
            errors and transactions only, since they share most of their code with a main one.
    """

    name: str
    scheme: str
    database: Database
    asynchronous: bool
    placeholder: str
    named: str | None
    holds: bool = True
    dbapi: str | None = None
    main: bool = True

    @property
    def spares(self) -> bool:
        """Whether a result of several batches that is closed early spares its connection.

        A MySQL server sends all of it, whoever listens, so that a new connection is cheaper.
        """
        return self.database != "mysql"


KINDS = [
    Kind("sqlite3", "sqlite", "sqlite", False, "?", ":{}", dbapi="sqlite3"),
    Kind("aiosqlite", "sqlite", "sqlite", True, "?", ":{}"),
    Kind("psycopg", "postgresql", "postgresql", False, "%s", "%({})s", dbapi="psycopg"),
    Kind("async psycopg", "postgresql", "postgresql", True, "%s", "%({})s"),
    Kind("psycopg2", "postgresql+psycopg2", "postgresql", False, "%s", "%({})s", False, "psycopg2"),
    Kind("asyncpg", "postgresql+asyncpg", "postgresql", True, "$", None, False),
    Kind("PyMySQL", "mysql", "mysql", False, "%s", "%({})s", dbapi="pymysql"),
    Kind("mysqlclient", "mysql+mysqldb", "mysql", False, "%s", "%({})s", dbapi="MySQLdb", main=False),
    Kind(
        "Connector/Python",
        "mysql+mysqlconnector",
        "mysql",
        False,
        "%s",
        "%({})s",
        dbapi="mysql.connector",
        main=False,
    ),
    Kind("asyncmy", "mysql", "mysql", True, "%s", "%({})s"),
    Kind("aiomysql", "mysql+aiomysql", "mysql", True, "%s", "%({})s", main=False),
]
MAIN = [kind for kind in KINDS if kind.main]

BLOB: dict[Database, str] = {"sqlite": "blob", "postgresql": "bytea", "mysql": "blob"}
SLOW: dict[Database, str] = {
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n",
    "postgresql": "select pg_sleep(30)",
    "mysql": "select sleep(30)",
}


async def done(value: Any) -> Any:
    """Await what has to be awaited."""
    return await value if isawaitable(value) else value


@asynccontextmanager
async def using(manager: Any) -> AsyncIterator[Any]:
    """Enter a block that may be an async one."""
    if hasattr(manager, "__aenter__"):
        async with manager as inner:
            yield inner
    else:
        with manager as inner:
            yield inner


async def each(rows: Any) -> AsyncIterator[Any]:
    """Iterate over what may be iterated over in either way."""
    if hasattr(rows, "__aiter__"):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


async def first(rows: Any, number: int = 1) -> list[Any]:
    """Read so many rows and leave the others."""
    found: list[Any] = []
    async for row in each(rows):
        found.append(row)
        if len(found) == number:
            break
    return found


class Started:
    """Work that was begun beside the test."""

    def __init__(self, *, asynchronous: bool, work: Work) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._future: Future[Any] = Future()
        if asynchronous:
            self._task = asyncio.get_running_loop().create_task(work())
        else:
            threading.Thread(target=self._run, args=(work,), name="caller", daemon=True).start()

    def _run(self, work: Work) -> None:
        try:
            work().send(None)
        except StopIteration as end:
            self._future.set_result(end.value)
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            self._future.set_exception(error)
        else:
            self._future.set_exception(AssertionError("a thread had something to await"))

    def cancel(self) -> None:
        """Cancel a task; a thread cannot be cancelled."""
        assert self._task is not None
        self._task.cancel()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._future.done() if self._task is None else self._task.done()

    async def result(self) -> Any:
        """Wait for its end, and give what it gave or raise what it raised."""
        if self._task is None:
            return self._future.result(SAFETY)
        return await asyncio.wait_for(self._task, SAFETY)

    async def error(self) -> BaseException | None:
        """Wait for its end, and give what it raised."""
        try:
            await self.result()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - that is the question
            return error
        return None


class Gate:
    """Something to wait for in either world."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous
        self._event = threading.Event()

    def open(self) -> None:
        """Let all pass."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until it is open."""
        if not self._asynchronous:
            assert self._event.wait(SAFETY)
        while not self._event.is_set():  # noqa: ASYNC110 - whoever opens it may be in a thread
            await asyncio.sleep(0)


class Both:
    """What a test in either world does that is no statement."""

    asynchronous: bool

    def __init__(self) -> None:
        self.handles: list[Any] = []

    def start(self, work: Work) -> Started:
        """Begin something beside the test: a thread or a task."""
        return Started(asynchronous=self.asynchronous, work=work)

    async def together(self, *works: Work) -> list[Any]:
        """Do several things at once, and give what they gave."""
        return [await one.result() for one in [self.start(work) for work in works]]

    def gate(self) -> Gate:
        """Make something to wait for."""
        return Gate(asynchronous=self.asynchronous)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Let the others go on until this is so."""
        end = monotonic() + SAFETY
        while not happened():
            assert monotonic() < end, "it did not happen"
            if self.asynchronous:
                await asyncio.sleep(0)
            else:
                sched_yield()

    async def end(self) -> None:
        """Close all handles: no connection may still be in somebody's hands, none may be left."""
        for db in self.handles:
            if not db.closed:
                assert db.stats().in_use == 0
                await done(db.close())
            assert db.stats().open_connections == 0


@dataclass(frozen=True)
class Place:
    """Where databases are: a folder for files, and the servers, which start when they are asked for."""

    folder: Any
    server: Callable[[str], Any]
    number: int

    def url(self, kind: Kind) -> str:
        """Return the address of a kind's database."""
        if kind.database == "sqlite":
            return f"sqlite:///{self.folder}/app.db"
        if kind.database == "postgresql":
            return str(self.server("postgres").url(kind.scheme))
        return str(self.server("mariadb").url(kind.scheme))


_numbers = count(1)
_furnished: set[str] = set()
"""Databases that have the tables already: making them takes longer than most tests."""


class World(Both):
    """One database through one driver, with a table of people as in Go's tests."""

    def __init__(self, kind: Kind, folder: Any, server: Callable[[str], Any]) -> None:
        super().__init__()
        self.kind = kind
        self.asynchronous = kind.asynchronous
        self.database = kind.database
        self.place = Place(folder, server, next(_numbers))
        self.url = self.place.url(kind)

    def open(self, target: Any = None, **options: Unpack[OptionsDict]) -> Any:
        """Open a handle, which is closed and looked at after the test."""
        opened: Any = cenote.open_async if self.asynchronous else cenote.open
        db = opened(self.url if target is None else target, **options)
        self.handles.append(db)
        return db

    async def open_people(self, **options: Unpack[OptionsDict]) -> Any:
        """Open a handle on a database with three people, and a table of things that is empty."""
        db = self.open(**options)
        server = self.url.partition("://")[2]
        async with using(db.conn()) as conn:
            for table, columns in (
                ("people", f"id integer primary key, name varchar(40), age integer, photo {self.blob}"),
                ("things", "id integer primary key, name varchar(40) not null, size integer"),
            ):
                if server in _furnished:
                    await done(conn.exec(f"delete from {table}"))
                else:
                    await done(conn.exec(f"create table {table} ({columns})"))
            _furnished.add(server)
            await done(conn.exec_many(self.sql("insert into people values (?, ?, ?, ?)"), PEOPLE))
        return db

    def sql(self, text: str) -> str:
        """Write a statement's ``?`` as the driver wants it."""
        if self.kind.placeholder == "$":
            numbers = count(1)
            return re.sub(r"\?", lambda _: f"${next(numbers)}", text)
        return text.replace("?", self.kind.placeholder)

    def named(self, text: str) -> str:
        """Write a statement's ``:name`` as the driver wants it."""
        named = self.kind.named
        assert named is not None
        return re.sub(r":(\w+)", lambda match: named.format(match[1]), text)

    @staticmethod
    def numbers(last: int) -> str:
        """Word a query for the numbers from 1 to `last`."""
        return (
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < "
            f"{last}) select i from n order by i"
        )

    @property
    def blob(self) -> str:
        """The type of bytes."""
        return BLOB[self.database]

    @property
    def slow(self) -> str:
        """A statement that takes longer than any test."""
        return SLOW[self.database]

    async def count(self, db: Any, table: str = "things") -> int:
        """Count a table's rows."""
        number: int = (await done(db.query_row(f"select count(*) from {table}")))[0]
        return number


PEOPLE = [(1, "Alice", 31, b"APHOTO"), (2, "Bob", 32, b"BPHOTO"), (3, "Chris", 33, b"CPHOTO")]
INSERT = "insert into things (id, name, size) values (?, ?, ?)"
MANY = 1000
"""Rows of a result that is several batches long."""
NO_TABLE = r"no such table|does not exist|doesn't exist"
