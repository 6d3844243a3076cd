"""Whatever is given wrongly is refused by one clear error that says what, why and what to write instead.

The table's rows are calls; each names the error and the words that have to be in it. None shows the password:
not the error, its causes and its traceback, not what was logged, not what the pool tells of itself.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import cenote
from cenote.options import Options
from tests.servers.home import free_port
from tests.servers.mariadb import PASSWORDS as MARIADB_PASSWORDS
from tests.servers.mariadb import MariaDBServer
from tests.servers.postgres import PASSWORDS, PostgresServer

SECRET = "hunter2-s3cret"
DSN = f"postgresql://app:{SECRET}@db/app"
APG = f"postgresql+asyncpg://app:{SECRET}@db/app"
PG2 = f"postgresql+psycopg2://app:{SECRET}@db/app"
MYSQL = f"mysql://app:{SECRET}@db/app"
AIOMYSQL = f"mysql+aiomysql://app:{SECRET}@db/app"
MYSQLDB = f"mysql+mysqldb://app:{SECRET}@db/app"
MYSQLCONNECTOR = f"mysql+mysqlconnector://app:{SECRET}@db/app"
POOLS: list[Callable[..., Any]] = [cenote.Pool, cenote.AsyncPool]


@dataclass(frozen=True)
class Row:
    """One mistake: what is given to a pool, and what the answer has to be."""

    target: object
    options: dict[str, Any]
    error: type[Exception]
    words: tuple[str, ...]
    pools: tuple[Callable[..., Any], ...] = tuple(POOLS)


def bad(target: object, error: type[Exception], *words: str, **options: Any) -> Row:
    return Row(target, options, error, words)


def only(pool: Callable[..., Any], target: object, *words: str) -> Row:
    return Row(target, {}, cenote.ConfigError, words, (pool,))


async def coroutine_function() -> object:
    """Return what nobody will ever see."""
    return object()


WRONG_OPTIONS = [
    bad(DSN, cenote.ConfigError, "max_open", "0", "whole number", "write", max_open=0),
    bad(DSN, cenote.ConfigError, "max_open", "-3", "whole number", "write", max_open=-3),
    bad(DSN, cenote.ConfigError, "max_open", "True", "whole number", "write", max_open=True),
    bad(DSN, cenote.ConfigError, "max_open", "2.5", "whole number", "write", max_open=2.5),
    bad(DSN, cenote.ConfigError, "max_open", "'many'", "whole number", "write", max_open="many"),
    bad(DSN, cenote.ConfigError, "max_idle", "-1", "whole number", "write", max_idle=-1),
    bad(DSN, cenote.ConfigError, "min_idle", "9", "max_open=4", "raise", max_open=4, min_idle=9),
    bad(DSN, cenote.ConfigError, "min_idle", "3", "max_idle=2", "raise", max_idle=2, min_idle=3),
    bad(DSN, cenote.ConfigError, "min_idle", "None", "whole number", "write", min_idle=None),
    bad(DSN, cenote.ConfigError, "max_waiting", "-1", "whole number", "write", max_waiting=-1),
    bad(DSN, cenote.ConfigError, "max_connecting", "0", "whole number", "write", max_connecting=0),
    bad(DSN, cenote.ConfigError, "on_full", "'explode'", "'overflow'", "write", on_full="explode"),
    bad(DSN, cenote.ConfigError, "max_overflow", "on_full", "'wait'", "leave it out", max_overflow=3),
    bad(DSN, cenote.ConfigError, "reset", "'everything'", "'session'", "write", reset="everything"),
    bad(DSN, cenote.ConfigError, "name", "7", "write", name=7),
    bad(DSN, TypeError, "max_size", "did you mean 'max_idle'", max_size=5),
    bad(DSN, TypeError, "maxopen", "did you mean 'max_open'", maxopen=5),
    bad(DSN, TypeError, "zebra", "the options are", zebra=1),
]

WRONG_DURATIONS = [
    bad(DSN, cenote.ConfigError, "timeout", "'30'", "unit", "'30s'", timeout="30"),
    bad(DSN, cenote.ConfigError, "timeout", "'soon'", "write", "'250ms'", timeout="soon"),
    bad(DSN, cenote.ConfigError, "timeout", "-1", "write", timeout=-1),
    bad(DSN, cenote.ConfigError, "timeout", "nan", "write", timeout=float("nan")),
    bad(DSN, cenote.ConfigError, "timeout", "inf", "write", timeout=float("inf")),
    bad(DSN, cenote.ConfigError, "max_lifetime", "0", "write", max_lifetime=0),
    bad(DSN, cenote.ConfigError, "max_idle_time", "'1 hour'", "write", max_idle_time="1 hour"),
    bad(DSN, cenote.ConfigError, "connect_timeout", "None", "write", connect_timeout=None),
    bad(DSN, cenote.ConfigError, "keepalive", "True", "write", keepalive=True),
    bad(DSN, cenote.ConfigError, "ping_after", "[]", "write", ping_after=[]),
    bad(DSN, cenote.ConfigError, "warn_held", "'5x'", "write", warn_held="5x"),
    bad(DSN, cenote.ConfigError, "timeout", "***", timeout=DSN),
]

WRONG_URLS = [
    bad("", cenote.ConfigError, "dsn", "empty", "postgresql://app@db/app"),
    bad("db/app", cenote.ConfigError, "'db/app'", "not a URL", "scheme://user@host/database"),
    bad(f"app:{SECRET}@db/app", cenote.ConfigError, "not a URL", "***", "scheme://"),
    bad(f"postgres1://app:{SECRET}@db/app", cenote.ConfigError, "postgres1://", "did you mean postgresql://"),
    bad(f"oracle://app:{SECRET}@db/app", cenote.ConfigError, "unknown scheme oracle://", "supported are"),
    bad(f"postgresql://app:{SECRET}@db:99999/app", cenote.ConfigError, "port", "65535", "write host:port"),
    bad(f"postgresql://app:{SECRET}/x@db/app", cenote.ConfigError, "***", "%XX"),
    bad(f"postgresql://app:{SECRET}@db:x/app", cenote.ConfigError, "port", "***"),
    bad(f"{DSN}?max_open=many", cenote.ConfigError, "max_open (in the URL)", "'many'", "write"),
    bad(f"{DSN}?timeout=30", cenote.ConfigError, "timeout (in the URL)", "'30'", "'30s'"),
    bad(f"{DSN}?max_open=3&max_open=4", cenote.ConfigError, "max_open", "twice", "keep one"),
    bad(f"{DSN}?nonsense=1", cenote.ConfigError, "nonsense", "***"),
    bad(f"{DSN}?prepare_threshold=often", cenote.ConfigError, "prepare_threshold", "'often'", "write"),
    bad(f"{MYSQL}?charst=utf8mb4", cenote.ConfigError, "'charst'", "did you mean 'charset'", "***"),
    bad(f"{MYSQL}?charset=gbk", cenote.ConfigError, "charset", "'gbk'", "unsafe", "write charset='utf8mb4'"),
    bad(f"{MYSQL}?ssl_ca=/no/such", cenote.ConfigError, "ssl_ca", "'/no/such'", "write the path"),
    bad(f"{MYSQL}?ssl_verify_cert=maybe", cenote.ConfigError, "ssl_verify_cert", "'maybe'", "write"),
    bad(f"mysql://app:{SECRET}@db:99999/app", cenote.ConfigError, "port", "65535", "write host:port"),
    bad(f"mysql://app:12/{SECRET}@db/app", cenote.ConfigError, "***", "%XX"),
    bad(f"mariadb1://app:{SECRET}@db/app", cenote.ConfigError, "unknown scheme mariadb1://", "mysql://"),
    bad("sqlite:///app.db?mode=w", cenote.ConfigError, "mode", "'w'", "rwc"),
    bad("sqlite:///app.db?journal=wal", cenote.ConfigError, "'journal'", "did you mean 'journal_mode'"),
    bad("sqlite://host/app.db", cenote.ConfigError, "no host", "sqlite:///relative.db"),
]

WRONG_TARGETS = [
    bad(None, cenote.ConfigError, "target", "NoneType", "write Pool('postgresql://app@db/app')"),
    bad(42, cenote.ConfigError, "target", "int", "write Pool("),
    bad(sqlite3, cenote.ConfigError, "target", "module", "cenote.dbapi(sqlite3"),
    bad(Options(max_open=3), cenote.ConfigError, "Options", "no dsn", "Options.from_url("),
    only(cenote.Pool, APG, "postgresql+asyncpg://", "cenote.AsyncPool"),
    only(cenote.AsyncPool, PG2, "postgresql+psycopg2://", "cenote.Pool"),
    only(cenote.Pool, AIOMYSQL, "mysql+aiomysql://", "cenote.AsyncPool"),
    only(cenote.AsyncPool, MYSQLDB, "mysql+mysqldb://", "cenote.Pool"),
    only(cenote.Pool, coroutine_function, "coroutine_function", "cenote.AsyncPool"),
]

ROWS = [*WRONG_OPTIONS, *WRONG_DURATIONS, *WRONG_URLS, *WRONG_TARGETS]
CALLS = [
    pytest.param(pool, row, id=f"{pool.__name__}-{number}-{'-'.join(row.words[:1])}")
    for number, row in enumerate(ROWS)
    for pool in row.pools
]


def everything(error: BaseException, caplog: pytest.LogCaptureFixture, pool: Any = None) -> str:
    """All the texts in which somebody might meet the password."""
    texts = [str(error), repr(error), *traceback.format_exception(error)]
    texts += [str(cause) for cause in (error.__cause__, error.__context__) if cause is not None]
    texts += [logging.Formatter().format(record) for record in caplog.records]
    if pool is not None:
        texts += [repr(pool), pool.name, repr(pool.options), repr(pool.stats()), repr(pool.holders())]
        texts += [repr(pool._connector), str(pool._core.last_error)]
    return "\n".join(texts)


def check(text: str, words: tuple[str, ...]) -> None:
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} is not in: {text}"
    assert "\n" not in text, "an error is one line"


@pytest.mark.parametrize(("pool", "row"), CALLS)
def test_what_makes_no_sense_is_refused_before_anything_is_opened(
    pool: Callable[..., Any], row: Row, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(row.error) as caught:
        pool(row.target, **row.options)
    assert type(caught.value) is row.error
    check(str(caught.value), row.words)
    assert SECRET not in everything(caught.value, caplog)


class Missing:
    """Python's import as it is where a package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        """Find nothing, without asking those who might."""
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


