"""A URL's query, divided: what is ours is taken out, all else stays for the driver."""

from __future__ import annotations

from collections.abc import Container
from urllib.parse import unquote


def divide(url: str, mark: int, names: Container[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Take the parameters in `names` out of the query whose ``?`` stands at `mark`.

    Returns:
        Them in order, decoded, as often as they stand there; and all others as they are, byte for byte.
    """
    taken, kept = [], []
    for parameter in url[mark + 1 :].split("&"):
        name, _, text = parameter.partition("=")
        if unquote(name) in names:
            taken.append((unquote(name), unquote(text)))
        else:
            kept.append(parameter)
    return taken, kept
