"""URL schemes that others bring along: registered by a call, or announced by an installed package.

A package announces its driver by an entry point in the group ``cenote.drivers``, whose name is the scheme::

    [project.entry-points."cenote.drivers"]
    acme = "acme_cenote:AcmeConnector"

It names a connector class, which serves the world its `connect` is written for; or, if there is one for each
world, a module whose import calls `register`. Entry points are looked at only when a URL has a scheme that is
not known otherwise, and loaded only if it is theirs.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from inspect import iscoroutinefunction
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cenote.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "cenote.drivers"
THREADS, ASYNCIO = "threads", "asyncio"
WORLDS = (THREADS, ASYNCIO)

_SCHEME = re.compile(r"[a-z][a-z0-9.+-]*")

_ALIASES = {"postgres": "postgresql", "mariadb": "mysql"}

_lock = threading.RLock()
_registered: dict[str, dict[str, Any]] = {world: {} for world in WORLDS}
_built_in: dict[str, Mapping[str, object]] = {world: {} for world in WORLDS}
_loaded: set[EntryPoint] = set()


def canonical(scheme: str) -> str:
    """Return the name under which a scheme is known, in lower case."""
    base, plus, name = scheme.lower().partition("+")
    return _ALIASES.get(base, base) + plus + name


def reserve(threads: Mapping[str, object], asyncio: Mapping[str, object]) -> None:
    """Note the schemes that this package has drivers for."""
    _built_in.update({THREADS: threads, ASYNCIO: asyncio})


def register(scheme: str, connector: Any = None, *, threads: Any = None, asyncio: Any = None) -> None:
    """Give URLs that begin with ``scheme://`` a driver, for all pools and handles opened afterwards.

    A connector is a class, or any other object, with ``from_url(url)`` that returns the connector for one
    URL. It should check the URL there, and raise `ConfigError` without showing a password.

    Args:
        scheme: for example ``"acme"``, or ``"postgresql+acme"`` for another driver of the same database.
        connector: a class; it serves `AsyncPool` and `open_async` if its `connect` is a coroutine
            function, else `Pool` and `open`.
        threads: the one for `Pool` and `open`, said outright.
        asyncio: the one for `AsyncPool` and `open_async`.

    Raises:
        ConfigError: the scheme has a driver already, or cannot be one; there is nothing to register; or
            what is given has no ``from_url``. Nothing is registered then.
    """
    name = canonical(str(scheme))
    if not _SCHEME.fullmatch(name):
        raise ConfigError(
            f"scheme: {scheme!r} cannot begin a URL; write a letter, then letters, digits, '+', '-' or '.'"
        )
    given = {THREADS: threads, ASYNCIO: asyncio}
    if connector is not None:
        world = _world_of(connector)
        if given[world] is not None:
            raise ConfigError(f"connector: it is for {world}, and so is {world}=; give one of them")
        given[world] = connector
    given = {world: one for world, one in given.items() if one is not None}
    if not given:
        raise ConfigError(f"connector: got nothing to register for {name}://; give a connector class")
    for world, one in given.items():
        if not callable(getattr(one, "from_url", None)):
            raise ConfigError(
                f"connector: {_called(one)} has no from_url(url), so it cannot serve {name}:// for {world}; "
                "add a class method that makes a connector of a URL"
            )
    with _lock:
        for world in given:
            if name in _registered[world] or name in _built_in[world]:
                raise ConfigError(
                    f"scheme: {name}:// has a driver for {world} already; register another name, such as "
                    f"{name.partition('+')[0]}+mine"
                )
        for world, one in given.items():
            _registered[world][name] = one


def schemes() -> list[str]:
    """List the URL schemes that have a driver, sorted: built in, registered, or announced by a package.

    Whether the driver's own package is installed is seen when a URL is opened. Imports no driver.
    """
    announced = {canonical(point.name) for point in _announced()}
    known = [*_built_in.values(), *_registered.values()]
    return sorted(announced.union(*known))


def names(world: str) -> list[str]:
    """List the schemes registered for one world."""
    return list(_registered[world])


def find(scheme: str, world: str) -> Any:
    """Return what is registered for a scheme, after a look at the installed packages; None if nothing is.

    Raises:
        ConfigError: a package announces the scheme, and cannot be used or registers nothing for it.
    """
    if scheme not in _registered[world]:
        points = [point for point in _announced() if canonical(point.name) == scheme]
        # Without the lock: whoever is importing such a module may be waiting for it, to register.
        found = [(point, _load(point, scheme)) for point in points]
        with _lock:
            _register_all(scheme, [pair for pair in found if pair[0] not in _loaded])
    return _registered[world].get(scheme)


def _announced() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - dear to import, and seldom needed

    return entry_points(group=GROUP)


def _load(point: EntryPoint, scheme: str) -> object:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the driver for {scheme}:// cannot be used: {_shown(point)} fails ({error})"
        ) from error


def _register_all(scheme: str, found: list[tuple[EntryPoint, Any]]) -> None:
    """Register what packages announce for a scheme; all of it or nothing."""
    chosen: dict[str, tuple[EntryPoint, Any]] = {}
    for point, one in found:
        if isinstance(one, ModuleType):
            if not any(scheme in registered for registered in _registered.values()):
                raise ConfigError(
                    f"the driver for {scheme}:// cannot be used: {_shown(point)} does not register it"
                )
            continue
        world = _world_of(one)
        if world in chosen:
            raise ConfigError(
                f"two packages bring a driver for {scheme}:// and {world}: {_shown(chosen[world][0])} and "
                f"{_shown(point)}; uninstall one of them"
            )
        chosen[world] = (point, one)
    if chosen:
        register(scheme, **{world: one for world, (_, one) in chosen.items()})
    _loaded.update(point for point, _ in found)


def _shown(point: EntryPoint) -> str:
    return f"the entry point {point.value!r} of {point.dist.name if point.dist else 'a package'}"


def _world_of(connector: Any) -> str:
    connect = getattr(connector, "connect", None)
    if connect is None:
        raise ConfigError(
            f"connector: {_called(connector)} has no connect, so nobody can say for which world it is; "
            "register it as threads= or asyncio="
        )
    return ASYNCIO if iscoroutinefunction(connect) else THREADS


def _called(connector: object) -> str:
    return getattr(connector, "__qualname__", type(connector).__qualname__)
