"""`POST /features/{feature}/ci`: a job of a pipeline says what it has deployed, and a fix is brought back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import Field, StringConstraints

from rollback.commands import pipeline
from rollback.core.deploys import RUN_URL_PATTERN, Deploy
from rollback.errors import ConfigurationError
from rollback.server import streams
from rollback.server.api_answers import Answers, Want, Wanted, json_answer
from rollback.server.api_changing import Feature
from rollback.server.api_docs import answers_of
from rollback.server.api_features import key_of
from rollback.server.api_models import Body
from rollback.server.oidc_tokens import PERMISSION, PipelineCaller, PipelineTokens
from rollback.server.problems import Problem, Refused
from rollback.server.work import Work

if TYPE_CHECKING:
    from rollback.oidc import Verifier
    from rollback.output import Output
    from rollback.server.api_services import ApiServices
    from rollback.server.auth import Authentication


COMMIT = "^([0-9a-fA-F]{7,8}|[0-9]*[a-fA-F][0-9a-fA-F]*)$"
"""A commit that could not as well be somebody's number (`deploys.may_be_a_person`)."""


class CiBody(Body):
    """A deploy, and how far its return is to go."""

    fix: Annotated[str, StringConstraints(pattern=COMMIT, min_length=7, max_length=64)]
    """The commit that was deployed: 7 hex digits at least, and more than decimal ones when there are nine."""
    run_url: Annotated[str, Field(pattern=f"^({RUN_URL_PATTERN})?$", max_length=300)] = ""
    """The page of the run; a job's own token says it, and is believed instead."""
    by: Annotated[str, Field(max_length=80)] = ""
    """Who started the deploy; a job's own token says it, and is believed instead."""
    workflow: Annotated[str, Field(max_length=500)] = ""
    """Which workflow the job says it is; only a job's own token is believed without more."""
    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""
    """Why, for the record; empty: the deployed fix."""
    until: Literal["resolved", "full"] = "resolved"
    """End when monitoring has ended, or at 100 %; then this server watches it."""
    unwatched: Annotated[str, Field(max_length=500)] = ""
    """Not needed here: this server watches. As on the command line."""


def add_to(
    router: APIRouter,
    services: ApiServices,
    authentication: Authentication,
    answers: Answers,
    verifier: Verifier | None,
) -> None:
    """The route, on a router with `problems.PREFIX` and `ProblemRoute`.

    `verifier` knows pipelines by the tokens of their own systems; None: by tokens of this server alone.
    """
    may = Depends(PipelineTokens(authentication, verifier, services.clock, services.record).required())

    async def ci(feature: Feature, want: Want, body: CiBody, caller: PipelineCaller = may) -> Response:
        try:
            request = pipeline.checked(request_of(feature, body, caller))
        except ConfigurationError as error:  # the caller's, not this server's
            raise Refused(Problem("usage", error.message, error.exit_code, error.next)) from error
        key = await asyncio.to_thread(key_of, feature)
        if body.dry_run:
            return await answers.change(f"ci-{key}", lambda output: pipeline.run(request, output, _never), want)
        return _begun(services, answers, key, request, want)

    router.add_api_route(
        "/features/{feature}/ci",
        ci,
        methods=["POST"],
        summary="A fix was deployed: bring it back through gate and ladder",
        operation_id="ci",
        responses=answers_of(200, 202, 404, 409, 422, 502, 503, 504, 507, is_stream=True),
        openapi_extra={"x-permission": PERMISSION},
    )


def request_of(feature: str, body: CiBody, caller: PipelineCaller) -> pipeline.Request:
    """The command's words. What the caller's own system has signed wins over what the body says."""
    deploy = Deploy(body.fix, run_url=body.run_url, by=body.by, workflow=body.workflow)
    if (known := caller.identity) is not None:
        deploy = replace(
            deploy,
            run_url=known.run_url or deploy.run_url,
            by=known.started_by or deploy.by,
            workflow=known.workflow,
            is_authenticated=True,
        )
    return pipeline.Request(
        feature,
        deploy,
        reason=body.reason,
        unwatched=body.unwatched,
        until_full=body.until == "full",
        actor=caller.actor,
        dry_run=body.dry_run,
        second_watcher=True,
    )


def _never() -> Callable[[], bool]:
    return lambda: False


def _begun(services: ApiServices, answers: Answers, key: str, request: pipeline.Request, want: Wanted) -> Response:
    """Begins an operation, which outlives the call: a job that is cancelled leaves the watch to this server."""
    events = streams.Subscription() if want.is_stream else None

    def listen(work: Work) -> None:
        if events is not None:
            work.listen(events)

    def returning(output: Output, is_told_to_end: Callable[[], bool]) -> int:
        # While this server lives it watches what is back in full; once it is told to end, it retreats.
        return pipeline.run(request, output, lambda: is_told_to_end, hand_over=lambda: not is_told_to_end())

    actor = request.actor
    operation = services.operations.start(
        key,
        "ci",
        getattr(actor, "name", ""),
        services.clock.now(),
        returning,
        listen=listen,
        as_json=want.as_json,
        columns=want.columns,
    )
    if events is not None:
        return answers.streamed(events, lambda: False)
    where = f"/api/v1/operations/{operation.operation_id}"
    return json_answer(operation.document(), 202, {"location": where})
