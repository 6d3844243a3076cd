"""A driver of one's own: a connector, a dialect, a URL scheme, and the suite that proves them.

The driver is SQLite's here, since everybody has it; pretend that it speaks to a server of yours.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import cenote
from cenote.sql import Dialect, Pep249
from cenote.testing import Subject, contract


class TinyConnector:
    """How the pool opens connections and looks after them."""

    def __init__(self, path: str) -> None:
        """Remember where the database is; open nothing."""
        self.path = path

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read ``tiny:///path``, and refuse what makes no sense before anything is opened."""
        path = url.removeprefix("tiny://")
        if not path.startswith("/"):
            raise cenote.ConfigError(f"cannot read {url!r}: write tiny:///path/to/file")
        return cls(path)

    def dialect(self) -> Dialect:
        """Say how the handle speaks SQL over these connections."""
        return TinyDialect()

    def connect(self, timeout: float) -> sqlite3.Connection:
        """Open one within `timeout` seconds, in autocommit, for use by any thread."""
        return sqlite3.connect(self.path, timeout=timeout, isolation_level=None, check_same_thread=False)

    def close(self, connection: sqlite3.Connection) -> None:
        """Close it, and let go of what it has locked."""
        with suppress(sqlite3.ProgrammingError):  # closed before
            connection.rollback()
            connection.close()

    def ping(self, connection: sqlite3.Connection) -> None:
        """Ask for an answer."""
        connection.execute("select 1").close()

    def is_broken(self, connection: sqlite3.Connection) -> bool:
        """Say whether it is closed."""
        try:
            connection.total_changes  # noqa: B018 - a closed connection refuses every question
        except sqlite3.ProgrammingError:
            return True
        return False

    def is_alive(self, connection: sqlite3.Connection) -> bool:
        """Say whether it is open."""
        return not self.is_broken(connection)

    def in_transaction(self, connection: sqlite3.Connection) -> bool:
        """Say whether a transaction was left open."""
        return connection.in_transaction

    def rollback(self, connection: sqlite3.Connection) -> None:
        """Roll back what was left open."""
        connection.rollback()


class TinyDialect(Pep249):
    """What `Pep249` cannot know: how a transaction begins, and how a statement is stopped."""

    def begin_with(self, isolation: str | None, *, read_only: bool) -> Sequence[str]:
        """Word the beginning."""
        if isolation is not None or read_only:
            raise cenote.ConfigError("isolation, read_only: tiny has one kind of transaction; leave them out")
        return ["begin immediate"]

    @staticmethod
    def cancel(connection: sqlite3.Connection) -> None:
        """Stop what runs on a connection, from another thread."""
        with suppress(sqlite3.ProgrammingError):  # closed meanwhile
            connection.interrupt()

    def is_cancelled(self, error: BaseException) -> bool:
        """Tell the error of a stopped statement from others."""
        return isinstance(error, sqlite3.OperationalError) and str(error) == "interrupted"


def main() -> None:
    cenote.register("tiny", TinyConnector)
    with tempfile.TemporaryDirectory() as folder:
        with cenote.open(f"tiny://{folder}/notes.db") as db:
            db.exec("create table notes (word text)")
            with db.begin() as tx:
                tx.exec("insert into notes values (?)", "hello")
            print(db.query_row("select word from notes"))

        subject = Subject(
            connector=lambda: TinyConnector(str(Path(folder) / "proof.db")),
            sleep="with recursive n(i) as (select 1 union all select i + 1 from n limit 50000000)"
            " select count(*) from n",
            streams=True,
        )
        checks = contract(subject)
        for check in checks:
            check()
        print(f"all {len(checks)} checks passed")


if __name__ == "__main__":
    main()
