"""The calls that only read. They write nothing to any flag."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response

from rollback.commands import looking, record, standing
from rollback.server.api_answers import Answers, Want, Wanted, json_answer
from rollback.server.api_docs import answers_of
from rollback.server.api_features import INCIDENT, incidents_of, key_of, rows_of
from rollback.server.auth import Authentication, Caller
from rollback.server.problems import Problem, Refused, problem_of

if TYPE_CHECKING:
    from rollback.alert_ports import Kept
    from rollback.output import Output
    from rollback.server.api_services import ApiServices

Feature = Annotated[str, Path(min_length=1, max_length=150, description="A key, an alias, or a case of the feature.")]
FlagKey = Annotated[str, Path(min_length=1, max_length=200)]
After = Annotated[int, Query(ge=0, le=2**53, description="How many rows were read already: `next` of the last page.")]
Form = Literal["table", "json", "csv", "markdown"]
Limit = Annotated[int, Query(ge=1, le=500)]


def add_to(router: APIRouter, services: ApiServices, authentication: Authentication, answers: Answers) -> None:
    """All routes."""
    reads = Depends(authentication.requires("read"))
    _add_standing(router, answers, reads)
    _add_history(router, answers, reads)
    _add_server(router, services, reads)


def _options(name: str, summary: str, *statuses: int, is_stream: bool = False) -> dict[str, Any]:
    return {
        "summary": summary,
        "operation_id": name,
        "responses": answers_of(200, 404, *statuses, is_stream=is_stream),
        "openapi_extra": {"x-permission": "read"},
    }


def _add_standing(router: APIRouter, answers: Answers, reads: Any) -> None:
    """Where features stand, read from their flags."""

    @router.get("/features", **_options("features", "Where every feature stands", is_stream=True))
    async def features(want: Want, _: Caller = reads) -> Response:
        return await answers.read("status", standing.show_all, want)

    @router.get("/features/{feature}", **_options("feature", "Where a feature stands", 502, is_stream=True))
    async def feature(feature: Feature, want: Want, _: Caller = reads) -> Response:
        def doing(output: Output) -> int:
            key_of(feature)
            return standing.show_one(feature, None, output)

        return await answers.read(f"status-{feature}", doing, want)

    @router.get(
        "/flags/{environment}/{namespace}/{key}",
        **_options("flag", "Where a flag stands, without any policy", 502, is_stream=True),
    )
    async def flag(environment: FlagKey, namespace: FlagKey, key: FlagKey, want: Want, _: Caller = reads) -> Response:
        name = f"{environment}/{namespace}/{key}"
        return await answers.read(f"status-{name}", lambda output: _show_flag(name, output), want)

    @router.get(
        "/features/{feature}/check",
        **_options("check", "The gate's evidence now, acting on nothing", 422, 502, is_stream=True),
    )
    async def check(
        feature: Feature,
        want: Want,
        seconds: Annotated[float | None, Query(ge=0, le=86400, allow_inf_nan=False)] = None,
        _: Caller = reads,
    ) -> Response:
        def doing(output: Output) -> int:
            key_of(feature)
            return looking.check(feature, seconds, output)

        return await answers.read(f"check-{feature}", doing, want)


def _show_flag(name: str, output: Output) -> int:
    from rollback.flag_reference import parse_direct

    try:
        parse_direct(name)
    except Exception as error:
        wrong = problem_of(error)
        raise Refused(Problem(wrong.code, wrong.detail, wrong.exit_code, wrong.next, status=404)) from error
    return standing.show_one(None, name, output)


def _add_history(router: APIRouter, answers: Answers, reads: Any) -> None:
    """What happened: cases, rows of the history, whether it is whole."""

    async def rows(feature: str | None, after: int, limit: int, incident: str | None) -> Response:
        key = await asyncio.to_thread(key_of, feature) if feature else None
        found, trouble = await asyncio.to_thread(rows_of, key)
        if incident:
            found = [row for row in found if row["incident"] == incident]
        page = found[after : after + limit]
        more = after + len(page) < len(found)
        return json_answer({"entries": page, "next": after + len(page) if more else None, "trouble": trouble})

    async def history(
        feature: str | None, written: str, incident: str | None, after: int, limit: int, want: Wanted
    ) -> Response:
        if not want.is_stream:
            async with answers.a_turn_to_read():
                return await rows(feature, after, limit, incident)
        shape = "json" if want.as_json else written
        return await answers.read("history", lambda out: record.show_history(feature, shape, incident, out), want)

    @router.get("/transitions", **_options("all_transitions", "The history of everything", is_stream=True))
    async def all_transitions(
        want: Want,
        format: Form = "table",  # noqa: A002 - the option's name on the command line
        incident: Annotated[str | None, Query(max_length=150)] = None,
        after: After = 0,
        limit: Limit = 100,
        _: Caller = reads,
    ) -> Response:
        return await history(None, format, incident, after, limit, want)

    @router.get("/features/{feature}/transitions", **_options("transitions", "The history", is_stream=True))
    async def transitions(
        feature: Feature,
        want: Want,
        format: Form = "table",  # noqa: A002
        incident: Annotated[str | None, Query(max_length=150)] = None,
        after: After = 0,
        limit: Limit = 100,
        _: Caller = reads,
    ) -> Response:
        return await history(feature, format, incident, after, limit, want)

    @router.get("/features/{feature}/incidents", **_options("incidents", "The cases of a feature, newest first"))
    async def incidents(feature: Feature, _: Caller = reads) -> Response:
        async with answers.a_turn_to_read():
            key = await asyncio.to_thread(key_of, feature)
            found, trouble = await asyncio.to_thread(incidents_of, key)
        return json_answer({"feature": key, "incidents": found, "trouble": trouble})

    @router.get("/incidents/{incident}", **_options("incident", "A case, with its history"))
    async def incident(incident: Annotated[str, Path(min_length=1, max_length=150)], _: Caller = reads) -> Response:
        case = INCIDENT.fullmatch(incident)
        async with answers.a_turn_to_read():
            found, trouble = await asyncio.to_thread(incidents_of, case["feature"]) if case else ([], "")
            told = next((one for one in found if one["incident"] == incident), None)
            if told is None:
                raise Refused(Problem("not_found", f"No case is called {incident!r}.", 2))
            rows, _trouble = await asyncio.to_thread(rows_of, str(told["feature"]))
        return json_answer(
            {**told, "entries": [row for row in rows if row["incident"] == incident], "trouble": trouble}
        )

    @router.get("/verify", **_options("verify", "Is the history whole?", is_stream=True))
    async def verify(
        want: Want,
        flags: Annotated[bool, Query(description="Also compare with the heads on the flags.")] = False,
        _: Caller = reads,
    ) -> Response:
        return await answers.read("verify", lambda output: record.show_verification(flags, output), want)


def _add_server(router: APIRouter, services: ApiServices, reads: Any) -> None:
    """What this server has in hand."""

    @router.get("/inbox", **_options("inbox", "The newest deliveries, and what became of them"))
    async def inbox(limit: Limit = 50, _: Caller = reads) -> Response:
        found = await asyncio.to_thread(services.inbox.recent, limit)
        counts = await asyncio.to_thread(services.inbox.counts)
        return json_answer({"deliveries": [_delivery(kept, outcome) for kept, outcome in found], "counts": counts})

    @router.get("/operations/{operation}", **_options("operation", "A return that was begun"))
    async def operation(operation: Annotated[str, Path(min_length=1, max_length=64)], _: Caller = reads) -> Response:
        known = services.operations.get(operation)
        if known is None:
            raise Refused(
                Problem("not_found", "No operation is called so; the history has what it did.", 2, "GET /transitions")
            )
        return json_answer(known.document())


def _delivery(kept: Kept, outcome: str) -> Mapping[str, Any]:
    """Everything in it was cut and redacted when it came in."""
    return {
        "number": kept.number,
        "source": kept.source,
        "key": kept.key,
        "received_at": kept.received_at,
        "kind": kept.kind.value,
        "why": kept.why,
        "excerpt": kept.excerpt,
        "attempts": kept.attempts,
        "outcome": outcome,
        "alerts": [
            {
                "monitor": alert.monitor,
                "cycle": alert.cycle,
                "edge": alert.edge.value,
                "occurred_at": alert.occurred_at,
                "priority": alert.priority,
                "tags": list(alert.tags),
                "title": alert.title,
                "link": alert.link,
            }
            for alert in kept.alerts
        ],
    }
