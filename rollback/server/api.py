"""The interface for programs, `/api/v1`: the commands of the command line, over HTTP, by the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from rollback.server import api_ci, api_reading
from rollback.server.api_answers import Answers
from rollback.server.api_changing import Changing
from rollback.server.auth import Authentication
from rollback.server.problems import PREFIX, ProblemRoute

if TYPE_CHECKING:
    from rollback.server.api_services import ApiServices


def router(services: ApiServices) -> APIRouter:
    """All of `/api/v1`, for `app.include_router`. `problems.install(app)` makes problems of unknown paths as well."""
    routes = APIRouter(prefix=PREFIX, route_class=ProblemRoute, tags=["interface for programs"])
    authentication = Authentication(services.tokens, services.clock, services.record)
    answers = Answers(services)
    Changing(services, authentication, answers).add_to(routes)
    api_reading.add_to(routes, services, authentication, answers)
    api_ci.add_to(routes, services, authentication, answers, services.pipelines)
    return routes
