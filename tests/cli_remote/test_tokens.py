"""`rollback token`: the secret is seen once, what is done is in the history, and a revoked token opens nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollback.cli.tokens import ROLES, token
from rollback.errors import ConfigurationError
from tests.e2e.harness import Cli
from tests.e2e.worlds import served
from tests.server.api_world import ApiWorld, api_world, variables

Run = Callable[..., Result]


@pytest.fixture
def machine(tmp_path: Path) -> Cli:
    return Cli(tmp_path / "machine", None)


@pytest.fixture
def run(machine: Cli, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a token command on that machine."""
    monkeypatch.chdir(machine.folder)

    def invoke(*words: str) -> Result:
        settings = {name: text for name, text in machine.environment().items() if name.startswith("ROLLBACK_")}
        with variables(settings):
            return CliRunner().invoke(token, list(words), standalone_mode=False)

    return invoke


def secret_of(run: Run, *words: str) -> str:
    done = run("issue", *words, "--json")
    assert done.exception is None, done.exception
    return str(json.loads(done.stdout)["secret"])


def facts(machine: Cli) -> list[tuple[str, str, str]]:
    rows = json.loads(machine.run("history", "--json").expect(0).out)
    return [(row["feature"], row["name"], row["data"]["name"]) for row in rows]


def test_a_secret_is_shown_once_and_never_again(run: Run, machine: Cli) -> None:
    done = run("issue", "phone", "--role", "responder", "--expires", "90d")
    secret = done.stdout.splitlines()[0]
    assert secret.startswith("rb_")
    assert "ROLLBACK_TOKEN_FILE" in done.stdout
    listed = run("list").stdout + run("list", "--json").stdout
    assert "phone" in listed
    assert secret not in listed
    assert secret[3:] not in "".join(
        path.read_bytes().decode("latin-1") for path in machine.folder.rglob("*") if path.is_file()
    )
    (told,) = json.loads(run("list", "--json").stdout)["tokens"]
    assert (told["role"], told["is_expired"], told["last_used_at"]) == ("responder", False, None)


def test_what_is_done_with_tokens_is_in_the_history_and_verifies(run: Run, machine: Cli) -> None:
    secret = secret_of(run, "phone", "--role", "viewer")
    assert json.loads(run("revoke", "phone", "--json").stdout) == {"name": "phone", "revoked": True, "exit": 0}
    assert facts(machine) == [("@server", "token_issued", "phone"), ("@server", "token_revoked", "phone")]
    machine.run("verify").expect(0)
    assert secret not in machine.run("history", "--json").out
    assert json.loads(run("list", "--json").stdout)["tokens"] == []
    assert "no tokens" in run("list").stdout


def test_a_dry_run_writes_nothing_and_still_refuses_what_would_be_refused(run: Run, machine: Cli) -> None:
    told = json.loads(run("issue", "phone", "--role", "ci", "--expires", "12h", "--dry-run", "--json").stdout)
    assert told["dry_run"] is True
    assert "secret" not in told
    assert isinstance(run("issue", "two words", "--role", "ci", "--dry-run").exception, ConfigurationError)
    secret_of(run, "phone", "--role", "ci")
    assert isinstance(run("issue", "phone", "--role", "ci", "--dry-run").exception, ConfigurationError)
    assert "Would: revoke" in run("revoke", "phone", "--dry-run").stdout
    assert len(json.loads(run("list", "--json").stdout)["tokens"]) == 1
    assert len(facts(machine)) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("issue", "two words", "--role", "ci"),
        ("issue", "phone", "--role", "ci", "--expires", "soon"),
        ("issue", "phone", "--role", "ci", "--expires", "0d"),
        ("revoke", "nobody"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_in_one_sentence_and_leaves_nothing(
    run: Run, machine: Cli, words: tuple[str, ...]
) -> None:
    error = run(*words).exception
    assert isinstance(error, ConfigurationError)
    assert error.next
    assert json.loads(run("list", "--json").stdout)["tokens"] == []
    assert facts(machine) == []


def test_an_unknown_role_names_the_known_ones(run: Run) -> None:
    said = str(getattr(run("issue", "phone", "--role", "admin").exception, "message", ""))
    assert all(role in said for role in ROLES)


def test_a_token_that_is_revoked_here_is_unknown_there_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_world(tmp_path) as there:
        works_until_it_is_revoked(there, monkeypatch)


def works_until_it_is_revoked(there: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBACK_STATE", str(there.world.folder / "rollback.state.db"))
    done = CliRunner().invoke(token, ["issue", "phone", "--role", "responder", "--json"], standalone_mode=False)
    headers = {"authorization": f"Bearer {json.loads(done.stdout)['secret']}"}
    assert there.get("/features/sm", role=None, headers=headers).status_code == 200
    listed = CliRunner().invoke(token, ["list", "--json"], standalone_mode=False)
    used = {one["name"]: one["last_used_at"] for one in json.loads(listed.stdout)["tokens"]}
    assert used["phone"] is not None
    assert used["a-ci"] is None
    CliRunner().invoke(token, ["revoke", "phone"], standalone_mode=False)
    assert there.post("/features/sm/disable", role=None, headers=headers).status_code == 401
    assert served(there.world.flipt.url) > 0
    names = [(row["feature"], row["name"]) for row in there.history()]
    assert names == [("@server", "token_issued"), ("@server", "token_revoked")]
