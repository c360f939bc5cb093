"""The token: where it comes from, when it is read again, and that it never shows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rollback.adapters.flipt_http import AnswerLost, FliptHttp, TokenSource
from rollback.errors import ConfigurationError, StoreRefused
from tests.flag_stores.one_call import SECRET, asked, soon
from tests.flag_stores.raw_server import Behaviour, RawServer, Visit


def authorizations(server: RawServer) -> list[str | None]:
    return [visit.headers.get("authorization") for visit in server.visits]


@pytest.mark.parametrize(
    ("token", "header"),
    [("abc", "Bearer abc"), ("Bearer abc", "Bearer abc"), ("JWT abc", "JWT abc"), (" abc\n", "Bearer abc")],
)
def test_a_token_is_sent_as_bearer_unless_it_names_its_scheme(token: str, header: str) -> None:
    _, server = asked(lambda visit: visit.answer(200, {}), token=TokenSource.value(token))
    assert authorizations(server) == [header]


def test_without_a_token_no_header_is_sent() -> None:
    _, server = asked(lambda visit: visit.answer(200, {}), token=TokenSource.none())
    assert authorizations(server) == [None]


def knows_only(token: str) -> Behaviour:
    def behaviour(visit: Visit) -> None:
        is_known = visit.headers.get("authorization") == f"Bearer {token}"
        visit.answer(200 if is_known else 401, {} if is_known else {"code": 16, "message": "not authenticated"})

    return behaviour


def test_a_rotated_token_file_is_read_again_after_a_refusal_and_a_write_goes_through(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    with RawServer(knows_only("new")) as server:
        http = FliptHttp(server.url, TokenSource.file(file))
        with pytest.raises(StoreRefused):
            http.request("GET", "/x", deadline=soon())
        file.write_text("new\n")
        assert http.request("PUT", "/x", deadline=soon(), expects_write=True).status == 200
        http.close()
    assert authorizations(server) == ["Bearer old", "Bearer old", "Bearer new"]


def test_a_token_file_that_is_gone_when_it_is_needed_again_is_a_refusal_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    with RawServer(lambda visit: visit.answer(200 if len(server.visits) == 1 else 401, {})) as server:
        http = FliptHttp(server.url, TokenSource.file(file))
        http.request("GET", "/x", deadline=soon())
        file.unlink()
        with pytest.raises(StoreRefused, match="cannot be read"):
            http.request("PUT", "/x", deadline=soon(), expects_write=True)
        http.close()


def test_a_token_that_cannot_change_is_not_sent_twice() -> None:
    error, server = asked(knows_only("other"), token=TokenSource.value("mine"))
    assert isinstance(error, StoreRefused)
    assert "ROLLBACK_FLIPT_TOKEN" in error.next
    assert len(server.visits) == 1


def test_a_token_command_runs_without_a_shell(tmp_path: Path) -> None:
    witness = tmp_path / "shell-was-here"
    command = f"{sys.executable} -c \"print('from-command')\" ; touch {witness}"
    _, server = asked(lambda visit: visit.answer(200, {}), token=TokenSource.command(command))
    assert authorizations(server) == ["Bearer from-command"]
    assert not witness.exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"import sys; print('{SECRET}'); sys.exit(3)", "exit code 3"),
        (f"import signal; print('{SECRET}', flush=True); signal.pause()", "did not end within"),
        ("pass", "is empty"),
    ],
)
def test_a_token_command_that_fails_says_so_without_what_it_printed(script: str, words: str) -> None:
    source = TokenSource.command(f'{sys.executable} -c "{script}"', seconds=0.5)
    error, server = asked(lambda visit: visit.answer(200, {}), token=source)
    assert isinstance(error, ConfigurationError)
    assert words in error.message
    assert SECRET not in f"{error.message} {error.next} {source!r}"
    assert server.visits == []


def test_a_program_that_is_not_there_is_a_configuration_error() -> None:
    error, _ = asked(lambda visit: visit.answer(200, {}), token=TokenSource.command("no-such-program-here"))
    assert isinstance(error, ConfigurationError)


def test_a_missing_token_file_is_a_configuration_error_that_names_it(tmp_path: Path) -> None:
    error, _ = asked(lambda visit: visit.answer(200, {}), token=TokenSource.file(tmp_path / "gone"))
    assert isinstance(error, ConfigurationError)
    assert str(tmp_path / "gone") in error.message


@pytest.mark.parametrize("token", ["two\nlines", "nul\x00byte", "ümlaut"])
def test_a_token_that_no_header_can_hold_is_refused_without_showing_it(token: str) -> None:
    error, server = asked(lambda visit: visit.answer(200, {}), token=TokenSource.value(f"{SECRET}{token}"))
    assert isinstance(error, ConfigurationError)
    assert SECRET not in error.message
    assert server.visits == []


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500, 502])
def test_a_server_that_echoes_the_token_does_not_get_it_into_a_message(status: int) -> None:
    def behaviour(visit: Visit) -> None:
        visit.answer(status, f"<p>{visit.headers['authorization']}</p>".encode(), content_type="text/html")

    for write in (False, True):
        error, _ = asked(behaviour, token=TokenSource.value(SECRET), write=write)
        told = error.error.message if isinstance(error, AnswerLost) else error.message
        assert SECRET not in told
        assert "[token]" in told


def test_the_token_is_in_no_repr() -> None:
    assert SECRET not in repr(TokenSource.value(SECRET))
