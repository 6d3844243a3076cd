"""A pooled connection is the driver's own: it does what PEP 249 says, in the spirit of its public tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import MySQLdb.cursors
import pymysql.cursors
import pytest

import cenote
from tests.servers.mariadb import MariaDBServer
from tests.sql.worlds import KINDS, Kind, Place, World

DBAPI = [kind for kind in KINDS if kind.dbapi]
BEERS = ["Carlton", "Coopers", "Victoria", "XXXX", "Redback"]
ERRORS = ["Warning", "InterfaceError", "DatabaseError"]
BELOW = [
    "DataError",
    "OperationalError",
    "IntegrityError",
    "InternalError",
    "ProgrammingError",
    "NotSupportedError",
]
TYPES = ["STRING", "BINARY", "NUMBER", "DATETIME", "ROWID"]


@dataclass
class Subject:
    """A driver's module, and a handle on a database with a table of beers."""

    kind: Kind
    module: ModuleType
    db: cenote.DB
    insert: str = field(init=False)

    def __post_init__(self) -> None:
        self.insert = f"insert into beers values ({self.kind.placeholder})"

    def cursor(self, conn: Any) -> Any:
        """Make the kind of cursor that may be left in the middle of its rows."""
        if self.kind.name == "Connector/Python":
            return conn.cursor(buffered=True)
        return conn.cursor()

    @contextmanager
    def connection(self, *, full: bool = True) -> Iterator[Any]:
        """Lend a connection, of a database with all beers or none."""
        with self.db.driver_connection() as conn:
            with closing(self.cursor(conn)) as cursor:
                cursor.execute("drop table if exists beers")
                cursor.execute("create table beers (name varchar(20))")
                if full:
                    cursor.executemany(self.insert, [(name,) for name in BEERS])
            yield conn

    def begin(self, conn: Any, cursor: Any) -> None:
        """Begin a transaction: the pool's connections are in autocommit."""
        if self.kind.name == "psycopg2":  # whose commit and rollback do nothing in autocommit
            conn.autocommit = False
        else:
            cursor.execute("begin")


@pytest.fixture(params=DBAPI, ids=lambda kind: kind.name)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    kind: Kind = request.param
    url = Place(tmp_path, request.getfixturevalue, 0).url(kind)
    with cenote.open(url, max_open=2) as db:
        yield Subject(kind, import_module(kind.dbapi or ""), db)
        assert db.stats().in_use == 0
        assert db.stats().discarded == 0


def test_the_module_says_what_it_is(subject: Subject) -> None:
    assert subject.module.apilevel == "2.0"
    assert subject.module.threadsafety in (1, 2, 3)
    assert subject.module.paramstyle in ("qmark", "numeric", "named", "format", "pyformat")
    assert callable(subject.module.connect)


def test_the_placeholder_of_the_handle_is_the_module_s(subject: Subject) -> None:
    styles = {"?": "qmark", "%s": "pyformat", "$": "numeric"}
    assert subject.module.paramstyle in (styles[subject.kind.placeholder], "format")


def test_the_module_has_the_errors_in_their_order(subject: Subject) -> None:
    module = subject.module
    assert all(issubclass(getattr(module, name), Exception) for name in (*ERRORS, "Error"))
    assert all(issubclass(getattr(module, name), module.Error) for name in ERRORS[1:])
    assert all(issubclass(getattr(module, name), module.DatabaseError) for name in BELOW)
    assert not issubclass(module.Warning, module.Error)


def test_the_module_makes_dates_and_bytes(subject: Subject) -> None:
    module = subject.module
    assert module.Date(2002, 12, 25) is not None
    assert module.Time(13, 45, 30) is not None
    assert module.Timestamp(2002, 12, 25, 13, 45, 30) is not None
    assert module.Binary(b"bytes") is not None
    assert [name for name in TYPES if not hasattr(module, name)] == (
        TYPES if subject.kind.database == "sqlite" else []
    )


def test_the_connection_is_the_driver_s_own(subject: Subject) -> None:
    with subject.db.driver_connection() as conn:
        kinds = {kind.__module__.partition(".")[0] for kind in type(conn).__mro__}
        assert (subject.kind.dbapi or "").partition(".")[0] in kinds  # it may be a subclass
        assert all(callable(getattr(conn, name)) for name in ("close", "commit", "rollback", "cursor"))


