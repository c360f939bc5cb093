"""Both readers of the settings agree on every environment, and neither shows a secret."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rollback.environment import lookup, read_dotenv
from rollback.errors import ConfigurationError
from rollback.kill_settings import NAMES, KillSettings, read_settings
from rollback.settings import Settings, UnknownSetting, load_settings, unknown_settings

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = "/nowhere/.env"
SECRET = "s3cret-value"

GOOD: dict[str, tuple[str, ...]] = {
    "policies": ("policies", "a folder/p", "/etc/p"),
    "flipt_url": (
        "file:features.yml",
        "https://flipt.example.org/",
        "http://127.0.0.1:8080, https://b.example.org",
        "file:///x/features.yml,http://[::1]:8080",
    ),
    "flipt_token": (SECRET,),
    "flipt_token_file": ("flipt.token",),
    "flipt_token_command": ("vault read -field=token x",),
    "flipt_api": ("auto", "V2", " v1 "),
    "flipt_ca": ("ca.pem",),
    "flipt_cert": ("c.pem",),
    "flipt_key": ("k.pem",),
    "flipt_timeout": ("5", "0.25", "600"),
    "ledger": ("sqlite:///rollback.db", "sqlite:////var/lib/r.db"),
    "journal": ("j", "/mnt/j"),
    "actor": ("jdoe", "Jane Doe"),
    "auto": ("on", "OFF", "false", "1"),
    "server": ("https://rollback.example.org/", "http://127.0.0.1:8080", "HTTP://localhost", "http://[::1]:8080/x"),
    "token": (f"rb_{SECRET}",),
    "token_file": ("rollback.token",),
    "token_command": ("vault read -field=token y",),
    "state": ("state.db", "/var/lib/rollback/state.db"),
}
BAD: dict[str, tuple[str, ...]] = {
    "flipt_url": ("ftp://x", "https://", "https://u:p@h", "https://h/?a", "flipt", ",", "https://h,file:x", "file:"),
    "flipt_token": ("two words", "tökén"),
    "flipt_api": ("v3",),
    "flipt_timeout": ("0", "-1", "601", "nan", "1e3", "five"),
    "ledger": ("rollback.db",),
    "auto": ("perhaps",),
    "server": ("http://rollback.example.org", "http://127.0.0.1.example.org", "https://u:p@h", "rollback", "file:x"),
    "token": ("two words",),
}
EMPTY = ("", "  ")


def variable(name: str) -> str:
    return f"ROLLBACK_{name.upper()}"


# The ways in which people write a line, each with what may stand below it.
LINES = [
    f"{export}{{name}}{equals}{quote}{{text}}{quote}{tail}\n{below}\n"
    for export in ("", "export ")
    for equals in ("=", " = ")
    for quote in ('"', "'", "")
    for tail in ("", "  # why")
    for below in ("", "# a comment", "OTHER=1", "ROLLBACK_", "no assignment here")
]
GOOD_PAIRS = [(name, text) for name in NAMES for text in (*GOOD[name], *GOOD[name], *EMPTY)]
BAD_PAIRS = [(name, text) for name, texts in BAD.items() for text in texts]

ENVIRONMENTS = st.tuples(
    st.lists(st.sampled_from(GOOD_PAIRS), max_size=6),
    st.lists(st.sampled_from(BAD_PAIRS), max_size=2) | st.just([]),
).map(lambda pairs: dict((*pairs[0], *pairs[1])))
"""Some settings with texts that are mostly right."""

DOTENV_FILES = st.tuples(ENVIRONMENTS, st.lists(st.sampled_from(LINES), min_size=8, max_size=8)).map(
    lambda drawn: "".join(
        line.format(name=variable(name), text=text)
        for (name, text), line in zip(drawn[0].items(), drawn[1], strict=False)
    )
)
"""Such settings as lines of a .env file."""


@contextmanager
def dotenv(text: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".env"
        path.write_text(text, "utf-8")
        yield str(path)


def as_kill_settings(found: Settings) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in NAMES}
    return {name: one.get_secret_value() if isinstance(one, SecretStr) else one for name, one in values.items()}


def outcome(read: Any, *arguments: Any) -> object:
    """The settings as a dictionary with their addresses, or the error's sentence and advice."""
    try:
        found = read(*arguments)
    except ConfigurationError as error:
        return (error.message, error.next, error.exit_code)
    values = {name: getattr(found, name) for name in NAMES} if isinstance(found, KillSettings) else None
    return values or as_kill_settings(found), found.flag_urls


