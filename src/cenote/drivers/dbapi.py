"""Any driver that follows PEP 249, by its module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cenote.drivers import _unknown
from cenote.errors import ConfigError

if TYPE_CHECKING:
    from cenote.dialects.dbapi import DBAPIDialect


class DBAPIConnector(_unknown.Discovering):
    """Opens connections with ``module.connect(*args, **kwargs)`` for a `Pool`.

    PEP 249 has no limit for a dial, so the driver's own must be among the arguments. It opens connections
    with autocommit off and has no way to ask whether a transaction is open: unless the connection has a plain
    `in_transaction`, ``rollback`` is called on every release, which most drivers do for free when there is
    nothing to roll back.
    """

    _awaited = False

    def __init__(self, module: Any, *args: Any, **kwargs: Any) -> None:
        """Look at the module; opens nothing.

        Args:
            module: a PEP 249 module such as `sqlite3`.
            args: for its `connect`.
            kwargs: for its `connect`.

        Raises:
            ConfigError: it is no PEP 249 module, or its threads may not share it.
        """
        super().__init__()
        name = getattr(module, "__name__", type(module).__name__)
        if not str(getattr(module, "apilevel", "")).startswith("2") or not callable(
            getattr(module, "connect", None)
        ):
            raise ConfigError(
                f"module: {name} does not follow PEP 249 (connect() and apilevel '2.0'); "
                "pass the driver's module, or give the pool a callable that returns a connection"
            )
        safety = getattr(module, "threadsafety", None)
        if not isinstance(safety, int) or safety < 1:
            raise ConfigError(
                f"module: {name} says threadsafety={safety!r}, so threads may not share it; "
                "use a driver with 1 or more"
            )
        self._module = module
        self._args = args
        self._kwargs = kwargs
        self._name = name
        self._dialect: DBAPIDialect | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name}, ...)"

    def dialect(self) -> DBAPIDialect:
        """Say how the database handle speaks through it."""
        from cenote.dialects.dbapi import DBAPIDialect  # noqa: PLC0415 - the pool needs none

        if self._dialect is None:
            style = str(getattr(self._module, "paramstyle", ""))
            self._dialect = DBAPIDialect(style, _unknown.refuse_autocommit)
        return self._dialect

    def connect(self, timeout: float) -> Any:  # noqa: ARG002 - PEP 249 has no place for it
        """Open one connection."""
        return self._module.connect(*self._args, **self._kwargs)

    def close(self, connection: Any) -> None:
        """Close it."""
        if self._dialect is not None:
            self._dialect.forget(connection)
        _unknown.close(connection)
