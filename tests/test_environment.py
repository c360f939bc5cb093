"""`.env` files are read as python-dotenv reads them, and `${NAME}` in a policy never becomes a guess."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollback.environment import expand, lookup, parse_dotenv, read_dotenv
from rollback.errors import ConfigurationError

# The pieces of which .env files are made, put together in every order.
PIECES = [
    "A",
    "B",
    "C_1",
    "export ",
    "=",
    " = ",
    "'",
    '"',
    "\\n",
    "#",
    " # c",
    "\n",
    "\r\n",
    " ",
    "\t",
    "${A}",
    "${",
    "}",
]
PIECES += ["${HOME}", "${GONE:-d}", "${GONE}", "x", "é", "''", '""', ":-"]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@example("export A='it'\nB=\"two\nlines\" # c\nC=${A}${B}\n")
@example("A=x#y # z\nB= # empty\nC='never closed\nD=1\n")
@example("A='a\\'b' \nB=\"\\t\\\\\"\nA=again\nlonely\n'quoted key'=1\n")
def test_a_dotenv_file_is_read_as_python_dotenv_reads_it(text: str) -> None:
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)
    stream = io.StringIO(text.replace("\r\n", "\n"))
    expected = {name: value for name, value in dotenv_values(stream=stream).items() if value is not None}
    assert parse_dotenv(text, os.environ) == expected


def test_ordinary_lines() -> None:
    text = "# settings\nexport ROLLBACK_ACTOR=jdoe # me\nP='a b'\nQ=\"x\\ny\"\nR=${P}/${Z:-z}\nS=${HOME}\n"
    assert parse_dotenv(text, {"HOME": "/h"}) == {
        "ROLLBACK_ACTOR": "jdoe",
        "P": "a b",
        "Q": "x\ny",
        "R": "a b/z",
        "S": "/h",
    }


def test_no_file_and_a_folder_are_no_settings(tmp_path: Path) -> None:
    assert read_dotenv(str(tmp_path / ".env"), {}) == {}
    assert read_dotenv(str(tmp_path), {}) == {}


def test_a_byte_order_mark_does_not_hide_the_first_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfA=1\r\nB=2\r\n")
    assert read_dotenv(str(tmp_path / ".env"), {}) == {"A": "1", "B": "2"}


def test_the_environment_wins_unless_it_is_empty() -> None:
    assert lookup({"A": "1", "B": "", "C": " "}, {"A": "2", "B": "2", "D": ""}) == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("text", "value", "unset", "defaulted"),
    [
        ("no variable", "no variable", (), ()),
        ("https://${HOST}/x", "https://h/x", (), ()),
        ("${HOST}${HOST}", "hh", (), ()),
        ("${GONE}", None, ("GONE",), ()),
        ("${EMPTY}/${GONE}/${EMPTY}", None, ("EMPTY", "GONE"), ()),
        ("${GONE:-120}", "120", (), ("GONE",)),
        ("${EMPTY:-120}", "120", (), ("EMPTY",)),
        ("${HOST:-120}", "h", (), ()),
        ("${GONE:-}", "", (), ("GONE",)),
        ("${GONE:-http://x:1/{id}", "http://x:1/{id", (), ("GONE",)),
        ("${GONE:-a$b$$c}", "a$b$c", (), ("GONE",)),
        ("${OTHER}${GONE:-d}", None, ("OTHER",), ("GONE",)),
        ("$$", "$", (), ()),
        ("$${HOST}", "${HOST}", (), ()),
        ("$HOST costs 5$ ^x$", "$HOST costs 5$ ^x$", (), ()),
        ("${SECOND}", "${HOST}", (), ()),
    ],
)
def test_variables(text: str, value: str | None, unset: tuple[str, ...], defaulted: tuple[str, ...]) -> None:
    """An empty variable counts as unset; what a variable holds is not expanded again."""
    found = expand(text, {"HOST": "h", "EMPTY": " ", "SECOND": "${HOST}"})
    assert (found.value, found.unset, found.defaulted) == (value, unset, defaulted)


@pytest.mark.parametrize(
    "text", ["${", "x ${HOST", "${HOST-x}", "${1A}", "${}", "${A B}", "${GONE:-${HOST}}", "${a:=b}"]
)
def test_what_looks_like_a_variable_and_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not \\$") as error:
        expand(text, {"HOST": "h"})
    assert "$$" in error.value.next


@given(st.text("ab${}:-$ \n", max_size=30), st.dictionaries(st.sampled_from("ab"), st.text(max_size=3)))
def test_either_everything_is_filled_in_or_the_value_is_none(text: str, environ: dict[str, str]) -> None:
    try:
        found = expand(text, environ)
    except ConfigurationError:
        return
    assert (found.value is None) == bool(found.unset)
    assert not any(environ.get(name, "").strip() for name in (*found.unset, *found.defaulted))
    if "$" not in text:
        assert found == (text, (), ())


def test_a_value_never_shows() -> None:
    assert "s3cret" not in repr(expand("Bearer ${TOKEN}", {"TOKEN": "s3cret"}))