def test_a_cursor_describes_its_columns(subject: Subject) -> None:
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        before = cursor.description
        assert before is None
        cursor.execute("select name from beers")
        (column,) = cursor.description
        assert len(column) == (9 if subject.kind.name == "Connector/Python" else 7)
        assert column[0] == "name"
        cursor.execute("delete from beers")
        assert cursor.description is None


def test_a_cursor_counts_the_rows(subject: Subject) -> None:
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        assert cursor.rowcount == (0 if subject.kind.name == "mysqlclient" else -1)
        cursor.execute(subject.insert, ("Emu",))
        assert cursor.rowcount == 1
        cursor.execute("update beers set name = 'Bitter'")
        assert cursor.rowcount == len(BEERS) + 1
        cursor.execute("select name from beers")
        assert cursor.rowcount in (-1, len(BEERS) + 1)


def test_execute_takes_parameters_in_the_module_s_style(subject: Subject) -> None:
    with subject.connection(full=False) as conn, closing(subject.cursor(conn)) as cursor:
        cursor.execute(subject.insert, ("Cooper's",))
        cursor.execute(subject.insert, ["%s ? :1 $1"])
        cursor.execute("select name from beers order by name desc")
        assert [row[0] for row in cursor.fetchall()] == ["Cooper's", "%s ? :1 $1"]


def test_executemany_takes_sequences_of_parameters(subject: Subject) -> None:
    with subject.connection(full=False) as conn, closing(subject.cursor(conn)) as cursor:
        cursor.executemany(subject.insert, [(name,) for name in BEERS])
        assert cursor.rowcount in (-1, len(BEERS))
        cursor.execute("select name from beers")
        assert sorted(row[0] for row in cursor.fetchall()) == sorted(BEERS)


def test_fetchone_gives_one_row_after_the_other(subject: Subject) -> None:
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        cursor.execute("select name from beers order by name")
        assert [cursor.fetchone()[0] for _ in BEERS] == sorted(BEERS)
        assert cursor.fetchone() is None
        cursor.execute("select name from beers where name = 'Water'")
        assert cursor.fetchone() is None


def test_fetchmany_gives_as_many_as_asked_for(subject: Subject) -> None:
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        cursor.execute("select name from beers order by name")
        assert cursor.arraysize == 1
        assert [len(cursor.fetchmany()), len(cursor.fetchmany(3)), len(cursor.fetchmany(3))] == [1, 3, 1]
        assert list(cursor.fetchmany(3)) == []
        cursor.arraysize = 4
        cursor.execute("select name from beers order by name")
        assert [row[0] for row in cursor.fetchmany()] == sorted(BEERS)[:4]


def test_fetchall_gives_the_rest(subject: Subject) -> None:
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        cursor.execute("select name from beers order by name")
        cursor.fetchone()
        assert [row[0] for row in cursor.fetchall()] == sorted(BEERS)[1:]
        assert list(cursor.fetchall()) == []


def test_the_ways_to_fetch_mix(subject: Subject) -> None:
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        cursor.execute("select name from beers order by name")
        rows = [cursor.fetchone(), *cursor.fetchmany(2), *cursor.fetchall()]
        assert [row[0] for row in rows] == sorted(BEERS)


def test_a_cursor_may_be_iterated_over(subject: Subject) -> None:
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        cursor.execute("select name from beers order by name")
        assert [row[0] for row in cursor] == sorted(BEERS)


def test_null_is_none(subject: Subject) -> None:
    with subject.connection(full=False) as conn, closing(subject.cursor(conn)) as cursor:
        cursor.execute(subject.insert, (None,))
        cursor.execute("select name from beers")
        assert list(cursor.fetchall()) == [(None,)]


def test_cursors_of_one_connection_see_each_other(subject: Subject) -> None:
    with (
        subject.connection(full=False) as conn,
        closing(subject.cursor(conn)) as one,
        closing(subject.cursor(conn)) as other,
    ):
        one.execute(subject.insert, ("Emu",))
        other.execute("select name from beers")
        assert list(other.fetchall()) == [("Emu",)]


def test_setinputsizes_and_setoutputsize_are_there(subject: Subject) -> None:
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        cursor.setinputsizes((25,))
        if subject.kind.name not in ("PyMySQL", "mysqlclient"):  # which misspell it
            cursor.setoutputsize(1000)
            cursor.setoutputsize(2000, 0)
        cursor.execute(subject.insert, ("Emu",))


