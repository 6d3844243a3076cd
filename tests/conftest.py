"""Fixtures for every test, and two rules: nothing is skipped, and random tests draw the same each time."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from typing import Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.mariadb import MariaDBServer
from tests.servers.mariadb import Template as MariaDBTemplate
from tests.servers.postgres import PostgresServer, Template
from tests.servers.redis import TLS, RedisServer

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# A shell that runs the suite in the background has SIGINT ignored, and so would be every program that a test
# starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A suite that fails at random is not believed when it fails for a reason. HYPOTHESIS_PROFILE=explore looks
# for new examples; one that fails is then pinned in its test.
settings.register_profile(
    "deterministic",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "deterministic"))


def pytest_collection_finish() -> None:
    """Put aside what finding the tests has made: a collection in a test looks at what tests make."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one."""
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped file into a failed one."""
    return _refuse_skip((yield))


def _refuse_skip(report: Report) -> Report:
    if report.skipped:
        vars(report).pop("wasxfail", None)  # what pytest calls an expected failure it does not count
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped ({report.longrepr}); here a test runs or is not there"
    return report


class MakePostgres(Protocol):
    """What the fixture `make_postgres` gives."""

    def __call__(self, *, max_connections: int = 100) -> PostgresServer:
        """Start a fresh server for this test."""
        ...


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[Template]:
    """Run initdb once; each server copies the result."""
    template = Template()
    yield template
    template.close()


@pytest.fixture(scope="session")
def postgres(postgres_template: Template) -> Iterator[PostgresServer]:
    """One server for all tests. Connect as you like; to restart, limit or kill one, take `own_postgres`."""
    with PostgresServer(template=postgres_template) as server:
        yield server


@pytest.fixture
def make_postgres(postgres_template: Template) -> Iterator[MakePostgres]:
    """A factory of fresh servers, which are this test's alone."""
    with ExitStack() as servers:

        def make(*, max_connections: int = 100) -> PostgresServer:
            server = PostgresServer(max_connections=max_connections, template=postgres_template)
            return servers.enter_context(server)

        yield make


@pytest.fixture
def own_postgres(make_postgres: MakePostgres) -> PostgresServer:
    """A fresh server that this test may restart, limit and kill."""
    return make_postgres()


class MakeMariaDB(Protocol):
    """What the fixture `make_mariadb` gives."""

    def __call__(
        self, *, max_connections: int = 100, settings: Mapping[str, str | int] | None = None
    ) -> MariaDBServer:
        """Start a fresh server for this test."""
        ...


@pytest.fixture(scope="session")
def mariadb_template() -> Iterator[MariaDBTemplate]:
    """Run mariadb-install-db once; each server copies the result."""
    template = MariaDBTemplate()
    yield template
    template.close()


@pytest.fixture(scope="session")
def mariadb(mariadb_template: MariaDBTemplate) -> Iterator[MariaDBServer]:
    """One server for all tests. Connect as you like; to restart, limit or kill one, take `own_mariadb`."""
    with MariaDBServer(template=mariadb_template) as server:
        yield server


@pytest.fixture
def make_mariadb(mariadb_template: MariaDBTemplate) -> Iterator[MakeMariaDB]:
    """A factory of fresh servers, which are this test's alone."""
    with ExitStack() as servers:

        def make(
            *, max_connections: int = 100, settings: Mapping[str, str | int] | None = None
        ) -> MariaDBServer:
            server = MariaDBServer(
                max_connections=max_connections, settings=settings, template=mariadb_template
            )
            return servers.enter_context(server)

        yield make


@pytest.fixture
def own_mariadb(make_mariadb: MakeMariaDB) -> MariaDBServer:
    """A fresh server that this test may restart, limit and kill."""
    return make_mariadb()


class MakeRedis(Protocol):
    """What the fixture `make_redis` gives."""

    def __call__(
        self, *, settings: Mapping[str, str | int] | None = None, tls: TLS | None = None
    ) -> RedisServer:
        """Start a fresh server for this test."""
        ...


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests. Connect as you like; to restart, limit or kill one, take `own_redis`."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def make_redis() -> Iterator[MakeRedis]:
    """A factory of fresh servers, which are this test's alone."""
    with ExitStack() as servers:

        def make(*, settings: Mapping[str, str | int] | None = None, tls: TLS | None = None) -> RedisServer:
            return servers.enter_context(RedisServer(settings=settings, tls=tls))

        yield make


@pytest.fixture
def own_redis(make_redis: MakeRedis) -> RedisServer:
    """A fresh server that this test may restart, limit and kill."""
    return make_redis()
