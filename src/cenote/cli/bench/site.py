"""The user's database as the experiments use it: tables of our own, and accounts of our own where allowed.

Names are random and unmistakable. What exists under such a name is left alone and another name is taken; only
what was made here is dropped, and it is dropped whatever happens.
"""

from __future__ import annotations

import secrets
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Unpack

from cenote import Pool
from cenote._secrets import authority
from cenote.cli.bench.families import FAMILIES, Accounts, Family
from cenote.cli.dialects import THREADS, Rows
from cenote.cli.work import failure
from cenote.connector import Connector
from cenote.drivers import connector_for
from cenote.errors import ConfigError, Error
from cenote.options import Options, OptionsDict, redact, split_url

TRIES = 5
PATIENCE = 10.0
"""Seconds until a caller gives up."""
LAST_WORDS = 3.0
"""Seconds a pool has to close."""
COLUMNS = ("isbn", "title", "author")
"""Text, each with an index, as tables have them: an INSERT is to be work for the server, not for us alone."""
SCATTER, KEYS = 2_654_435_761, 2**32
"""Knuth's multiplier turns consecutive numbers into scattered ones, which meet all parts of an index."""
MAY_BE_SET = ("connect_timeout", "name")


class Failed(Exception):
    """What was asked for could not be done; the text is the line to show, without a password."""


class Witness:
    """A connector that remembers why dials failed, and may take longer over each, as to a server far away."""

    def __init__(self, connector: Connector[Any], delay: float = 0.0) -> None:
        self._connector = connector
        self._delay = delay
        self.refusals: list[Exception] = []

    def connect(self, timeout: float) -> Any:
        """Open a connection; only then wait, so that the server counts it meanwhile."""
        try:
            connection = self._connector.connect(timeout)
        except Exception as error:
            self.refusals.append(error)
            raise
        time.sleep(self._delay)
        return connection

    def close(self, connection: Any) -> None:
        """Close it."""
        self._connector.close(connection)

    def __getattr__(self, name: str) -> Any:
        """All else is the connector's own."""
        return getattr(self._connector, name)


