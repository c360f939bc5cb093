"""Who calls, and what that role may do: one table for the whole interface."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from rollback import log
from rollback.core.history import Actor
from rollback.errors import HistoryUnwritable
from rollback.server.problems import Problem, Refused
from rollback.server.work import BY_HAND

if TYPE_CHECKING:
    from rollback.alert_ports import TokenHolder, Tokens
    from rollback.ports import Clock
    from rollback.server.record import ServerRecord


class Role(StrEnum):
    """What a token is for."""

    VIEWER = "viewer"
    RESPONDER = "responder"
    APPROVER = "approver"
    CI = "ci"


_EVERYBODY = frozenset(Role)
_RESPONDERS = frozenset({Role.RESPONDER, Role.APPROVER})
_FIXERS = _RESPONDERS | {Role.CI}
_APPROVERS = frozenset({Role.APPROVER})

PERMISSIONS: Mapping[str, frozenset[Role]] = {
    "read": _EVERYBODY,
    "disable": _RESPONDERS,
    "open": _RESPONDERS,
    "raise": _RESPONDERS,
    "note": _RESPONDERS,
    "keep-off": _RESPONDERS,
    "hold": _RESPONDERS,
    "adopt": _RESPONDERS,
    "approve": _RESPONDERS,
    "undo": _RESPONDERS,
    "close": _RESPONDERS,
    "enable": _RESPONDERS,
    "fix": _FIXERS,
    "enable --fix": _FIXERS,
    "enable --force": _APPROVERS,
    "enable --accept-blind": _APPROVERS,
    "release": _APPROVERS,
    "false-alarm": _APPROVERS,
}
"""What each role may do. Turning off is for everyone who responds; what somebody has to answer for (the gate skipped,
a gate that could not see, an audience that others changed, a case that was none) is an approver's; a pipeline says that
its fix is deployed and brings that fix back through the gate, nothing else. Whose word counts as an approval is the
policy's to say, by the token's role."""

TOKENS_WITHIN = 2.0
"""Seconds for looking a token up: a database that hangs must not hold up an off."""

bearer = HTTPBearer(
    scheme_name="token", auto_error=False, description="A token of `rollback token issue`, as `Authorization: Bearer …`"
)

Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose token is known."""

    name: str
    role: Role

    @property
    def actor(self) -> Actor:
        """For the history. A pipeline's token is nobody's own: what needs a person is not done with it."""
        known = "ci" if self.role is Role.CI else "token"
        return Actor(self.name, authenticated=known, role=self.role.value)


class Authentication:
    """Looks tokens up, in threads of its own, and counts what was refused, by `unauthenticated` and `forbidden`.

    Nobody is locked out and nothing is slowed down after wrong tokens: a lockout could keep somebody from turning off,
    and 256 random bits cannot be guessed. Wrong tokens are counted and logged; refusals by role are in the history.
    """

    def __init__(self, tokens: Tokens, clock: Clock, record: ServerRecord) -> None:
        self.refused: Counter[str] = Counter()
        self._tokens = tokens
        self._clock = clock
        self._record = record
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="tokens")

    def requires(self, permission: str) -> Callable[..., Awaitable[Caller]]:
        """A dependency for a route: the caller, who has this permission."""

        async def caller(request: Request, credentials: Credentials) -> Caller:
            found = await self.known(credentials)
            await self.permit(found, permission, request.path_params.get("feature"))
            return found

        return caller

    async def known(self, credentials: Credentials) -> Caller:
        """A dependency for a route that looks at the body before it knows what is needed: the caller."""
        return await self.caller(credentials.credentials if credentials else "")

    async def caller(self, secret: str) -> Caller:
        """Whose token this is. Raises `Refused`: 401 for nobody's, 503 when tokens cannot be read at all."""
        if not secret:
            raise self._unknown("There is no token in this call.")
        look: asyncio.Future[TokenHolder | None] = asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: self._tokens.holder(secret, self._clock.now())
        )
        try:
            async with asyncio.timeout(TOKENS_WITHIN):
                holder = await look
        except (HistoryUnwritable, TimeoutError, OSError) as error:
            log.event("tokens_unreadable", error=type(error).__name__)
            raise Refused(
                Problem("tokens_unreadable", "The server cannot read its tokens, so nobody is known to it.", 6, BY_HAND)
            ) from None
        if holder is None:
            raise self._unknown("The token is not known: never issued here, revoked, or expired.")
        return Caller(holder.name, Role(holder.role))

    async def permit(self, caller: Caller, permission: str, feature: str | None) -> None:
        """Raises `Refused` (403), and writes it down, when the role does not allow it."""
        allowed = PERMISSIONS[permission]
        if caller.role in allowed:
            return
        self.refused["forbidden"] += 1
        await asyncio.to_thread(self._record.refused, caller.actor, caller.role.value, permission, feature)
        roles = " or ".join(role.value for role in Role if role in allowed)
        raise Refused(
            Problem(
                "forbidden",
                f"The role of {caller.name} is {caller.role}, which does not allow `{permission}`.",
                3,
                f"It needs the role {roles}: rollback token issue NAME --role {roles.split()[0]}",
            )
        )

    def _unknown(self, detail: str) -> Refused:
        self.refused["unauthenticated"] += 1
        log.event("token_refused")
        return Refused(
            Problem(
                "unauthenticated",
                detail,
                2,
                "Send `Authorization: Bearer TOKEN`; a token comes from: rollback token issue NAME --role ROLE",
                headers={"www-authenticate": 'Bearer realm="rollback"'},
            )
        )
