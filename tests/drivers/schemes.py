"""The URLs' schemes, each with the function that makes its connector: what every driver is asked alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cenote.drivers import async_connector_for, connector_for

Make = Callable[[str], Any]

SECRET = "hunter2-hunter2"

POSTGRES = {
    "psycopg": (connector_for, "postgresql"),
    "psycopg2": (connector_for, "postgresql+psycopg2"),
    "psycopg-async": (async_connector_for, "postgresql"),
    "asyncpg": (async_connector_for, "postgresql+asyncpg"),
}
MYSQL = {
    "pymysql": (connector_for, "mysql"),
    "mysqldb": (connector_for, "mysql+mysqldb"),
    "mysqlconnector": (connector_for, "mysql+mysqlconnector"),
    "asyncmy": (async_connector_for, "mysql"),
    "aiomysql": (async_connector_for, "mysql+aiomysql"),
}

each_mysql = pytest.mark.parametrize(("make", "scheme"), MYSQL.values(), ids=MYSQL)
each_driver = pytest.mark.parametrize(
    ("make", "scheme"), [*POSTGRES.values(), *MYSQL.values()], ids=[*POSTGRES, *MYSQL]
)
