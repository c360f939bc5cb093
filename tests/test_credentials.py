"""Secrets from the service manager's files: which count, and that one that cannot be read is no secret left unset."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollback.credentials import with_credentials
from rollback.errors import ConfigurationError


def environ(folder: Path, **more: str) -> dict[str, str]:
    return {"CREDENTIALS_DIRECTORY": str(folder), **more}


def test_a_file_is_the_variable_of_its_name_without_its_last_line_break(tmp_path: Path) -> None:
    for name, content in (("DD_SECRET", b"one\n"), ("PD_SECRET", b" two lines\n\n"), ("AM_SECRET", b"three\r\n")):
        (tmp_path / name).write_bytes(content)
    found = with_credentials(environ(tmp_path, OTHER="stays"))
    assert found["DD_SECRET"] == "one"
    assert found["PD_SECRET"] == " two lines\n"
    assert found["AM_SECRET"] == "three"
    assert found["OTHER"] == "stays"


def test_a_variable_that_is_set_wins_and_an_empty_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "SET").write_text("from the file")
    (tmp_path / "EMPTY").write_text("from the file")
    found = with_credentials(environ(tmp_path, SET="from outside", EMPTY=""))
    assert (found["SET"], found["EMPTY"]) == ("from outside", "from the file")


def test_files_that_are_called_like_no_variable_are_left_alone(tmp_path: Path) -> None:
    for name in ("tls.pem", "lower", "1ST"):
        (tmp_path / name).write_bytes(b"\xff\xfe")
    assert with_credentials(environ(tmp_path)) == environ(tmp_path)


def test_without_a_folder_nothing_changes() -> None:
    assert with_credentials({"A": "1"}) == {"A": "1"}


@pytest.mark.parametrize("content", [b"\xff\xfe\xfd", b"x" * 70_000], ids=["no text", "too large"])
def test_a_secret_that_cannot_be_read_is_one_sentence_without_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "DD_SECRET").write_bytes(content)
    with pytest.raises(ConfigurationError, match="DD_SECRET cannot be read") as raised:
        with_credentials(environ(tmp_path))
    assert "xxxx" not in raised.value.message
    assert "LoadCredential" in raised.value.next


def test_a_folder_or_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        with_credentials(environ(tmp_path / "nowhere"))
    (tmp_path / "DD_SECRET").symlink_to(tmp_path / "nothing")
    with pytest.raises(ConfigurationError, match="DD_SECRET cannot be read"):
        with_credentials(environ(tmp_path))