MISSING = [
    (cenote.Pool, DSN, "psycopg", "postgresql"),
    (cenote.AsyncPool, DSN, "psycopg", "postgresql"),
    (cenote.AsyncPool, APG, "asyncpg", "asyncpg"),
    (cenote.Pool, PG2, "psycopg2", "psycopg2"),
    (cenote.AsyncPool, "sqlite:///app.db", "aiosqlite", "sqlite"),
    (cenote.Pool, MYSQL, "pymysql", "mysql"),
    (cenote.Pool, MYSQLDB, "MySQLdb", "mysqlclient"),
    (cenote.AsyncPool, MYSQL, "asyncmy", "asyncmy"),
    (cenote.AsyncPool, AIOMYSQL, "aiomysql", "aiomysql"),
]


@pytest.mark.parametrize("missing", MISSING, ids=lambda row: f"{row[0].__name__}-{row[2]}")
def test_a_driver_that_is_not_installed_is_named_with_what_installs_it(
    missing: tuple[Callable[..., Any], str, str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool, url, driver, extra = missing
    for name in [name for name in sys.modules if name.partition(".")[0] == driver]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(driver), *sys.meta_path])
    monkeypatch.delitem(sys.modules, f"cenote.drivers.{driver.lower()}", raising=False)
    with pytest.raises(cenote.ConfigError) as caught:
        pool(url)
    words = ("cannot be used", f"No module named '{driver}'", f"pip install 'cenote[{extra}]'")
    check(str(caught.value), words)
    assert SECRET not in everything(caught.value, caplog)