class Site:
    """One database. Making it opens nothing.

    Args:
        url: where; of a pool's options only `connect_timeout` and `name` may be in it.

    Raises:
        ConfigError: the URL is wrong, its driver is missing, or the experiments have no SQL for it.
    """

    def __init__(self, url: str) -> None:
        for option in split_url(url)[0]:
            if option not in MAY_BE_SET:
                problem = "the experiments set the options of their pools themselves"
                raise ConfigError(f"{option} (in the URL): {problem}; leave it out")
        self.options: Options = Options.from_url(url)
        assert self.options.dsn is not None
        self._dsn: str = self.options.dsn
        self.where: str = redact(self._dsn)
        self.connector: Connector[Any] = connector_for(self._dsn)
        driver = type(self.connector).__module__.rpartition(".")[2]
        if driver not in FAMILIES or driver not in THREADS:
            known = ", ".join(THREADS[name].driver for name in FAMILIES)
            raise ConfigError(f"the benchmark has no SQL for {driver}; it works with {known}")
        self.family: Family = FAMILIES[driver]
        self.driver: str = THREADS[driver].driver
        self._dialect = THREADS[driver]
        self._ids = count(1)
        self.table: str = ""
        self.scratch: str = ""

    @contextmanager
    def pool(
        self, connector: Connector[Any] | None = None, **options: Unpack[OptionsDict]
    ) -> Iterator[Pool[Any]]:
        """Make a pool on this database, or on another connector; it is closed at the end."""
        options.setdefault("timeout", PATIENCE)
        options.setdefault("connect_timeout", self.options.connect_timeout)
        options.setdefault("name", self.options.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that there is no limit is what is measured
            pool: Pool[Any] = Pool(self.connector if connector is None else connector, **options)
        try:
            yield pool
        finally:
            pool.close(LAST_WORDS)

    def run(self, connection: Any, statement: str, parameters: tuple[object, ...] = ()) -> Rows:
        """Run a statement and return its rows."""
        return self._dialect.run(connection, statement, parameters)

    def insert(self, connection: Any) -> None:
        """Write one row, and commit, since connections are in autocommit."""
        number = next(self._ids)
        key = number * SCATTER % KEYS
        row = (number, f"978-{key:010d}", f"{key:08x}: the title of a book", f"{key * 3 % KEYS:08x}, author")
        self._insert(connection, self.table, row)

    def insert_scratch(self, connection: Any) -> None:
        """Write one row, and commit, to the table for which the server does not wait for its disk."""
        number = next(self._ids)
        self._insert(connection, self.scratch, (number, f"978-{number:010d}"))

    def clear_scratch(self) -> None:
        """Take all rows out: some servers hold that table in memory, and not much of it."""
        self._ask(f"delete from {self.scratch}")  # noqa: S608 - our own name

    def _insert(self, connection: Any, table: str, row: tuple[object, ...]) -> None:
        marks = ", ".join(map(self._dialect.mark, range(1, len(row) + 1)))
        self.run(connection, f"insert into {table} values ({marks})", row)  # noqa: S608 - our own name

    def sleep(self, connection: Any, seconds: float) -> None:
        """Run a statement that takes so long."""
        if self.family.prepare is not None:
            self.family.prepare(connection)
        self.run(connection, self.family.sleep.format(seconds=f"{seconds:.4f}"))

    def version(self) -> str:
        """Connect and ask what server it is.

        Raises:
            Failed: it cannot be reached.
        """
        try:
            version = str(self._ask(self.family.version))
        except Exception as error:
            raise Failed(f"no connection: {self.describe(error)}") from error
        name = "MariaDB" if "MariaDB" in version else self.family.name
        return f"{name} {version}"

    def describe(self, error: Exception) -> str:
        """Write an error in one line without a password."""
        if isinstance(error, Error) and not error.__cause__:
            return " ".join(str(error).split())
        return failure(error, self.options).text

    @contextmanager
    def own_tables(self) -> Iterator[None]:
        """Make both tables and drop them at the end.

        Raises:
            Failed: one cannot be made, or cannot be dropped; the latter names it.
        """
        columns = ", ".join(f"{column} varchar(60) not null" for column in COLUMNS)
        create = f"create table {{name}} (id bigint primary key, {columns})"
        with self._own_table(create) as self.table, self._own_table(self.family.scratch) as self.scratch:
            for column in COLUMNS:
                self._order(f"create index {self.table}_{column} on {self.table} ({column})", self.table)
            yield

    @contextmanager
    def _own_table(self, create: str) -> Iterator[str]:
        name = self._make_table(create)
        try:
            yield name
        finally:
            self._drop(f"table {name}", f"drop table {name}")

    @contextmanager
    def own_account(self, limit: int) -> Iterator[Connector[Any] | str]:
        """Make an account that may have `limit` connections; give its connector, or why there is none."""
        accounts = self.family.accounts
        if accounts is None:
            yield f"{self.family.name} has no limit of connections"
            return
        name, password = "", secrets.token_hex(16)
        for _ in range(TRIES):
            candidate = new_name()
            try:
                self._ask(accounts.create.format(name=candidate, password=password, limit=limit))
            except Exception as error:  # noqa: BLE001 - each driver has errors of its own; what it says is shown
                reason = self.describe(error).replace(password, "***")
                if (
                    "already exists" in reason or "CREATE USER failed" in reason
                ):  # as PostgreSQL, MySQL say it
                    continue
                yield f"needs {accounts.right} ({reason})"
                return
            name = candidate
            break
        try:
            yield self._sign_in(accounts, name, password) if name else f"no name free after {TRIES}"
        finally:
            if name:
                self._drop(f"account {name}", accounts.drop.format(name=name))

    def _sign_in(self, accounts: Accounts, name: str, password: str) -> Connector[Any] | str:
        """Return the connector of a new account, once it has been seen to lead there."""
        url = with_account(self._dsn, name, password, keeps_database=accounts.keeps_database)
        try:
            connector = connector_for(url)
            with self.pool(connector, max_open=1) as pool, pool.connection() as connection:
                who = self.run(connection, accounts.who)[0][0]
        except Exception as error:  # noqa: BLE001 - each driver has errors of its own; what it says is shown
            return (
                f"the server does not let a new account in ({self.describe(error).replace(password, '***')})"
            )
        return connector if str(who).startswith(name) else "the URL's query says who connects"

    def _make_table(self, create: str) -> str:
        for _ in range(TRIES):
            name = new_name()
            if not self._exists(name):
                self._order(create.format(name=name), name)
                return name
        raise Failed(f"cannot make a table: {TRIES} names were all taken")

    def _exists(self, name: str) -> bool:
        try:
            self._ask(f"select 1 from {name} where 1 = 0")  # noqa: S608 - our own name
        except Exception:  # noqa: BLE001 - each driver has errors of its own, and they all mean no
            return False
        return True

    def _drop(self, what: str, statement: str) -> None:
        try:
            self._ask(statement)
        except Exception as error:
            raise Failed(f"cannot drop the {what}, please drop it by hand: {self.describe(error)}") from error

    def _order(self, statement: str, table: str) -> None:
        try:
            self._ask(statement)
        except Exception as error:
            raise Failed(f"cannot make the table {table}: {self.describe(error)}") from error

    def _ask(self, statement: str) -> Any:
        """Run a statement on a connection of its own; return the first value, if there is one."""
        with self.pool(max_open=1) as pool, pool.connection() as connection:
            rows = self.run(connection, statement)
        return rows[0][0] if rows else None


def new_name() -> str:
    """Make up a name that nobody else has."""
    return f"cenote_bench_{secrets.token_hex(4)}"


def with_account(url: str, name: str, password: str, *, keeps_database: bool) -> str:
    """Put another account into a URL, and take the database out where a new account may not use it."""
    scheme, _, rest = url.partition("://")
    people = authority(rest, 0)
    path, mark, query = rest[len(people) :].partition("?")
    place = people.rpartition("@")[2] + (path if keeps_database else "/")
    return f"{scheme}://{name}:{password}@{place}{mark}{query}"
