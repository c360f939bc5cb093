"""A running `rollback serve` believes the pipelines that its policy names, by the tokens of their own systems."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import PATIENCE
from tests.e2e.serving import AUTOMATION, Serving, serving, with_alerts
from tests.e2e.worlds import World, served
from tests.fakes.oidc_door import AUDIENCE, KEY
from tests.fakes.oidc_issuer import Issuer, issuing

pytestmark = pytest.mark.slow

FIX = "3f2c1ab9d0e84c5a7b6f1e2d3c4b5a69788f9e0d"

PIPELINES = """
pipelines:
  deploy:
    issuer: {issuer}
    audience: https://rollback.example.org
    repository: org/repo
    environment: production
    workflow_ref: org/repo/.github/workflows/deploy.yml@refs/heads/main
"""


@dataclass(slots=True)
class Job:
    """A pipeline's job that knows the server, and the issuer that signs for it."""

    world: World
    server: Serving
    issuer: Issuer

    def token(self, **claims: Any) -> str:
        return self.issuer.token(None, **{"aud": AUDIENCE, **claims})

    def post(self, token: str) -> int:
        """The status of the call without a stream."""
        url = f"{self.server.url}/api/v1/features/sm/ci"
        headers = {"authorization": f"Bearer {token}"}
        return httpx.post(url, json={"fix": FIX}, headers=headers, timeout=PATIENCE).status_code


@pytest.fixture
def job(make_world: MakeWorld) -> Iterator[Job]:
    """Off, with its fix linked and really mended."""
    world = make_world("v2")
    with issuing(key=KEY) as issuer:
        with_alerts(world.cli.policies, automation=AUTOMATION + PIPELINES.format(issuer=issuer.url))
        with serving(world.cli) as server:
            world.cli.run("disable", "sm").expect(0)
            world.cli.run("fix", "sm", FIX[:9]).expect(0)
            world.mend()
            yield Job(world, server, issuer)


def test_a_job_brings_its_fix_back_without_any_secret_of_ours(job: Job) -> None:
    done = job.world.cli.run(
        *("ci", "sm", "--fix", FIX, "--id-token-variable", "JOB_TOKEN", "--json"),
        ROLLBACK_SERVER=job.server.url,
        JOB_TOKEN=job.token(),
    ).expect(0)
    assert (done.json["verdict"], done.json["state"]) == ("back", "resolved")
    assert served(job.world.flipt.url) > 0
    rows = job.world.cli.history()
    (deploy,) = [row for row in rows if row["name"] == "deploy_recorded"]
    assert (deploy["actor"], deploy["authenticated"]) == ("ci-org-repo", "oidc")
    assert deploy["data"]["workflow_authenticated"] is True


def test_a_token_of_another_pipeline_expired_replayed_or_for_somebody_else_opens_nothing(job: Job) -> None:
    now = int(time.time())
    refused = {
        job.token(repository="org/other"): 403,
        job.token(environment="staging"): 403,
        job.token(exp=now - 60, iat=now - 400, nbf=now - 400): 401,
        job.token(aud="https://elsewhere.example.org"): 401,
    }
    for token, status in refused.items():
        assert job.post(token) == status
    assert served(job.world.flipt.url) == 0
    assert "deploy_recorded" not in job.server.names()
    once = job.token()
    assert job.post(once) == 202
    assert job.post(once) == 401, "each token once"