@pytest.mark.parametrize("pool", POOLS)
def test_an_option_that_makes_no_sense_later_changes_nothing(pool: Callable[..., Any]) -> None:
    made = pool(DSN, max_open=4)
    with pytest.raises(cenote.ConfigError, match="max_open"):
        made.resize(max_open=0)
    with pytest.raises(TypeError, match="did you mean 'max_open'"):
        made.resize(max_opn=3)
    with pytest.raises(cenote.ConfigError, match=r"min_idle.*max_open=4"):
        made.resize(min_idle=5)
    assert made.options.max_open == 4
    assert made.stats().max_open_connections == 4


# ── what only the server can tell ───────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Refusal:
    """A place that refuses connections, the words in which that is told, and what they must not hold."""

    name: str
    address: Callable[[Any, str], str]
    words: tuple[str, ...]
    secret: str = SECRET


REFUSALS = [
    Refusal(
        "wrong-password",
        lambda server, scheme: server.url(scheme, password=SECRET),
        ("password authentication failed", '"app"'),
    ),
    Refusal(
        "unknown-user",
        lambda server, scheme: server.url(scheme, user="nobody", password=SECRET),
        ("password authentication failed", '"nobody"'),
    ),
    Refusal(
        "unknown-database",
        lambda server, scheme: server.url(scheme, database="nowhere"),
        ('database "nowhere" does not exist',),
        PASSWORDS["app"],
    ),
    Refusal(
        "unreachable",
        lambda _, scheme: f"{scheme}://app:{SECRET}@127.0.0.1:{free_port()}/app",
        ("127.0.0.1", "onnect"),
    ),
]
WORLDS = [
    (cenote.Pool, "postgresql"),
    (cenote.Pool, "postgresql+psycopg2"),
    (cenote.AsyncPool, "postgresql"),
    (cenote.AsyncPool, "postgresql+asyncpg"),
]


