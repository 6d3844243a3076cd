"""Every driver keeps the contract that `cenote.testing.contract` asks of the drivers of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from cenote.testing import Check, contract
from tests.contract.subjects import AT, NAME, SUBJECTS
from tests.servers.mariadb import MariaDBServer
from tests.servers.postgres import PostgresServer

CHECKS = [check for subject in SUBJECTS for check in contract(subject)]


@pytest.fixture(scope="module", autouse=True)
def _servers(postgres: PostgresServer, mariadb: MariaDBServer) -> None:
    AT.postgres, AT.mariadb = postgres, mariadb
    mariadb.add_user(NAME)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    AT.folder = str(tmp_path)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_it_keeps_the_contract(check: Check) -> None:
    check()
