"""The fixture `make_pgbouncer`, for the conftest of every folder that wants a PgBouncer: import it there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer


class MakePgBouncer(Protocol):
    """What the fixture `make_pgbouncer` gives."""

    def __call__(self, postgres: PostgresServer, **settings: Any) -> PgBouncer:
        """Start a PgBouncer for this test, in front of a server; `settings` are those of `PgBouncer`."""
        ...


@pytest.fixture
def make_pgbouncer() -> Iterator[MakePgBouncer]:
    """A factory of PgBouncers, which are this test's alone."""
    with ExitStack() as bouncers:

        def make(postgres: PostgresServer, **settings: Any) -> PgBouncer:
            return bouncers.enter_context(PgBouncer(postgres, **settings))

        yield make
