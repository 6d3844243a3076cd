"""The documents, for the tests that read them and run them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


class Block(NamedTuple):
    """A fenced block: the line of its fence, its info string and its text."""

    line: int
    info: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    inside: Block | None = None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if inside is None and line.startswith("```"):
            inside = Block(number, line[3:].strip(), "")
        elif inside is not None and line.startswith("```"):
            yield inside
            inside = None
        elif inside is not None:
            inside = inside._replace(text=f"{inside.text}{line}\n")
    assert inside is None, f"{relative(page)}: the block that begins in line {inside.line} does not end"
