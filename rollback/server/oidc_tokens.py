"""Who calls for a pipeline: somebody with a token of this server, or a job with the token of its own system.

A job's token is looked at for `POST /features/{feature}/ci` alone. Everywhere else it is an unknown token, so that no
call, and least of all an off, ever waits for the keys of an issuer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fastapi import Request

from rollback import log
from rollback.core.history import Actor
from rollback.errors import HistoryUnwritable
from rollback.oidc import Identity, KeysUnavailable, TokenRefused, UnknownPipeline, Verifier, looks_like_one
from rollback.server.auth import Authentication, Credentials, Role
from rollback.server.problems import Problem, Refused

if TYPE_CHECKING:
    from rollback.ports import Clock
    from rollback.server.record import ServerRecord

PERMISSION = "enable --fix"
"""What the table of roles must allow (`auth.PERMISSIONS`): a pipeline brings its fix back, and does nothing else."""

WITHIN = 15.0
"""Seconds for looking at one token, fetching keys included."""

AT_ONCE = 2
"""Tokens that are looked at at the same time."""

WAITING = 50
"""How many may wait for that; the next one is told to come again."""


@dataclass(frozen=True, slots=True)
class PipelineCaller:
    """A caller who may say that a fix is deployed. `identity` None: by a token of this server's own."""

    actor: Actor
    identity: Identity | None = None


class PipelineTokens:
    """Authenticates callers of the pipeline's call. `verifier` None: no pipeline is known by tokens of its own."""

    def __init__(
        self, authentication: Authentication, verifier: Verifier | None, clock: Clock, record: ServerRecord
    ) -> None:
        self._authentication = authentication
        self._verifier = verifier
        self._clock = clock
        self._record = record
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="oidc")
        self._waiting = 0

    def required(self) -> Callable[..., Awaitable[PipelineCaller]]:
        """A dependency for a route: the caller, who may do what it does."""

        async def caller(request: Request, credentials: Credentials) -> PipelineCaller:
            secret = credentials.credentials if credentials else ""
            if self._verifier is not None and looks_like_one(secret):
                return await self._of_job(self._verifier, secret, request.path_params.get("feature"))
            known = await self._authentication.caller(secret)
            await self._authentication.permit(known, PERMISSION, request.path_params.get("feature"))
            # Whoever's token a job uses, nobody stands behind it as a person.
            return PipelineCaller(replace(known.actor, authenticated="ci"))

        return caller

    async def _of_job(self, verifier: Verifier, secret: str, feature: str | None) -> PipelineCaller:
        if self._waiting >= WAITING:
            raise Refused(Problem("busy", "Too many tokens of pipelines are being looked at.", 6))
        self._waiting += 1
        work = asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: verifier.identity(secret, self._clock.now())
        )
        work.add_done_callback(self._done)
        try:
            async with asyncio.timeout(WITHIN):
                identity = await asyncio.shield(work)
        except TokenRefused as error:
            self._authentication.refused["unauthenticated"] += 1
            log.event("pipeline_token_refused", why=error.message)
            challenge = {"www-authenticate": 'Bearer realm="rollback", error="invalid_token"'}
            raise Refused(Problem(error.code, error.message, error.exit_code, error.next, headers=challenge)) from None
        except UnknownPipeline as error:
            self._authentication.refused["forbidden"] += 1
            log.event("pipeline_unknown", why=error.message)
            somebody = Actor("ci-unknown", authenticated="oidc")
            await asyncio.to_thread(self._record.refused, somebody, Role.CI.value, PERMISSION, feature)
            raise Refused(Problem(error.code, error.message, error.exit_code, error.next)) from None
        except KeysUnavailable as error:
            log.event("pipeline_keys_unavailable", why=error.message)
            raise Refused(Problem(error.code, error.message, error.exit_code, error.next)) from None
        except (HistoryUnwritable, TimeoutError, OSError) as error:
            log.event("pipeline_token_unread", error=type(error).__name__)
            raise Refused(
                Problem("tokens_unreadable", "The token cannot be looked at now, so it opens nothing.", 6)
            ) from None
        actor = Actor(actor_name(identity.repository), authenticated="oidc", role=Role.CI.value)
        return PipelineCaller(actor, identity)

    def _done(self, work: asyncio.Future[Identity]) -> None:
        self._waiting -= 1
        if not work.cancelled():
            work.exception()  # of one that nobody waits for any more


def actor_name(repository: str) -> str:
    """`ci-org-repo`: one short word, as it stands in markers and in the record."""
    return ("ci-" + re.sub(r"[^A-Za-z0-9._-]+", "-", repository).strip("-"))[:64]
