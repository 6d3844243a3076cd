"""Where the secrets stand in a URL or a connection string, so that no log, repr or error shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_COLON = re.compile(r":|%3[Aa]")
_HOST = r"(?:\[[^\]]*\]|[^\[\]:,@]*)(?::[0-9]*)?"
HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_PARAMETER = re.compile(r"(?:^|[?&;#\s])([^=&?;#\s]+)\s*=\s*")
_NEXT_PARAMETER = re.compile(r"&[^&=]*=|\Z")
_SECRET = re.compile(r"pass(?!file)|pwd|secret|token|credential|(api|access|private)key|^auth$|^key$")
# libpq: quoted with backslash escapes, or up to the next "name ="; whatever is malformed counts to the end.
_KEYWORD_VALUE = re.compile(
    r"'(?:\\.|[^'\\])*'(?=\s|\Z)|'.*|(?:\\.|[^\\])*?(?=\s+[\w.-]+\s*=|\Z)|.*", re.DOTALL
)


def redact(url: str) -> str:
    """Replace the passwords of a URL or a ``host=x password=y`` string by ``***``.

    Hidden are the password before the host and every parameter whose name smells of a secret. In doubt
    too much is hidden, as in a malformed URL whose password holds a raw ``@``, ``/`` or ``?``.
    """
    shown, end = "", 0
    for first, last in sorted(_secrets(url)):
        if first >= end:
            shown += f"{url[end:first]}***"
        end = max(end, last)
    return shown + url[end:]


def scrub(text: str, url: str | None) -> str:
    """Replace in `text` the secrets that `url` holds by ``***``, as they stand there and decoded."""
    found = {url[first:last] for first, last in _secrets(url)} if url else set()
    plain = {re.sub(r"\\(.)", r"\1", one.removeprefix("'").removesuffix("'")) for one in found}
    for secret in sorted(found | plain | {unquote(one) for one in found}, key=len, reverse=True):
        text = text.replace(secret, "***") if secret else text
    return text


def _secrets(url: str) -> Iterator[tuple[int, int]]:
    """Find where secrets begin and end. Spans may overlap: each is right under one reading of the text."""
    scheme = SCHEME.match(url)
    start = scheme.end() if scheme else 0
    colon, at = _COLON.search(url, start), url.rfind("@")
    if colon and colon.end() <= at:
        yield colon.end(), at
    elif colon and scheme and at < start and not HOSTS.fullmatch(authority(url, start)):
        yield colon.end(), len(url)  # scheme://user:password, the host forgotten
    for match in _PARAMETER.finditer(url):
        if _SECRET.search(unquote(match[1]).lower().replace("_", "").replace("-", "")):
            # Either pattern matches somewhere in every text.
            value = next((_NEXT_PARAMETER if scheme else _KEYWORD_VALUE).finditer(url, match.end()))
            yield match.end(), value.start() if scheme else value.end()


def authority(url: str, start: int) -> str:
    return re.split(r"[/?#]", url[start:], maxsplit=1)[0]