@settings(max_examples=550)
@given(ENVIRONMENTS, DOTENV_FILES)
def test_both_readers_agree_on_values_and_on_errors(environ: dict[str, str], file: str) -> None:
    variables = {variable(name): text for name, text in environ.items()}
    with dotenv(file) as path:
        assert outcome(read_settings, variables, path) == outcome(load_settings, variables, path)


class Stock(BaseSettings):
    """The texts as pydantic-settings' own sources find them, python-dotenv included."""

    model_config = SettingsConfigDict(env_prefix="ROLLBACK_", env_ignore_empty=True, extra="ignore")

    policies: str | None = None
    flipt_url: str | None = None
    flipt_token_file: str | None = None
    journal: str | None = None
    actor: str | None = None


@contextmanager
def process_environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@settings(max_examples=150)
@given(ENVIRONMENTS, DOTENV_FILES)
def test_the_texts_are_those_that_pydantic_settings_would_find(environ: dict[str, str], file: str) -> None:
    variables = {variable(name): text for name, text in environ.items() if text.strip()}
    file = file.replace("=  ", "=").replace('"  "', '""').replace("'  '", "''")  # white space alone: set to them
    with dotenv(file) as path, process_environment(variables):
        stock = Stock(_env_file=path)  # type: ignore[call-arg]
        values = lookup(os.environ, read_dotenv(path, os.environ))
    for name in Stock.model_fields:
        assert (getattr(stock, name) or "").strip() == values.get(variable(name), "").strip(), name


def test_the_defaults_are_those_of_the_documentation() -> None:
    expected = {
        "policies": "policies",
        "flipt_url": "file:features.yml",
        "flipt_api": "auto",
        "flipt_timeout": 5.0,
        "ledger": "sqlite:///rollback.db",
        "journal": "rollback.journal",
        "auto": True,
        "state": "rollback.state.db",
    }
    assert as_kill_settings(load_settings({}, NOWHERE)) == {**dict.fromkeys(NAMES), **expected}
    assert tuple(Settings.model_fields) == NAMES
    assert all(one.description for one in Settings.model_fields.values())


def test_the_environment_wins_and_the_file_fills_what_it_lacks() -> None:
    file = "ROLLBACK_ACTOR=file\nROLLBACK_JOURNAL=from-file\nROLLBACK_POLICIES=p\n"
    environ = {"ROLLBACK_ACTOR": "environment", "ROLLBACK_JOURNAL": ""}
    with dotenv(file) as path:
        found = read_settings(environ, path)
    assert (found.actor, found.journal, found.policies) == ("environment", "from-file", "p")


@pytest.mark.parametrize("read", [read_settings, load_settings])
@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"FLIPT_TOKEN": "a", "FLIPT_TOKEN_FILE": "b"}, "ROLLBACK_FLIPT_TOKEN and ROLLBACK_FLIPT_TOKEN_FILE are given"),
        ({"FLIPT_TOKEN_FILE": "a", "FLIPT_TOKEN_COMMAND": "b"}, "TOKEN_FILE and ROLLBACK_FLIPT_TOKEN_COMMAND are"),
        ({"TOKEN": "a", "TOKEN_FILE": "b"}, "ROLLBACK_TOKEN and ROLLBACK_TOKEN_FILE are given"),
        ({"SERVER": "http://example.org"}, "ROLLBACK_SERVER must be https"),
        ({"FLIPT_KEY": "k"}, "ROLLBACK_FLIPT_KEY is given without ROLLBACK_FLIPT_CERT"),
        ({"FLIPT_URL": "https://h,file:x"}, "may have a file: only as its first address"),
        ({"AUTO": "x", "FLIPT_TIMEOUT": "0"}, "ROLLBACK_FLIPT_TIMEOUT must be .*; ROLLBACK_AUTO must be on or off"),
    ],
)
def test_an_error_is_one_sentence_that_names_every_setting(read: Any, environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        read({f"ROLLBACK_{name}": text for name, text in environ.items()}, NOWHERE)
    assert error.value.exit_code == 2
    assert "environment" in error.value.next


@pytest.mark.parametrize("read", [read_settings, load_settings])
@pytest.mark.parametrize("content", [b"ROLLBACK_ACTOR=\xff", None])
def test_a_file_that_cannot_be_read_is_an_error_since_it_may_name_the_store(
    tmp_path: Path, read: Any, content: bytes | None
) -> None:
    path = tmp_path / ".env"
    if content is None:
        path.symlink_to(".env")
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"settings file .*\.env"):
        read({}, str(path))


