"""Whose deploys count, and which pipelines are known: parts of a severity's policy and of `automation.yaml`."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from rollback.core.policy_base import Duration, Line, PolicyModel, Switch

Workflow = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+(:[0-9]+)?/[^\s@?#]+(@[^\s@]+)?$", max_length=500)]
"""A workflow's file with its host: `github.com/org/repo/.github/workflows/deploy.yml`, with `@refs/heads/main` if one
ref alone is meant."""

Issuer = Annotated[
    str,
    Field(
        pattern=r"^(https://[A-Za-z0-9.-]+|http://(127\.0\.0\.1|localhost|\[::1\]))(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$",
        max_length=300,
    ),
]
"""Who issues tokens, as its tokens say it. `http` is for this very machine alone."""


class Deploys(PolicyModel):
    """Deploys that count as the case's fix although no responder has linked their commit."""

    any_from: tuple[Workflow, ...] = Field(
        min_length=1,
        max_length=50,
        description=(
            "Workflows whose every deploy counts, with their host and without a ref (any) or with one, e.g. "
            "github.com/org/repo/.github/workflows/deploy.yml@refs/heads/main."
        ),
    )
    allow_unauthenticated: Switch = Field(
        default=False,
        description=(
            "Whether a job may merely say which workflow it is. False: only a token that the pipeline's own system has"
            " signed says so; whoever can run the command could otherwise call any commit the fix."
        ),
    )


class PipelineKind(StrEnum):
    """Whose tokens a pipeline shows; it decides what their claims are called."""

    GITHUB = "github"
    GITLAB = "gitlab"


class Pipeline(PolicyModel):
    """A pipeline that may say that its fix is deployed, known by tokens that its own system has signed.

    Each of these is compared with the token, letter by letter. Sources of the claims:
    docs.github.com/actions/reference/security/oidc, docs.gitlab.com/ci/secrets/id_token_authentication.
    """

    kind: PipelineKind = Field(
        default=PipelineKind.GITHUB, description="Whose tokens they are: github (Actions) or gitlab (CI/CD)."
    )
    issuer: Issuer = Field(
        description="Who signs them, e.g. https://token.actions.githubusercontent.com, or https://gitlab.example.org."
    )
    audience: Line = Field(
        description="For whom they are: this server's own address, as the jobs have it in ROLLBACK_SERVER."
    )
    repository: Line = Field(description="The repository or project, e.g. org/repo.")
    environment: Line | None = Field(
        default=None, description="The deployment environment, e.g. production. Null: it is not looked at."
    )
    workflow_ref: Line = Field(
        description=(
            "The workflow with its ref: org/repo/.github/workflows/deploy.yml@refs/heads/main, or for gitlab "
            "gitlab.example.org/group/project//.gitlab-ci.yml@refs/heads/main."
        )
    )
    job_workflow_ref: Line | None = Field(
        default=None,
        description="For github: the reusable workflow in which the job stands, with its ref. Null: not looked at.",
    )
    role: Literal["ci"] = Field(default="ci", description="What they may do: `ci`, and nothing else.")
    maximum_age: Duration = Field(
        default=timedelta(hours=1),
        gt=timedelta(0),
        le=timedelta(days=1),
        description=(
            "How old a token may be, however long it would be good. 1h: GitHub makes them as they are asked for, GitLab"
            " when the job begins."
        ),
    )
