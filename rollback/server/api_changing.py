"""The calls that change something: `disable` by itself, the others by the table of `api_commands`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request
from fastapi.responses import Response

from rollback.commands import returning
from rollback.server import api_commands, api_repeats, streams
from rollback.server.api_answers import Answers, Want, Wanted, digest_of, json_answer
from rollback.server.api_commands import Command
from rollback.server.api_docs import answers_of
from rollback.server.api_features import key_of, require_known
from rollback.server.api_models import DisableBody
from rollback.server.api_repeats import Key, Repeat
from rollback.server.auth import Authentication, Caller
from rollback.server.problems import Problem, Refused
from rollback.server.work import Work

if TYPE_CHECKING:
    from rollback.errors import RollbackError
    from rollback.output import Output
    from rollback.server.api_services import ApiServices

Feature = Annotated[str, Path(min_length=1, max_length=150, description="A key, an alias, or a case of the feature.")]
FlagKey = Annotated[str, Path(min_length=1, max_length=200)]
NOTHING_SAID = DisableBody()
Endpoint = Callable[..., Coroutine[Any, Any, Response]]


class Changing:
    """The endpoints, over one set of services."""

    def __init__(self, services: ApiServices, authentication: Authentication, answers: Answers) -> None:
        self._services = services
        self._authentication = authentication
        self._answers = answers

    def add_to(self, router: APIRouter) -> None:
        """All routes."""
        for path, endpoint in (
            ("/features/{feature}/disable", self._disable_feature()),
            ("/flags/{environment}/{namespace}/{key}/disable", self._disable_flag()),
        ):
            router.add_api_route(
                path,
                endpoint,
                methods=["POST"],
                summary="Turn it off for every user, and prove it",
                operation_id=endpoint.__name__,
                responses=answers_of(200, 202, 404, 502, 503, 504, is_stream=True),
                openapi_extra={"x-permission": "disable"},
            )
        for command in api_commands.commands(self._services.holds).values():
            begun = 202 if command.to_return else 200
            router.add_api_route(
                f"/features/{{feature}}/{command.name}",
                self._endpoint(command),
                methods=["POST"],
                summary=command.summary,
                operation_id=command.name.replace("-", "_"),
                responses=answers_of(200, 202, begun, 404, 409, 422, 502, 503, 504, 507, is_stream=True),
                openapi_extra={"x-permission": command.name},
            )

    # -- off --------------------------------------------------------------------------------------------------------

    def _disable_feature(self) -> Endpoint:
        may = Depends(self._authentication.requires("disable"))

        async def disable(
            request: Request,
            feature: Feature,
            want: Want,
            body: DisableBody = NOTHING_SAID,
            key: Key = None,
            caller: Caller = may,
        ) -> Response:
            return await self._disable(request, feature, None, body, key, want, caller)

        return disable

    def _disable_flag(self) -> Endpoint:
        may = Depends(self._authentication.requires("disable"))

        async def disable_flag(
            request: Request,
            environment: FlagKey,
            namespace: FlagKey,
            key: FlagKey,
            want: Want,
            body: DisableBody = NOTHING_SAID,
            idempotency_key: Key = None,
            caller: Caller = may,
        ) -> Response:
            flag = f"{environment}/{namespace}/{key}"
            return await self._disable(request, None, flag, body, idempotency_key, want, caller)

        return disable_flag

    async def _disable(
        self,
        request: Request,
        feature: str | None,
        flag: str | None,
        body: DisableBody,
        key: str | None,
        want: Wanted,
        caller: Caller,
    ) -> Response:
        """A thread of its own at once: nothing but authorisation and the flag store stands before it."""
        digest = digest_of(request, want, api_repeats.body_of(body))
        repeat = await api_repeats.begin_disable(self._services, key, caller.name, digest, feature)
        if repeat is not None and repeat.stored is not None:
            return repeat.again(want)

        def doing(output: Output) -> int:
            with _named(feature):
                return api_commands.disable(feature, flag, body, caller.actor, output)

        keep = api_repeats.kept_beside(repeat.keep) if repeat else None
        return await self._answers.change(f"disable-{feature or flag}", doing, want, keep)

    # -- the others -------------------------------------------------------------------------------------------------

    def _endpoint(self, command: Command) -> Endpoint:
        known = Depends(self._authentication.known)

        async def endpoint(
            request: Request,
            feature: Feature,
            want: Want,
            body: Any = None,
            key: Key = None,
            caller: Caller = known,
        ) -> Response:
            for permission in command.needed(body):
                await self._authentication.permit(caller, permission, feature)
            digest = digest_of(request, want, api_repeats.body_of(body))
            repeat = await api_repeats.begin(self._services, key, caller.name, digest)
            if repeat is not None and repeat.stored is not None:
                return repeat.again(want)
            try:
                if command.to_return is not None and not body.dry_run:
                    return await self._return(command, feature, body, caller, want, repeat)
                return await self._change(command, feature, body, caller, want, repeat)
            except Refused:
                if repeat is not None:
                    repeat.abandon()
                raise

        # The body's type differs from row to row; FastAPI reads it here.
        endpoint.__annotations__ = {**endpoint.__annotations__, "body": command.body}
        said = Body() if command.needs_body else command.body()
        endpoint.__defaults__ = (said, *(endpoint.__defaults__ or ())[1:])
        endpoint.__name__ = command.name.replace("-", "_")
        return endpoint

    async def _change(
        self, command: Command, feature: str, body: Any, caller: Caller, want: Wanted, repeat: Repeat | None
    ) -> Response:
        def doing(output: Output) -> int:
            with _named(feature):
                if command.to_return is not None:  # a dry run: nothing is watched
                    request = command.to_return(feature, body, caller.actor)
                    return returning.run(request, output, lambda: lambda: False)
                assert command.run is not None
                return command.run(feature, body, caller.actor, output)

        return await self._answers.change(f"{command.name}-{feature}", doing, want, repeat.keep if repeat else None)

    async def _return(
        self, command: Command, feature: str, body: Any, caller: Caller, want: Wanted, repeat: Repeat | None
    ) -> Response:
        """Begins an operation, which outlives the call."""
        assert command.to_return is not None
        request = command.to_return(feature, body, caller.actor)
        key = await asyncio.to_thread(key_of, feature)
        events = streams.Subscription() if want.is_stream else None

        def listen(work: Work) -> None:
            if events is not None:
                work.listen(events)
                if repeat is not None:
                    self._answers.keep(work, want, repeat.keep)

        operation = self._services.operations.start(
            key,
            command.name,
            caller.name,
            self._services.clock.now(),
            # Never handed over to `serve`: that is this very process, and it is about to end.
            lambda output, is_told_to_end: returning.run(
                request, output, lambda: is_told_to_end, hand_over=lambda: False
            ),
            listen=listen,
            as_json=want.as_json,
            is_terminal=want.is_terminal,
            columns=want.columns,
        )
        if events is not None:
            # Until its own end: it is told to end when the server is, and says how far down it went.
            return self._answers.streamed(events, lambda: False)
        where = f"/api/v1/operations/{operation.operation_id}"
        response = json_answer(operation.document(), 202, {"location": where})
        if repeat is not None:
            await asyncio.to_thread(repeat.keep, 202, bytes(response.body))
        return response


class _named:  # noqa: N801 - read as a word
    """Tells an unknown feature (404) from a server that is set up wrongly (503): both are configuration errors."""

    def __init__(self, feature: str | None) -> None:
        self._feature = feature

    def __enter__(self) -> None:
        """Nothing yet: looking first would delay."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        code = getattr(error, "code", "")
        if code == "configuration" and not isinstance(error, Refused):
            if self._feature is None:
                wrong: RollbackError = error  # type: ignore[assignment]
                raise Refused(Problem(wrong.code, wrong.message, wrong.exit_code, wrong.next, status=404)) from error
            require_known(self._feature)