MYSQL_REFUSALS = [
    Refusal(
        "wrong-password",
        lambda server, scheme: server.url(scheme, password=SECRET),
        ("Access denied", "'app'"),
    ),
    Refusal(
        "unknown-user",
        lambda server, scheme: server.url(scheme, user="nobody", password=SECRET),
        ("Access denied", "'nobody'"),
    ),
    Refusal(
        "unknown-database",
        lambda server, scheme: server.url(scheme, database="nowhere"),
        ("Access denied", "'nowhere'"),
        MARIADB_PASSWORDS["app"],
    ),
    REFUSALS[-1],
]
MYSQL_WORLDS = [
    (cenote.Pool, "mysql"),
    (cenote.Pool, "mysql+mysqldb"),
    (cenote.Pool, "mysql+mysqlconnector"),
    (cenote.AsyncPool, "mysql"),
    (cenote.AsyncPool, "mysql+aiomysql"),
]


async def settle(value: Awaitable[None] | None) -> None:
    if value is not None:
        await value


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
@pytest.mark.parametrize(("make", "scheme"), WORLDS, ids=lambda part: getattr(part, "__name__", part))
def test_a_server_that_refuses_is_quoted_and_the_password_is_not(
    make: Callable[..., Any],
    scheme: str,
    refusal: Refusal,
    postgres: PostgresServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_refusal(make, refusal.address(postgres, scheme), refusal, caplog)


@pytest.mark.parametrize("refusal", MYSQL_REFUSALS, ids=lambda refusal: refusal.name)
@pytest.mark.parametrize(("make", "scheme"), MYSQL_WORLDS, ids=lambda part: getattr(part, "__name__", part))
def test_a_mariadb_that_refuses_is_quoted_and_the_password_is_not(
    make: Callable[..., Any],
    scheme: str,
    refusal: Refusal,
    mariadb: MariaDBServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_refusal(make, refusal.address(mariadb, scheme), refusal, caplog)


def check_refusal(
    make: Callable[..., Any], address: str, refusal: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def script() -> None:
        pool = make(address)
        with pytest.raises(cenote.ConnectError) as caught:
            await settle(pool.ping())
        check(str(caught.value), refusal.words)
        assert caught.value.__cause__ is not None
        assert refusal.secret not in everything(caught.value, caplog, pool)
        assert pool.stats().connect_errors > 0
        await settle(pool.close())

    asyncio.run(script())
