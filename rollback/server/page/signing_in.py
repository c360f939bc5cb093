"""Signing in with a token, and who calls by a session: the same tokens, roles and table as for programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fastapi import Request

from rollback.alert_ports import Notice
from rollback.server.auth import PERMISSIONS, Authentication, Caller
from rollback.server.page import origin
from rollback.server.page.sessions import Sessions, is_csrf_of
from rollback.server.problems import Problem, Refused

if TYPE_CHECKING:
    from rollback.server.services import Services

CSRF_HEADER = "x-rollback-csrf"

COOKIE = "rollback"
SECURE_COOKIE = "__Host-rollback"
"""Browsers take a name with this prefix only over TLS and from the very host (RFC 6265bis, 4.1.3.2)."""

WINDOW_SECONDS = 600.0
TOLD_FROM = 10
"""Wrong tokens in the window from which people are told: nobody mistypes a token that often."""


class WrongTokens:
    """Counts sign-ins that failed, and tells people of many, once an hour. Nobody is locked out (see `auth`)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._at: deque[float] = deque(maxlen=10_000)

    def count(self) -> None:
        """One more."""
        self._at.append(self._services.clock.monotonic())
        if self.recent() >= TOLD_FROM:
            hour = f"{self._services.clock.now():%Y%m%dT%H}"
            text = f"{self.recent()} sign-ins to the page failed within 10 minutes: somebody tries wrong tokens."
            self._services.notices.tell(Notice(f"page:wrong-tokens:{hour}", None, None, "tell", text, "responder"))

    def recent(self) -> int:
        """How many there were in the last ten minutes."""
        since = self._services.clock.monotonic() - WINDOW_SECONDS
        return sum(at > since for at in tuple(self._at))


class PageAuthentication(Authentication):
    """Knows callers by their session, and lets a change through only when our own page sends it."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.tokens, services.clock, services.record)
        self.sessions = Sessions(services.clock.monotonic)
        self.wrong = WrongTokens(services)

    def requires(self, permission: str) -> Callable[..., Awaitable[Caller]]:
        """A dependency for a route that changes something: the caller, who has this permission."""

        async def caller(request: Request) -> Caller:
            found = await self.changing(request)
            await self.permit(found, permission, request.path_params.get("feature"))
            return found

        return caller

    @property
    def known(self) -> Callable[[Request], Awaitable[Caller]]:  # type: ignore[override]
        """A dependency for a route that looks at the body before it knows what is needed."""
        return self.changing

    async def changing(self, request: Request) -> Caller:
        """Who wants to change something. Raises `Refused`: 403 when it is not our own page that asks."""
        why = origin.why_foreign(request.headers)
        cookie = cookie_of(request)
        if not why and cookie and not is_csrf_of(cookie, request.headers.get(CSRF_HEADER, "")):
            why = "It does not carry the word that the page was given when it was loaded."
        if why:
            self.refused["forbidden"] += 1
            raise Refused(
                Problem("forbidden", f"This is not asked for by the page itself. {why}", 3, "Reload the page.")
            )
        return await self.viewer(request)

    async def viewer(self, request: Request) -> Caller:
        """A dependency for a route that only reads: who is signed in. Raises `Refused` (401)."""
        cookie = cookie_of(request)
        secret = self.sessions.secret(cookie) if cookie else None
        if secret is None:
            raise Refused(
                Problem("unauthenticated", "Nobody is signed in here (any more).", 2, "Sign in with a token.")
            )
        try:
            return await self.caller(secret)
        except Refused as refused:
            if refused.problem.code == "unauthenticated":
                self.sessions.end(cookie)
            raise

    async def sign_in(self, secret: str) -> tuple[Caller, str]:
        """The holder of the token, and the id of a new session. Raises `Refused`."""
        try:
            found = await self.caller(secret.strip())
        except Refused as refused:
            if refused.problem.code == "unauthenticated":
                self.wrong.count()
            raise
        return found, self.sessions.open(secret.strip())


def may(caller: Caller) -> list[str]:
    """What the caller's role allows, by the names in `auth.PERMISSIONS`."""
    return [name for name, roles in PERMISSIONS.items() if caller.role in roles]


def cookie_of(request: Request) -> str:
    """The session's id that the browser sent; empty when it sent none. The plain one counts on this machine alone."""
    found = request.cookies.get(SECURE_COOKIE, "")
    if not found and origin.is_loopback(request.headers):
        found = request.cookies.get(COOKIE, "")
    return found
