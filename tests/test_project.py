"""What holds for the repository as a whole: nothing private in it, pins complete, tests without luck."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.requires import require_program

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400

# Somebody's home folder, on any system ([t] keeps this line from finding itself).
HOME_PATH = re.compile(r"(?:/home|/Users|\\Users)[/\\](?!user\b|you\b)\w|(?<![\w/.])/roo[t]/")


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """The files that git tracks and that are there. Skips where this is not a git checkout of its own."""
    git = require_program("git")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = [git, "-C", str(ROOT), "ls-files", "-z"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths = (ROOT / name for name in listing.split("\0") if name)
    tracked = tuple(path for path in paths if path.is_file() and not path.is_symlink())
    if not tracked:
        pytest.skip("git tracks nothing yet")
    return tracked


def tracked_texts() -> Iterator[tuple[Path, str]]:
    """Each tracked text file with its content."""
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT), content.decode("utf-8", errors="replace")


def python_trees(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    """Each Python file under `folder`, parsed."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_bytes(), filename=str(path))


@functools.cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def pins(name: str) -> dict[str, str]:
    """Package → the whole pin (version, marker, hashes) in `requirements/<name>`."""
    text = (ROOT / "requirements" / name).read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {canonicalize_name(re.split(r"[=<>~!;@ \[]", line)[0]): line for line in lines}


def index_hosts() -> set[str]:
    """The hosts that pip installs from on this machine: its defaults and what its configuration adds."""
    defaults = importlib.import_module("pip._internal.models.index").PyPI
    command = [sys.executable, "-m", "pip", "config", "list"]
    configuration = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    configured = re.findall(r"https?://(?:[^/@'\"\s]*@)?([^/:'\"\s]+)", configuration)
    return {defaults.netloc, defaults.file_storage_domain, *configured} - {"localhost", "127.0.0.1"}


def dotted_name(node: ast.AST) -> str:
    """`a.b.c` of the expression a.b.c; the empty text for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted_name(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def names_used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a module imports or reads from a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield node.lineno, dotted_name(node)
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def uses_in_tests(forbidden: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{line} {name}"
        for path, tree in python_trees("tests")
        for line, name in names_used(tree)
        if forbidden.fullmatch(name)
    ]


def test_no_file_names_a_package_index() -> None:
    hosts = index_hosts()
    found = [f"{path}: {host}" for path, text in tracked_texts() for host in hosts if host in text]
    assert len(hosts) >= 2
    assert found == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    own = tuple(f"{path}/" for path in (ROOT, Path.home()) if len(path.parts) > 1)
    found = [
        f"{path}:{number} {line.strip()[:80]}"
        for path, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if HOME_PATH.search(line) or any(folder in line for folder in own)
    ]
    assert found == []


def test_settings_journal_and_ledger_are_not_in_git() -> None:
    private = re.compile(r"\.env|rollback\.(db|journal).*|.*\.(pem|key|token)")
    assert [path.name for path in tracked_files() if private.fullmatch(path.name)] == []


@pytest.mark.parametrize("folder", ["rollback", "tests"])
def test_no_module_is_longer_than_one_can_read(folder: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")
    }
    assert lengths
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_tests_use_fakes_not_mocks() -> None:
    assert uses_in_tests(re.compile(r"unittest\.mock(\..*)?|mock(\..*)?|mocker|pytest_mock(\..*)?")) == []


def test_tests_wait_for_conditions_not_for_time() -> None:
    assert uses_in_tests(re.compile(r"time\.sleep")) == []


def test_tests_are_not_retried_or_expected_to_fail() -> None:
    assert uses_in_tests(re.compile(r"pytest\.(mark\.(flaky|xfail)|xfail)|pytest_rerunfailures.*")) == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import xml.dom", "xml.dom"),
        ("import xml.dom as d", "xml.dom"),
        ("def f():\n    from xml import dom", "xml.dom"),
        ("@xml.dom.node(1)\ndef f(): ...", "xml.dom.node"),
        ("def f(fixture): ...", "fixture"),
    ],
)
def test_no_way_of_naming_a_thing_escapes_these_rules(source: str, name: str) -> None:
    assert name in {used for _, used in names_used(ast.parse(source))}


def test_version_and_changelog_agree() -> None:
    version = Version(pyproject()["project"]["version"])
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    sections = re.findall(r"^## \[([^]]+)\]", changelog, flags=re.MULTILINE)
    assert sections[0] == "Unreleased"
    released = [Version(section) for section in sections[1:]]
    assert released == sorted(set(released), reverse=True)
    if version.is_devrelease:
        assert all(version > earlier for earlier in released)
    else:
        assert released[:1] == [version]


def test_installed_version_is_the_one_of_the_project() -> None:
    metadata = importlib.import_module("importlib.metadata")
    try:
        installed = metadata.version("rollback-controller")
    except metadata.PackageNotFoundError:
        pytest.skip("rollback is imported from the folder, not installed")
    assert installed == pyproject()["project"]["version"]


@pytest.mark.parametrize("name", ["runtime.txt", "server.txt", "dev.txt"])
def test_every_pin_is_exact_and_hashed_and_names_no_address(name: str) -> None:
    assert pins(name)
    for package, pin in pins(name).items():
        assert re.match(r"[\w.-]+==[\w.]+ ", pin), f"{package} is not pinned exactly"
        assert "--hash=sha256:" in pin, f"{package} has no hash"
        assert "://" not in pin
        assert not pin.startswith("-")


def test_runtime_pins_are_a_part_of_the_dev_pins() -> None:
    assert pins("runtime.txt").items() <= pins("server.txt").items() <= pins("dev.txt").items()


def test_pins_satisfy_what_the_project_asks_for() -> None:
    project, groups = pyproject()["project"], pyproject()["dependency-groups"]
    build, dev = groups["build"], [entry for entry in groups["dev"] if isinstance(entry, str)]
    server = project["optional-dependencies"]["server"]
    for name, asked in (
        ("runtime.txt", project["dependencies"] + build),
        ("server.txt", project["dependencies"] + server),
        ("dev.txt", dev + groups["figures"]),
    ):
        for requirement in map(Requirement, asked):
            pin = pins(name)[canonicalize_name(requirement.name)]
            version = pin.split("==")[1].split()[0]
            assert version in requirement.specifier, f"{name} pins {requirement.name} {version}, not {requirement}"


def test_build_backend_is_pinned_as_it_is_declared() -> None:
    assert pyproject()["build-system"]["requires"] == pyproject()["dependency-groups"]["build"]


def test_every_target_of_make_has_a_line_of_help() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    declared = re.findall(r"^\.PHONY: (help .*)$", makefile, flags=re.MULTILINE)[0].split()
    helped = re.findall(r"^([a-z-]+):.*## .+$", makefile, flags=re.MULTILINE)
    assert sorted(declared) == sorted(helped)


@pytest.mark.parametrize("script", [".ci/run", "requirements/lock"])
def test_scripts_parse(script: str) -> None:
    shell = (ROOT / script).read_text("utf-8").splitlines()[0].split("/")[-1].split()[-1]
    subprocess.run([require_program(shell), "-n", str(ROOT / script)], check=True)


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_missing_program_skips_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLLBACK_CI_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require_program("no-such-program")


def test_a_missing_program_fails_where_everything_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBACK_CI_REQUIRE", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require_program("no-such-program")


def test_a_program_that_is_there_is_found() -> None:
    assert require_program("git") == shutil.which("git")
