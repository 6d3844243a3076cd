"""What `DB` and `AsyncDB` have in common: the pool as the handle shows it, and the handle's own options."""

from __future__ import annotations

import dataclasses
from typing import Any, Unpack

from cenote._explain import Holder
from cenote._pool import PoolBase
from cenote.drivers._urls import Reader, switch, take_parameters
from cenote.durations import Duration
from cenote.errors import ConfigError
from cenote.options import Options, OptionsDict
from cenote.stats import Stats

from ._session import Handle, Owner, Session, Site, give_back, lend
from .dialect import Steps

_URL_PARAMETERS: dict[str, Reader] = {"interpolate": switch, "prepare": switch}


class DBBase(Owner):
    """A handle borrows a connection for each statement; the faces add whatever waits."""

    _handle: Handle
    _borrows = True
    pool: PoolBase[Any]

    def _enter(self, site: Site, timeout: Duration | None, deadline: float) -> Steps[Session]:  # noqa: ARG002 - the pool reckons by itself
        return lend(self._handle, site, timeout)

    def _leave(self, session: Session, error: BaseException | None) -> Steps[None]:
        return give_back(session, error)

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.pool.name

    @property
    def options(self) -> Options:
        """The pool's options in force."""
        return self.pool.options

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.pool.closed

    def stats(self) -> Stats:
        """Take a snapshot of the pool. See `Pool.stats`."""
        return self.pool.stats()

    def holders(self) -> list[Holder]:
        """List who holds a connection. See `Pool.holders`."""
        return self.pool.holders()

    def resize(self, **options: Unpack[OptionsDict]) -> None:
        """Change any option of the pool. See `Pool.resize`."""
        self.pool.resize(**options)

    def set_max_open_conns(self, n: int) -> None:
        """Set the most open connections; 0 or less means no limit."""
        self.pool.set_max_open_conns(n)

    def set_max_idle_conns(self, n: int) -> None:
        """Set the most idle connections; 0 or less keeps none."""
        self.pool.set_max_idle_conns(n)

    def set_conn_max_lifetime(self, d: Duration) -> None:
        """Set the age at which connections are replaced; 0 means never."""
        self.pool.set_conn_max_lifetime(d)

    def set_conn_max_idle_time(self, d: Duration) -> None:
        """Set how long a connection may be idle; 0 means for ever."""
        self.pool.set_conn_max_idle_time(d)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.pool!r}>"


def take_handle_options(target: Any, given: dict[str, bool | None]) -> tuple[Any, dict[str, bool | None]]:
    """Take ``interpolate`` and ``prepare`` out of a URL, so that a DSN from the environment can say them.

    Raises:
        ConfigError: one stands there and among the arguments, or its value makes no sense.
    """
    url = target.dsn if isinstance(target, Options) else target
    if not isinstance(url, str) or "://" not in url:
        return target, given
    taken, rest = take_parameters(url, _URL_PARAMETERS)
    for name in taken:
        if given[name] is not None:
            raise ConfigError(f"{name}: given in the URL and as an argument; keep one")
    if taken:
        target = dataclasses.replace(target, dsn=rest) if isinstance(target, Options) else rest
    return target, {**given, **taken}