def test_a_closed_cursor_is_of_no_use(subject: Subject) -> None:
    with subject.connection() as conn:
        cursor = conn.cursor()
        cursor.close()
        with pytest.raises(subject.module.Error):
            cursor.execute("select name from beers")
        with pytest.raises(subject.module.Error):
            cursor.fetchall()
        with closing(subject.cursor(conn)) as another:
            another.execute("select 7")
            assert another.fetchone() == (7,)


def test_errors_are_of_the_class_that_fits(subject: Subject) -> None:
    module = subject.module
    with subject.connection() as conn, closing(subject.cursor(conn)) as cursor:
        cursor.execute("create unique index beers_names on beers (name)")
        with pytest.raises(module.IntegrityError):
            cursor.execute(subject.insert, (BEERS[0],))
        with pytest.raises((module.ProgrammingError, module.OperationalError)):
            cursor.execute("selekt name from beers")
        with pytest.raises((module.ProgrammingError, module.OperationalError)):
            cursor.execute("select name from nowhere")
        cursor.execute("select count(*) from beers")
        assert cursor.fetchone() == (len(BEERS),)


def test_what_is_committed_is_seen_by_others_and_what_is_rolled_back_by_nobody(subject: Subject) -> None:
    count = "select count(*) from beers"
    with (
        subject.connection() as conn,
        closing(subject.cursor(conn)) as cursor,
        subject.db.driver_connection() as other,
    ):
        for end, left in ((conn.rollback, len(BEERS)), (conn.commit, 0)):
            subject.begin(conn, cursor)
            cursor.execute("delete from beers")
            with closing(subject.cursor(other)) as looking:
                looking.execute(count)
                assert looking.fetchone() == (len(BEERS),)
            end()
            cursor.execute(count)
            assert cursor.fetchone() == (left,)
            conn.commit()
            conn.rollback()  # harmless where there is nothing to roll back
        if subject.kind.name == "psycopg2":
            conn.autocommit = True


def test_what_a_block_leaves_open_is_rolled_back_for_the_next(subject: Subject) -> None:
    with subject.connection():
        pass
    lease = subject.db.driver_connection()
    with closing(subject.cursor(lease.connection)) as cursor:
        cursor.execute("begin")
        cursor.execute("delete from beers")
    with pytest.warns(RuntimeWarning, match=r"test_pep249\.py"):
        lease.release()
    with subject.db.driver_connection() as conn, closing(subject.cursor(conn)) as again:
        again.execute("select count(*) from beers")
        assert again.fetchone() == (len(BEERS),)


def test_rows_left_on_a_cursor_do_not_reach_the_next(subject: Subject) -> None:
    with subject.connection() as conn:
        cursor = subject.cursor(conn)
        cursor.execute("select name from beers")
        cursor.fetchone()
    with subject.db.driver_connection() as conn, closing(subject.cursor(conn)) as again:
        again.execute("select 7")
        assert list(again.fetchall()) == [(7,)]
    cursor.close()


UNBUFFERED = {"PyMySQL": pymysql.cursors.SSCursor, "mysqlclient": MySQLdb.cursors.SSCursor}


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.name in UNBUFFERED], ids=lambda kind: kind.name
)
@pytest.mark.parametrize("cut", [False, True])
def test_rows_left_with_the_server_cost_their_connection_and_nothing_else(
    mariadb: MariaDBServer, kind: Kind, cut: bool
) -> None:
    with cenote.open(mariadb.url(kind.scheme), max_open=1) as db:
        with db.driver_connection() as conn:
            cursor = conn.cursor(UNBUFFERED[kind.name])
            cursor.execute(World.numbers(1000))
            assert cursor.fetchone() == (1,)
            if cut:
                db.pool._connector.terminate(conn)  # what the pool does in need
        assert db.stats().discarded == 1
        assert db.query_row("select 7") == (7,)
        with pytest.raises((AttributeError, kind_of_error(kind))):
            cursor.fetchone()  # and does not pass for the end
        del cursor, conn
        gc.collect()  # says nothing: what it said would fail the test


def kind_of_error(kind: Kind) -> type[Exception]:
    """The module's own."""
    found: type[Exception] = import_module(kind.dbapi or "").Error
    return found
