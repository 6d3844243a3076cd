"""Whose option is whose: what the drop-in pools are told is partly ours and partly redis-py's."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from ..options import OPTION_NAMES, Options, default_name

# Arguments of redis-py's pools, not of its connections.
OF_ITS_POOLS = ("cache", "cache_config")


class Given:
    """The options of one drop-in pool, told apart by name and checked.

    Raises:
        TypeError: a name is neither ours nor redis-py's; the nearest is suggested.
        ConfigError: a value makes no sense, or two of them contradict each other.
    """

    def __init__(
        self,
        given: dict[str, Any],
        *,
        connection_class: type[Any],
        max_connections: int | None,
    ) -> None:
        """Take ours out of `given`; what remains are the arguments of redis-py's connections."""
        ours = {name: given[name] for name in OPTION_NAMES if name in given}
        self.theirs = {name: value for name, value in given.items() if name not in ours}
        _check_theirs(connection_class, self.theirs)
        if max_connections is not None:
            if "max_open" in ours:
                raise ConfigError(
                    f"max_connections: is another word for max_open, got {max_connections!r} beside "
                    f"max_open={ours['max_open']!r}; write one of them"
                )
            ours["max_open"] = max_connections
        if ours.get("name") is None:
            ours["name"] = _name_of(self.theirs)
        self.ours = in_short(Options.of(**ours))


def in_short(options: Options) -> dict[str, Any]:
    """Return what differs from the defaults, as keywords."""
    defaults = Options()
    found = {name: getattr(options, name) for name in OPTION_NAMES}
    return {name: value for name, value in found.items() if value != getattr(defaults, name)}


def _check_theirs(connection_class: type[Any], theirs: dict[str, Any]) -> None:
    from ..drivers._redis import check_arguments  # noqa: PLC0415 - of a driver, which only its users import

    arguments = {name: value for name, value in theirs.items() if name not in OF_ITS_POOLS}
    check_arguments(connection_class, arguments, (*OPTION_NAMES, *OF_ITS_POOLS, "max_connections"))


def _name_of(theirs: dict[str, Any]) -> str:
    if theirs.get("path"):
        return default_name(f"unix://{theirs['path']}")
    return f"{theirs.get('host', 'localhost')}:{theirs.get('port', 6379)}/{theirs.get('db', 0)}"


def read_both(url: str, given: dict[str, Any], *, asynchronous: bool) -> dict[str, Any]:
    """Join what a URL says with the keywords: of redis-py's options the URL's win, of ours the keywords.

    Raises:
        TypeError: a keyword is unknown.
        ConfigError: the URL cannot be read. No password is shown.
    """
    from ..drivers._redis import read_url  # noqa: PLC0415 - as above

    ours = {name: given[name] for name in OPTION_NAMES if name in given}
    options = Options.from_url(url, **ours)
    assert options.dsn is not None
    theirs = read_url(options.dsn, asynchronous=asynchronous, of_a_pool=True)
    joined = {name: value for name, value in given.items() if name not in ours} | theirs
    if "connection_class" in given:
        joined["connection_class"] = given["connection_class"]
    return joined | in_short(options)
