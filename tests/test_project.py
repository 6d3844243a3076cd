"""What the project says about itself holds: its commands exist, and its own rules for tests are kept."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"setup", "test", "lint", "demo", "bench", "clean"}
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = [ROOT / ".ci" / "run", *sorted((ROOT / "scripts").iterdir())]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_readme_names_the_commands_a_newcomer_needs(command: str) -> None:
    assert command in (ROOT / "README.md").read_text()


def test_the_package_index_shows_the_readme() -> None:
    assert project()["readme"] == "README.md"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_in_the_documents_exists(page: str) -> None:
    named = set(re.findall(r"^\s*make ([a-z]+)|`make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert {first or second for first, second in named} <= TARGETS


def test_the_makefile_has_the_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets - {"help"} == TARGETS


def test_continuous_integration_runs_what_a_person_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert any(line.startswith("exec make test") for line in lines)


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_a_script_is_valid_and_executable_unless_it_is_sourced(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK) == (script.suffix != ".sh")


def test_the_pool_needs_the_standard_library_alone() -> None:
    assert project()["dependencies"] == []


def test_the_extra_named_all_holds_every_extra_for_users() -> None:
    extras = project()["optional-dependencies"]

    def held_by(extra: str) -> set[str]:
        named = {name for line in extras[extra] for name in re.findall(r"^cenote\[(.*)]", line)}
        direct = {one for names in named for one in names.split(",")}
        return direct.union(*map(held_by, direct))

    assert held_by("all") == set(extras) - {"all", "test", "dev"}


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src" / "cenote" / "py.typed").exists()


def test_the_interpreter_that_runs_this_is_among_those_found() -> None:
    found = subprocess.run(
        [ROOT / "scripts" / "interpreters"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON": sys.executable},
    )
    versions = [line.split()[0] for line in found.stdout.splitlines()]
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in versions
    assert len(versions) == len(set(versions))


CLOCKS = {"time", "asyncio", "trio", "anyio"}


def sleeps(source: str) -> Iterator[int]:
    """Find the lines that sleep for anything but a plain 0; a server's own sleep is none of ours."""
    tree = ast.parse(source)
    clocks = CLOCKS | {
        one.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for one in node.names
        if one.name in CLOCKS and one.asname
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr="sleep"), args=args) if (
                module in clocks
            ):
                pass
            case ast.Call(func=ast.Name(id="sleep"), args=args):
                pass
            case _:
                continue
        if not (args and isinstance(args[0], ast.Constant) and args[0].value == 0):
            yield node.lineno


@pytest.mark.parametrize("path", TEST_FILES, ids=relative)
def test_no_test_sleeps_to_wait(path: Path) -> None:
    assert list(sleeps(path.read_text())) == []


def test_a_sleep_is_recognised() -> None:
    assert list(sleeps("time.sleep(0.1)\nawait asyncio.sleep(0)\nsleep(n)\n")) == [1, 3]
    assert list(sleeps("import time as clock\nclock.sleep(1)\nserver.sleep(1)\n")) == [2]


@pytest.mark.parametrize(
    "source",
    [
        "import pytest\n\ndef test_one():\n    pytest.skip('later')\n",
        "import pytest\n\n@pytest.mark.skipif(True, reason='later')\ndef test_one(): pass\n",
        "import pytest\n\n@pytest.mark.xfail(reason='later')\ndef test_one(): assert False\n",
    ],
    ids=["inside", "marked", "expected to fail"],
)
def test_a_skipped_test_is_a_failed_test(tmp_path: Path, source: str) -> None:
    assert run_with_our_conftest(tmp_path, source) == pytest.ExitCode.TESTS_FAILED


def test_a_skipped_file_is_a_failure(tmp_path: Path) -> None:
    source = "import pytest\npytest.importorskip('no_such_module')\n"
    assert run_with_our_conftest(tmp_path, source) == pytest.ExitCode.INTERRUPTED


def test_a_test_that_is_not_skipped_passes(tmp_path: Path) -> None:
    assert run_with_our_conftest(tmp_path, "def test_one(): pass\n") == pytest.ExitCode.OK


def run_with_our_conftest(folder: Path, source: str) -> int:
    test = folder / "test_it.py"
    test.write_text(source)
    # -c: none of the project's settings, only the hooks of its conftest
    options = ["-p", "tests.conftest", "-c", os.devnull, "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(test)]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode
