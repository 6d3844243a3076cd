"""What the PostgreSQL dialects share: how a transaction begins, and the names of types."""

from __future__ import annotations

from cenote.dialects._isolation import LEVELS, check_isolation
from cenote.sql.dialect import Isolation

IDLE = 0
"""libpq's number for a connection outside a transaction."""

# The types whose numbers are the same on every server, and met every day.
TYPES = {
    16: "bool",
    17: "bytea",
    18: "char",
    19: "name",
    20: "int8",
    21: "int2",
    23: "int4",
    25: "text",
    26: "oid",
    114: "json",
    700: "float4",
    701: "float8",
    869: "inet",
    1005: "int2[]",
    1007: "int4[]",
    1009: "text[]",
    1016: "int8[]",
    1042: "bpchar",
    1043: "varchar",
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamptz",
    1186: "interval",
    1266: "timetz",
    1700: "numeric",
    2278: "void",
    2950: "uuid",
    3802: "jsonb",
}


def begin_with(isolation: Isolation | None, *, read_only: bool) -> str:
    """Word the beginning, in one statement.

    Raises:
        ConfigError: there is no such level.
    """
    check_isolation(isolation, LEVELS)
    level = f" ISOLATION LEVEL {isolation.upper()}" if isolation else ""
    return f"BEGIN{level}{' READ ONLY' if read_only else ''}"
