"""Others can add drivers: by a call, or by a package that announces one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cenote
from cenote.drivers import _registry
from cenote.testing import AsyncScriptedConnector, FakeConnection, ScriptedConnector


class Acme(ScriptedConnector):
    """A driver for threads."""

    url = ""

    @classmethod
    def from_url(cls, url: str) -> Acme:
        made = cls()
        made.url = url
        return made


class AsyncAcme(AsyncScriptedConnector):
    """A driver for asyncio."""

    @classmethod
    def from_url(cls, url: str) -> AsyncAcme:
        return cls()


class Factory:
    """Has no `connect`, so it does not say for which world it is."""

    def from_url(self, url: str) -> Acme:
        return Acme.from_url(url)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test registers is forgotten after it."""
    monkeypatch.setattr(_registry, "_registered", {world: {} for world in _registry.WORLDS})
    monkeypatch.setattr(_registry, "_loaded", set())


def test_a_registered_class_serves_its_scheme_in_threads() -> None:
    cenote.register("acme", Acme)
    with cenote.Pool("acme://here/x?max_open=3&own=1") as pool, pool.connection() as connection:
        assert isinstance(connection, FakeConnection)
        assert pool.options.max_open == 3
        found: Any = pool._connector
        assert found.url == "acme://here/x?own=1"


async def test_a_registered_class_serves_its_scheme_in_asyncio() -> None:
    cenote.register("acme", AsyncAcme)
    async with cenote.AsyncPool("acme://here/x") as pool, pool.connection() as connection:
        assert isinstance(connection, FakeConnection)


async def test_one_scheme_serves_both_worlds() -> None:
    cenote.register("acme", threads=Acme, asyncio=AsyncAcme)
    with cenote.Pool("acme://x") as pool:
        pool.ping()
    async with cenote.AsyncPool("acme://x") as apool:
        await apool.ping()


def test_the_two_worlds_can_be_registered_one_after_the_other() -> None:
    cenote.register("acme", Acme)
    cenote.register("acme", AsyncAcme)
    assert cenote.schemes().count("acme") == 1


def test_a_factory_says_its_world() -> None:
    cenote.register("acme", threads=Factory())
    with cenote.Pool("acme://x") as pool:
        pool.ping()


def test_capital_letters_do_not_matter() -> None:
    cenote.register("ACME", Acme)
    with cenote.Pool("Acme://x") as pool:
        pool.ping()


@pytest.mark.parametrize(
    ("registered", "asked"), [("mariadb+acme", "mysql"), ("postgresql+acme", "postgres")]
)
def test_another_driver_of_a_known_database_serves_all_its_names(registered: str, asked: str) -> None:
    cenote.register(registered, Acme)
    with cenote.Pool(f"{asked}+acme://x") as pool:
        pool.ping()


def test_a_scheme_of_the_other_world_names_the_pool_to_use() -> None:
    cenote.register("acme", AsyncAcme)
    with pytest.raises(
        cenote.ConfigError, match=r"acme:// is a driver for cenote\.AsyncPool.*use cenote.AsyncPool$"
    ):
        cenote.Pool("acme://x")


def test_an_unknown_scheme_suggests_a_registered_one() -> None:
    cenote.register("acme", Acme)
    with pytest.raises(cenote.ConfigError, match=r"unknown scheme acne://; did you mean acme://\?"):
        cenote.Pool("acne://x")


@pytest.mark.parametrize(
    ("scheme", "connector", "says"),
    [
        ("sqlite", Acme, r"sqlite:// has a driver for threads already; register another name"),
        ("postgres", Acme, r"postgresql:// has a driver for threads already"),
        ("mysql+asyncmy", AsyncAcme, r"mysql\+asyncmy:// has a driver for asyncio already"),
        ("acme", None, r"got nothing to register for acme://"),
        ("acme", Factory(), r"Factory has no connect.*threads= or asyncio="),
        ("acme", ScriptedConnector, r"ScriptedConnector has no from_url\(url\)"),
        ("ac me", Acme, r"scheme: 'ac me' cannot begin a URL"),
        ("", Acme, r"scheme: '' cannot begin a URL"),
        (7, Acme, r"scheme: 7 cannot begin a URL"),
    ],
)
def test_what_cannot_be_registered_is_refused(scheme: Any, connector: Any, says: str) -> None:
    before = cenote.schemes()
    with pytest.raises(cenote.ConfigError, match=says):
        cenote.register(scheme, connector)
    assert cenote.schemes() == before


