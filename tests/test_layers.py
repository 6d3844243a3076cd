"""The house keeps its layers: who imports whom, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import cenote
import cenote.testing

PACKAGE = Path(cenote.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# The rooms that the core may know: values without behaviour of their own.
CORE_MAY = {"options", "errors", "stats", "events", "durations"}
# The order of the house: a room imports only from rooms to its left.
ORDER = ["_core", "_sockets", "_waiters", "_explain", "_report", "_looks", "_steps", "_pool"]
# Of the drivers' rooms, what needs no driver: reading a URL, the registry, and PEP 249's connector, for which
# the user brings the driver along.
DRIVERLESS = {"drivers._registry", "drivers._urls", "drivers.dbapi"}
FACES = {"_threads", "_asyncio", "_async_lease"}
DATA = {"options", "errors", "stats", "events", "durations", "connector", "_deadline", "secrets", "_secrets"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path, *, lazy: bool = False) -> Iterator[str]:
    """The modules of the package that a file imports; with `lazy`, those in functions, too."""
    tree = ast.parse(path.read_text())
    inner = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) or _is_type_checking(outer)
        for node in ast.walk(outer)
    }
    package = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(tree):
        if not lazy and id(node) in inner:
            continue
        if isinstance(node, ast.Import):
            yield from (_within(one.name) for one in node.names if one.name.split(".")[0] == "cenote")
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                base = package[: len(package) - node.level + 1]
                source = ".".join(["cenote", *base, *filter(None, [source])])
            if source.split(".")[0] == "cenote":
                found = _within(source)
                yield from [found] if found else (one.name for one in node.names)


def _within(name: str) -> str:
    return name.partition(".")[2]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room(name: str) -> str:
    return name.partition(".")[0]


def test_the_reader_of_imports_sees_all_kinds(tmp_path: Path) -> None:
    source = (
        "import cenote.events\nfrom . import _steps\nfrom .options import Options\nfrom cenote import Pool\n"
    )
    file = PACKAGE / "no_such_file.py"
    assert not file.exists()

    class Fake(type(file)):  # type: ignore[misc] # a path that reads as told
        def read_text(self, *_: object, **__: object) -> str:
            return source

    assert list(imports(Fake(file))) == ["events", "_steps", "options", "Pool"]


@pytest.mark.parametrize("path", sorted((PACKAGE / "_core").glob("*.py")), ids=relative)
def test_the_core_knows_values_only(path: Path) -> None:
    assert {room(name) for name in imports(path, lazy=True)} - {"_core"} <= CORE_MAY


@pytest.mark.parametrize("path", sorted((PACKAGE / "_core").glob("*.py")), ids=relative)
def test_the_core_does_no_io_and_asks_no_clock(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {
        node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if not node.level
    }
    forbidden = {"time", "socket", "select", "os", "asyncio", "logging", "warnings", "subprocess", "signal"}
    assert modules & forbidden == set()


@pytest.mark.parametrize("name", ORDER)
def test_a_room_imports_only_what_lies_beneath_it(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    files = [path] if path.exists() else sorted((PACKAGE / name).glob("*.py"))
    above = set(ORDER[ORDER.index(name) + 1 :]) | FACES
    for file in files:
        assert {room(one) for one in imports(file)} & above == set()


def test_the_faces_do_not_know_each_other() -> None:
    assert "_asyncio" not in set(imports(PACKAGE / "_threads.py", lazy=True))
    assert "_threads" not in set(imports(PACKAGE / "_asyncio.py", lazy=True))


@pytest.mark.parametrize("path", [path for path in MODULES if room(name_of(path)) != "cli"], ids=relative)
def test_nothing_imports_the_command_line(path: Path) -> None:
    allowed = {"__main__.py"}
    assert path.name in allowed or "cli" not in {room(name) for name in imports(path, lazy=True)}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_nothing_imports_a_driver_before_it_is_asked_for(path: Path) -> None:
    if room(name_of(path)) in {"drivers", "dialects", "cli"}:
        return
    assert {one for one in imports(path) if room(one) in {"drivers", "dialects"}} <= DRIVERLESS


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_dialect_is_imported_by_its_connector_when_it_is_asked_for(path: Path) -> None:
    if room(name_of(path)) == "dialects":
        return
    assert "dialects" not in {room(name) for name in imports(path)}
    if room(name_of(path)) != "drivers":
        assert "dialects" not in {room(name) for name in imports(path, lazy=True)}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_the_pool_does_not_know_the_handle(path: Path) -> None:
    # The package's own file shows it, the connectors of SQL name their dialects, the suite proves them.
    above = {"sql", "dialects", "testing", "cli", "__init__"}
    if room(name_of(path) or "__init__") in above:
        return
    assert "sql" not in {room(name) for name in imports(path)}


@pytest.mark.parametrize("path", [path for path in MODULES if room(name_of(path)) != "testing"], ids=relative)
def test_nothing_but_tests_imports_the_fakes(path: Path) -> None:
    assert "testing" not in {room(name) for name in imports(path, lazy=True)}


def fresh(program: str) -> list[str]:
    """Run a program in an interpreter that sees nothing but the standard library and this package."""
    line = f"import sys; sys.path.append({str(PACKAGE.parent)!r}); {program}"
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", line]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_the_package_needs_the_standard_library_alone() -> None:
    program = "import cenote, cenote.testing; print(*{name.split('.')[0] for name in sys.modules})"
    modules = set(fresh(program))
    assert "cenote" in modules
    assert modules - set(sys.stdlib_module_names) - {"cenote", "__main__"} == set()


def test_an_import_of_the_package_imports_no_driver_and_no_command_line() -> None:
    loaded = fresh("import cenote; print(*[name for name in sys.modules if name.startswith('cenote.')])")
    drivers = {name for name in loaded if name.startswith("cenote.drivers.")}
    assert drivers <= {
        f"cenote.drivers.{name}" for name in ("dbapi", "_registry", "_unknown", "_common", "_urls")
    }
    assert not [
        name for name in loaded if name.startswith(("cenote.cli", "cenote.dialects", "cenote.testing"))
    ]


def test_an_import_of_the_package_starts_no_thread() -> None:
    assert fresh("import threading, cenote; print(threading.active_count())") == ["1"]


def test_all_names_what_is_there_once() -> None:
    assert len(set(cenote.__all__)) == len(cenote.__all__)
    for name in cenote.__all__:
        assert hasattr(cenote, name)


def test_all_names_everything_public() -> None:
    """What the package's own file imports or defines without an underscore is public."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    found = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    found |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert found - {"__all__"} == set(cenote.__all__)


def public(module: ModuleType) -> set[str]:
    """What a module defines without an underscore."""
    return {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


@pytest.mark.parametrize("name", ["errors", "sql"])
def test_public_modules_say_what_is_public(name: str) -> None:
    module = import_module(f"cenote.{name}")
    declared = getattr(module, "__all__", None)
    assert declared is None or public(module) <= set(declared)


@pytest.mark.parametrize("name", ["_events", "_fakes"])
def test_every_fake_is_public(name: str) -> None:
    assert public(import_module(f"cenote.testing.{name}")) <= set(cenote.testing.__all__)
