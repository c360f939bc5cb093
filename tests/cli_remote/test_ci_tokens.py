"""`rollback ci` against a server: the token comes from the job's own system, and no secret of ours is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rollback import automation_bootstrap
from rollback.clock import SystemClock
from rollback.core.pipeline_policy import Pipeline
from rollback.kill_settings import KillSettings
from rollback.oidc import Verifier
from tests.e2e.harness import Cli
from tests.e2e.worlds import served
from tests.fakes.oidc_door import KEY, pipeline
from tests.fakes.oidc_issuer import issuing, over_http
from tests.server.api_world import api_world
from tests.server.ci_world import FIX, CiWorld, application, running


@dataclass
class Runner:
    """GitHub's side of a job: it gives a token for the asking."""

    world: CiWorld
    url: str = ""
    asked: int = 0
    status: int = 200


@contextmanager
def github(world: CiWorld) -> Iterator[Runner]:
    """The address from which a job gets its token, for whom it asks."""
    runner = Runner(world)

    class Handler(BaseHTTPRequestHandler):
        """Answers as GitHub does."""

        def do_GET(self) -> None:
            """A token for the audience."""
            runner.asked += 1
            audience = parse_qs(urlsplit(self.path).query).get("audience", [""])[0]
            is_job = self.headers["authorization"] == "Bearer job-secret"
            issued = world.issuer.token(None, aud=audience)
            body = json.dumps({"value": issued}).encode() if is_job else b"{}"
            self.send_response(runner.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Says nothing."""

    with over_http(Handler) as address:
        runner.url = f"{address}/token?api-version=2.0"
        yield runner


@pytest.fixture
def job(tmp_path: Path) -> Iterator[tuple[CiWorld, Runner, Cli]]:
    """A job on a machine of its own, whose server knows it by GitHub's token for this very server."""
    settings = KillSettings(state=str(tmp_path / "rollback.state.db"))
    with api_world(tmp_path) as api, issuing(key=KEY) as issuer:
        pipelines: dict[str, Pipeline] = {}
        keys = automation_bootstrap.pipeline_verifier(settings, {"any": pipeline(issuer)}, SystemClock())
        assert keys is not None
        with running(application(api, Verifier(pipelines, keys.keys, keys.uses))) as address:
            pipelines["deploy"] = pipeline(issuer, audience=address)
            world = CiWorld(api, issuer, address)
            with github(world) as runner:
                cli = api.laptop("job", ROLLBACK_SERVER=address, ROLLBACK_TOKEN=None)
                cli.settings["ACTIONS_ID_TOKEN_REQUEST_URL"] = runner.url
                cli.settings["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "job-secret"
                yield world, runner, cli
        keys.uses.close()


@pytest.mark.slow
def test_a_job_on_github_needs_no_secret_of_ours(job: tuple[CiWorld, Runner, Cli]) -> None:
    world, _, cli = job
    world.off()
    summary, out = cli.folder / "summary.md", cli.folder / "out"
    done = cli.run("ci", "sm", "--fix", FIX, "--summary", str(summary), GITHUB_OUTPUT=str(out)).expect(0)
    assert served(world.flipt) > 0
    assert "step 10 %" in done.out, "told as it happens"
    assert summary.read_text().startswith("## Secure Messaging is back\n")
    assert "| 1 | folders |" in summary.read_text()
    assert "verdict=back" in out.read_text()
    assert {row["actor"] for row in world.rows("deploy_recorded")} == {"ci-org-repo"}
    assert not (cli.folder / "rollback.journal").exists(), "nothing is kept on the runner"
    told = cli.run("ci", "sm", "--fix", FIX, "--json").expect(0).json
    assert told["verdict"] == "nothing_to_do"


def test_a_failed_fix_is_refused_with_the_servers_words_and_its_evidence(job: tuple[CiWorld, Runner, Cli]) -> None:
    world, _, cli = job
    world.off()
    world.api.world.break_it()
    first = cli.run("ci", "sm", "--fix", FIX).expect(4)
    assert "Stopped" in first.out
    summary = cli.folder / "summary.md"
    again = cli.run("ci", "sm", "--fix", FIX, "--json", "--summary", str(summary)).expect(3)
    assert "was tried in this case and failed" in again.json["error"]["message"]
    assert "not enough |" in summary.read_text(), "what was seen then"


def test_a_token_of_our_own_comes_first(job: tuple[CiWorld, Runner, Cli]) -> None:
    world, runner, cli = job
    cli.run("ci", "sm", "--fix", FIX, ROLLBACK_TOKEN=world.api.secrets["ci"]).expect(0)
    assert runner.asked == 0
    assert {row["actor"] for row in world.rows("deploy_recorded")} == {"a-ci"}


def test_gitlab_gives_its_token_in_a_variable(job: tuple[CiWorld, Runner, Cli]) -> None:
    world, runner, cli = job
    token = world.issuer.token(None, aud=world.address)
    words = ("ci", "sm", "--fix", FIX, "--id-token-variable", "ROLLBACK_ID")
    cli.run(*words, ROLLBACK_ID=token).expect(0)
    assert runner.asked == 0
    for value in (None, "", "not a token", f"{token}\n{token}"):
        done = cli.run(*words, ROLLBACK_ID=value).expect(2)
        assert "ROLLBACK_ID" in done.err
        assert token not in done.all


def test_github_without_a_token_is_out_of_reach_and_its_secret_goes_nowhere(job: tuple[CiWorld, Runner, Cli]) -> None:
    world, runner, cli = job
    runner.status = 403
    done = cli.run("ci", "sm", "--fix", FIX).expect(6)
    assert "id-token: write" in done.err
    wrong = cli.run("ci", "sm", "--fix", FIX, ACTIONS_ID_TOKEN_REQUEST_TOKEN="another").expect(6)
    plain = cli.run("ci", "sm", "--fix", FIX, ACTIONS_ID_TOKEN_REQUEST_URL="http://token.example.org/x").expect(2)
    assert "no https:// address" in plain.err
    assert "job-secret" not in done.all + wrong.all + plain.all
    none = cli.run("ci", "sm", "--fix", FIX, ACTIONS_ID_TOKEN_REQUEST_URL=None).expect(2)
    assert "there is no token" in none.err
    assert not world.rows("deploy_recorded")


def test_what_is_wrong_with_the_words_is_said_before_anything_is_sent(job: tuple[CiWorld, Runner, Cli]) -> None:
    _, runner, cli = job
    assert "7 to 64" in cli.run("ci", "sm", "--fix", "main").expect(2).err
    assert "plain link" in cli.run("ci", "sm", "--fix", FIX, "--run-url", "https://x.example.org/?t=1").expect(2).err
    assert runner.asked == 0
