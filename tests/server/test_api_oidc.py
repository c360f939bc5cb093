"""A pipeline calls with the token of its own system: what that opens, and everything that it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollback import automation_bootstrap
from rollback.clock import SystemClock
from rollback.kill_settings import KillSettings
from rollback.server import problems
from rollback.server.oidc_tokens import actor_name
from rollback.server.problems import PREFIX
from tests.e2e.harness import until
from tests.e2e.worlds import served, write_policies
from tests.fakes.oidc_door import KEY, pipeline
from tests.fakes.oidc_issuer import issuing
from tests.server.api_world import api_world
from tests.server.ci_world import BODY, FIX, CiWorld, application, running


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CiWorld]:
    settings = KillSettings(state=str(tmp_path / "rollback.state.db"))
    with api_world(tmp_path) as api, issuing(key=KEY) as issuer:
        verifier = automation_bootstrap.pipeline_verifier(settings, {"deploy": pipeline(issuer)}, SystemClock())
        assert verifier is not None
        with running(application(api, verifier)) as address:
            yield CiWorld(api, issuer, address)
        verifier.uses.close()


# -- what a job's token opens --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_brings_its_fix_back_with_its_own_token(world: CiWorld) -> None:
    world.off()
    events = world.stream(world.token())
    assert events[-1] == {"exit": 0}
    assert served(world.flipt) > 0
    told = next(event["document"] for event in events if "document" in event)
    assert (told["verdict"], told["state"]) == ("back", "resolved")
    (row,) = world.rows("deploy_recorded")
    assert (row["actor"], row["authenticated"]) == ("ci-org-repo", "oidc"), "known, and no person"
    host = world.issuer.url.removeprefix("http://")
    assert row["data"] == {
        "commit": FIX,
        "run_url": f"https://{host}/org/repo/actions/runs/19283746550",
        "by": "dev",
        "workflow": f"{host}/org/repo/.github/workflows/deploy.yml@refs/heads/main",
        "workflow_authenticated": True,
    }
    assert not world.rows("unwatched_accepted"), "the server watches"


@pytest.mark.slow
def test_a_signed_workflow_counts_by_the_policy_and_a_claimed_one_does_not(world: CiWorld) -> None:
    host = world.issuer.url.removeprefix("http://")
    policy = world.api.world.cli.policies / "critical.yaml"
    file = f"{host}/org/repo/.github/workflows/deploy.yml"
    policy.write_text(policy.read_text() + f"deploys: {{any_from: ['{file}']}}\n")
    world.off(link="")
    claimed = {**BODY, "workflow": f"{file}@refs/heads/main"}
    events = world.stream(world.api.secrets["ci"], claimed)
    assert events[-1]["problem"]["exit"] == 3
    assert "nobody has signed" in events[-1]["problem"]["detail"]
    assert served(world.flipt) == 0
    assert world.stream(world.token())[-1] == {"exit": 0}
    assert served(world.flipt) > 0
    assert world.rows("fix_deployed")[0]["after"]["fixed_by"] == "dev"


def test_what_the_token_says_wins_over_what_the_body_says(world: CiWorld) -> None:
    body = {**BODY, "by": "somebody-else", "workflow": "github.com/x/y.yml@z", "run_url": "https://x.example.org/1"}
    world.stream(world.token(), body)
    (row,) = world.rows("deploy_recorded")
    assert row["data"]["by"] == "dev"
    assert "/org/repo/" in row["data"]["workflow"]
    assert "x.example.org" not in row["data"]["run_url"]


def test_a_token_of_our_own_does_and_it_is_no_person(world: CiWorld) -> None:
    for role in ("ci", "responder", "approver"):
        assert world.stream(world.api.secrets[role])[-1] == {"exit": 0}
    assert {row["authenticated"] for row in world.rows("deploy_recorded")} == {"ci"}
    assert world.post(world.api.secrets["viewer"]).status_code == 403


@pytest.mark.slow
def test_without_a_stream_it_is_an_operation_and_of_two_jobs_one_acts(world: CiWorld) -> None:
    write_policies(world.api.world.cli.policies, soak="30s", deadline="90s")
    world.off()
    begun = world.post(world.token())
    assert begun.status_code == 202
    assert begun.headers["location"].startswith(f"{PREFIX}/operations/")
    second = world.post(world.token())
    assert (second.status_code, second.json()["exit"]) == (409, 3)
    assert "ci-org-repo brings secure-messaging back already" in second.json()["detail"]


@pytest.mark.slow
def test_at_100_percent_the_server_goes_on_watching(world: CiWorld) -> None:
    world.off()
    told = [event for event in world.stream(world.token(), {**BODY, "until": "full"}) if "document" in event]
    assert told[0]["document"]["outcome"] == "Back at 100 %; serve watches it from here on."
    assert world.rows("watch_handed_over")[0]["after"]["watcher"] is None, "free for the server's own watch"


@pytest.mark.slow
def test_a_server_that_ends_brings_down_first_what_a_job_has_exposed(world: CiWorld) -> None:
    write_policies(world.api.world.cli.policies, monitoring="10m")
    world.off()
    assert world.post(world.token()).status_code == 202
    until(lambda: bool(world.rows("returned_in_full")), what="back in full")
    assert world.api.server.services.operations.stop_all(30.0)
    assert served(world.flipt) == 0, "nobody would be there to watch it"


def test_a_dry_run_writes_nothing(world: CiWorld) -> None:
    world.off()
    rows = len(world.api.history())
    told = world.post(world.token(), {**BODY, "dry_run": True})
    assert (told.status_code, told.json()["dry_run"]) == (200, True)
    assert len(world.api.history()) == rows


# -- what it does not ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"repository": "org/fork"}, 403),
        ({"environment": "staging"}, 403),
        ({"workflow_ref": "org/repo/.github/workflows/deploy.yml@refs/pull/7/merge"}, 403),
        ({"aud": "https://other.example.org"}, 401),
        ({"iss": "https://token.actions.githubusercontent.com"}, 401),
        ({"exp": 1}, 401),
        ({"nbf": 2**32}, 401),
        ({"jti": None}, 401),
    ],
    ids=str,
)
def test_a_token_that_is_not_the_pipelines_changes_nothing(world: CiWorld, claims: dict[str, Any], status: int) -> None:
    world.off()
    before = world.api.world.flag
    answer = world.post(world.token(**claims))
    assert answer.status_code == status
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert not world.rows("deploy_recorded")
    assert world.api.world.flag == before
    if status == 403:
        refused = [row for row in world.api.history() if row["name"] == "call_refused"]
        assert [row["actor"] for row in refused] == ["ci-unknown"]


def test_a_token_that_was_read_in_a_log_is_worth_nothing(world: CiWorld) -> None:
    token = world.token()
    assert world.stream(token)[-1] == {"exit": 0}
    again = world.post(token)
    assert again.status_code == 401
    assert "used before" in again.json()["detail"]
    assert "invalid_token" in again.headers["www-authenticate"]
    assert len(world.rows("deploy_recorded")) == 1


def test_no_other_call_and_least_of_all_an_off_looks_at_it(world: CiWorld) -> None:
    token = world.token()
    headers = {"authorization": f"Bearer {token}"}
    for path in ("/features/sm/disable", "/features/sm/enable", "/features/sm/fix", "/features/sm/release"):
        assert world.api.call("POST", path, {}, role=None, headers=headers).status_code in (400, 401)
    assert world.api.call("GET", "/features", role=None, headers=headers).status_code == 401
    assert world.issuer.asked == {}, "nobody waited for keys"
    assert world.stream(token)[-1] == {"exit": 0}, "and it is not used up"


def test_an_issuer_out_of_reach_holds_nothing_else_up(world: CiWorld) -> None:
    world.issuer.hangs = True
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(world.post(world.token())))
    waiting.start()
    until(lambda: bool(world.issuer.asked), what="the issuer asked")
    began = time.monotonic()
    assert world.api.post("/features/sm/disable").status_code == 200
    assert served(world.flipt) == 0
    assert time.monotonic() - began < 4
    waiting.join(30)
    assert (answers[0].status_code, answers[0].json()["code"]) == (503, "tokens_unreadable")


def test_without_any_pipeline_in_the_policy_a_jobs_token_is_unknown(tmp_path: Path) -> None:
    with api_world(tmp_path) as api, issuing(key=KEY) as issuer, running(application(api, None)) as address:
        world = CiWorld(api, issuer, address)
        assert world.post(world.token()).status_code == 401
        assert issuer.asked == {}
        assert automation_bootstrap.pipeline_verifier(KillSettings(), {}, SystemClock()) is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fix": "main"},
        {"fix": "3f2c1a"},
        {"fix": "123456789"},
        {"fix": f"{FIX}\n"},
        {**BODY, "run_url": "https://u:secretword@x.example.org"},
        {**BODY, "run_url": "https://x.example.org/?token=secretword"},
        {**BODY, "force": True},
        {**BODY, "until": "tomorrow"},
    ],
    ids=str,
)
def test_a_body_that_is_wrong_is_the_callers_fault(world: CiWorld, body: dict[str, Any]) -> None:
    answer = world.post(world.api.secrets["ci"], body)
    assert (answer.status_code, answer.json()["code"]) == (400, "usage")
    assert "secretword" not in answer.text
    assert world.post(world.api.secrets["ci"], feature="nosuch").status_code == 404
    assert world.post(None).status_code == 401


def test_names_of_pipelines_are_one_short_word() -> None:
    assert actor_name("org/repo") == "ci-org-repo"
    assert actor_name("group/sub group/<x>") == "ci-group-sub-group-x"
    assert len(actor_name("x" * 500)) == 64