def test_turning_off_is_not_refused_by_a_setting_that_it_does_not_need() -> None:
    environ = {
        "ROLLBACK_AUTO": "perhaps",
        "ROLLBACK_LEDGER": "x",
        "ROLLBACK_FLIPT_TIMEOUT": "-",
        "ROLLBACK_FLIPT_API": "3",
        "ROLLBACK_SERVER": "http://example.org",
        "ROLLBACK_TOKEN": "two words",
    }
    found = read_settings(environ, NOWHERE, forgiving=True)
    assert (found.auto, found.ledger, found.flipt_timeout, found.flipt_api) == (
        True,
        "sqlite:///rollback.db",
        5.0,
        "auto",
    )
    assert (found.server, found.token) == (None, None)
    assert len(found.problems) == 6
    assert all(any(name in problem for problem in found.problems) for name in environ)


def test_turning_off_is_not_refused_by_two_tokens_for_a_server() -> None:
    found = read_settings({"ROLLBACK_TOKEN": "a", "ROLLBACK_TOKEN_COMMAND": "b"}, NOWHERE, forgiving=True)
    assert "only one of them may be" in found.problems[0]


@pytest.mark.parametrize("name", ["flipt_url", "flipt_token"])
def test_turning_off_never_asks_another_store_than_the_one_that_is_meant(name: str) -> None:
    with pytest.raises(ConfigurationError):
        read_settings({variable(name): BAD[name][0]}, NOWHERE, forgiving=True)


def test_no_secret_shows() -> None:
    environ = {"ROLLBACK_FLIPT_TOKEN": SECRET, "ROLLBACK_LEDGER": f"postgresql://u:{SECRET}@h/db"}
    command = {"ROLLBACK_FLIPT_TOKEN_COMMAND": f"login --password {SECRET}"}
    server = {"ROLLBACK_TOKEN": SECRET}
    for one in (environ, command, server, {"ROLLBACK_TOKEN_COMMAND": f"login --password {SECRET}"}):
        for shown in (read_settings(one, NOWHERE), load_settings(one, NOWHERE)):
            assert SECRET not in f"{shown!r} {shown}"
    assert read_settings(environ, NOWHERE).flipt_token == SECRET
    for wrong in ({"ROLLBACK_FLIPT_TOKEN": f"{SECRET} x"}, {"ROLLBACK_FLIPT_URL": f"https://u:{SECRET}@h"}):
        for read in (read_settings, load_settings):
            with pytest.raises(ConfigurationError) as error:
                read(wrong, NOWHERE)
            assert SECRET not in f"{error.value} {error.value.next}"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings({}, NOWHERE).actor = "x"
    with pytest.raises(AttributeError):
        read_settings({}, NOWHERE).actor = "x"  # type: ignore[misc]


def test_replicas_are_listed_once_and_in_order() -> None:
    environ = {"ROLLBACK_FLIPT_URL": " HTTPS://b.example.org/ ,http://a:80/x/, https://b.example.org,"}
    assert read_settings(environ, NOWHERE).flag_urls == ("https://b.example.org", "http://a:80/x")


def test_a_name_that_is_no_setting_is_reported_with_the_nearest_that_is() -> None:
    environ = {"ROLLBACK_FLIPT_TOKENFILE": "", "rollback_actor": "", "ROLLBACK_ACTOR": "", "ROLLBACK_QQ": "", "X": ""}
    assert unknown_settings(environ) == (
        UnknownSetting("ROLLBACK_FLIPT_TOKENFILE", "ROLLBACK_FLIPT_TOKEN_FILE"),
        UnknownSetting("ROLLBACK_QQ", None),
        UnknownSetting("rollback_actor", "ROLLBACK_ACTOR"),
    )


def test_the_example_file_names_every_setting_and_no_other() -> None:
    text = (ROOT / ".env.example").read_text("utf-8").replace("#ROLLBACK_", "ROLLBACK_")
    with dotenv(text) as path:
        named = read_dotenv(path, {})
    assert set(named) == {variable(name) for name in NAMES}
    assert unknown_settings(named) == ()


def test_this_process_is_read_when_no_environment_is_given(tmp_path: Path) -> None:
    path = tmp_path / "e"
    path.write_text("ROLLBACK_JOURNAL=j\n")
    with process_environment({"ROLLBACK_ACTOR": "me"}):
        found = load_settings(dotenv_path=str(path))
    assert (found.actor, found.journal) == ("me", "j")


def test_the_kill_path_loads_neither_pydantic_nor_dotenv() -> None:
    code = (
        "import sys, rollback.kill_settings\n"
        "print(sorted({'pydantic', 'pydantic_settings', 'dotenv', 'yaml', 'httpx'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