def test_registering_twice_is_refused() -> None:
    cenote.register("acme", Acme)
    with pytest.raises(cenote.ConfigError, match="acme:// has a driver for threads already"):
        cenote.register("acme", Acme)


def test_one_of_two_that_is_refused_registers_neither() -> None:
    cenote.register("acme", Acme)
    with pytest.raises(cenote.ConfigError, match="already"):
        cenote.register("acme", threads=Acme, asyncio=AsyncAcme)
    cenote.register("acme", asyncio=AsyncAcme)


def test_the_same_world_twice_in_one_call_is_refused() -> None:
    with pytest.raises(cenote.ConfigError, match="give one of them"):
        cenote.register("acme", Acme, threads=Acme)


def test_the_schemes_are_listed_in_order() -> None:
    cenote.register("acme", Acme)
    listed = cenote.schemes()
    assert listed == sorted(set(listed))
    assert {"acme", "sqlite", "postgresql", "postgresql+asyncpg", "mysql"} <= set(listed)


# ── packages that announce a driver ─────────────────────────────────────────────────────────────


class Site:
    """A folder on the path into which packages are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, module: str, entry_points: str, source: str) -> None:
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(f"[cenote.drivers]\n{entry_points}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("acme_"):
            del sys.modules[name]


SOURCE = """
from cenote.testing import AsyncScriptedConnector, ScriptedConnector

class Threads(ScriptedConnector):
    @classmethod
    def from_url(cls, url):
        return cls()

class Asyncio(AsyncScriptedConnector):
    @classmethod
    def from_url(cls, url):
        return cls()
"""
REGISTERS = (
    SOURCE
    + """
import cenote
cenote.register("acme", threads=Threads, asyncio=Asyncio)
"""
)


def test_an_installed_package_brings_its_scheme(site: Site) -> None:
    site.install("acme_one", "acme = acme_one:Threads", SOURCE)
    for _ in range(2):
        with cenote.Pool("acme://x") as pool:
            pool.ping()


async def test_an_installed_module_registers_both_worlds(site: Site) -> None:
    site.install("acme_two", "acme = acme_two", REGISTERS)
    async with cenote.AsyncPool("acme://x") as apool:
        await apool.ping()
    with cenote.Pool("acme://x") as pool:
        pool.ping()


def test_a_package_that_was_imported_before_is_not_registered_twice(site: Site) -> None:
    site.install("acme_two", "acme = acme_two", REGISTERS)
    __import__("acme_two")
    with cenote.Pool("acme://x") as pool:
        pool.ping()


def test_a_package_is_not_imported_for_other_schemes(site: Site) -> None:
    site.install("acme_bad", "acme = acme_bad:Threads", "raise ImportError('no')")
    with cenote.Pool("sqlite://") as pool:
        pool.ping()
    with pytest.raises(cenote.ConfigError, match="unknown scheme other://"):
        cenote.Pool("other://x")
    assert "acme" in cenote.schemes()


@pytest.mark.parametrize(
    ("entry", "source", "says"),
    [
        (
            "acme_bad:Threads",
            "raise ImportError('libacme is missing')",
            r"entry point 'acme_bad:Threads' of acme-bad",
        ),
        ("acme_bad:Threads", "raise ImportError('libacme is missing')", r"libacme is missing"),
        ("acme_bad:Nothing", SOURCE, r"has no attribute 'Nothing'"),
        ("acme_bad", SOURCE, r"'acme_bad' of acme-bad does not register it"),
        ("acme_bad:ScriptedConnector", SOURCE, r"ScriptedConnector has no from_url"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(site: Site, entry: str, source: str, says: str) -> None:
    site.install("acme_bad", f"acme = {entry}", source)
    with pytest.raises(cenote.ConfigError, match=says):
        cenote.Pool("acme://user:secret@x")
    with pytest.raises(cenote.ConfigError) as caught:
        cenote.Pool("acme://user:secret@x")
    assert "secret" not in str(caught.value)


def test_two_packages_for_one_scheme_are_refused(site: Site) -> None:
    site.install("acme_one", "acme = acme_one:Threads", SOURCE)
    site.install("acme_two", "acme = acme_two:Threads", SOURCE)
    for _ in range(2):
        with pytest.raises(
            cenote.ConfigError, match=r"two packages.*of acme-one and .*of acme-two; uninstall one"
        ):
            cenote.Pool("acme://x")
