"""The page's routes. Without a session there is the form for signing in and what it looks like, and nothing else."""

from __future__ import annotations

import html
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from fastapi.routing import APIRoute

from rollback.server.api_answers import Answers
from rollback.server.api_changing import Changing
from rollback.server.page import events, origin
from rollback.server.page.events import Events
from rollback.server.page.lookout import Lookout
from rollback.server.page.reading import Reading
from rollback.server.page.sessions import LASTS_SECONDS, csrf_of, is_csrf_of, name_of
from rollback.server.page.signing_in import COOKIE, SECURE_COOKIE, PageAuthentication, cookie_of, may
from rollback.server.problems import ProblemRoute, Refused

if TYPE_CHECKING:
    from rollback.server.health import Health
    from rollback.server.services import Services

OFFERED = ("disable", "hold", "release", "note")
"""The commands that the page has buttons for; of the others it has no route."""

FORM_BYTES = 4096

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing from elsewhere, nothing inline, no frame around it; text can become neither markup nor script."""

HEADERS = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own form (fetch.spec.whatwg.org).
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_OPEN_FILES = {"page.css": "text/css", "icon.svg": "image/svg+xml"}
_CLOSED_FILES = {f"{name}.js": "text/javascript" for name in ("page", "dom", "cards", "actions")}

INSECURE = "Signing in needs https: over http everybody on the way could read the token."


def router(services: Services, health: Health) -> APIRouter:
    """`GET /`, and all below `/page/`; none of it is part of the described interface."""
    return Page(services, health).routes()


class Page:
    """The endpoints, over one set of services."""

    def __init__(self, services: Services, health: Health) -> None:
        self._services = services
        self._authentication = PageAuthentication(services)
        reading = Reading(services, health, self._authentication.wrong.recent)
        is_stopping = services.stopping.is_set
        self._lookout = Lookout(reading, services.clock.monotonic, is_stopping)
        self._events = Events(self._lookout, services.clock, is_stopping)

    def routes(self) -> APIRouter:
        """All of them."""
        routes = APIRouter(route_class=ProblemRoute, include_in_schema=False)
        signed_in = Depends(self._authentication.viewer)
        routes.add_api_route("/", self.page, methods=["GET"])
        for name in _OPEN_FILES:
            routes.add_api_route(f"/page/{name}", _file, methods=["GET"])
        for name in _CLOSED_FILES:
            routes.add_api_route(f"/page/{name}", _file, methods=["GET"], dependencies=[signed_in])
        routes.add_api_route("/page/state", self.state, methods=["GET"], dependencies=[signed_in])
        routes.add_api_route("/page/events", self.events, methods=["GET"], dependencies=[signed_in])
        routes.add_api_route("/page/sign-in", self.sign_in, methods=["POST"])
        routes.add_api_route("/page/sign-out", self.sign_out, methods=["POST"])
        self._add_acting(routes)
        return routes

    def _add_acting(self, routes: APIRouter) -> None:
        """The very endpoints of the interface for programs, for callers who are known by their session."""
        all_of_them = APIRouter(prefix="/page", route_class=ProblemRoute, include_in_schema=False)
        Changing(self._services, self._authentication, Answers(self._services)).add_to(all_of_them)
        paths = {f"/page/features/{{feature}}/{name}" for name in OFFERED}
        routes.routes.extend(one for one in all_of_them.routes if isinstance(one, APIRoute) and one.path in paths)

    async def page(self, request: Request) -> Response:
        """The page for who is signed in; else the form."""
        try:
            caller = await self._authentication.viewer(request)
        except Refused as refused:
            if refused.problem.code != "unauthenticated":
                return _form(refused.problem.detail, 503)
            if request.headers.get("sec-fetch-site") == "cross-site" and not cookie_of(request):
                # Somebody followed a link: browsers leave out the cookie then, and send it when we call ourselves.
                return _html("arrived.html")
            return _form()
        self._lookout.seen()
        cookie = cookie_of(request)
        return _html(
            "index.html",
            csrf=csrf_of(cookie),
            name=caller.name,
            role=caller.role.value,
            may=" ".join(may(caller)),
        )

    async def state(self) -> Response:
        """The document as it is known now."""
        return Response(self._events.state(), headers=HEADERS, media_type="application/json")

    async def events(self, request: Request) -> Response:
        """The document at once, and then with each change."""
        session = name_of(cookie_of(request))
        self._events.expect_room(session)

        async def still() -> str:
            try:
                await self._authentication.viewer(request)
            except Refused as refused:
                return refused.problem.detail
            return ""

        headers = {**HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(self._events.stream(session, still), headers=headers, media_type=events.MEDIA_TYPE)

    async def sign_in(self, request: Request) -> Response:
        """A token for a session. A token goes over a wire that nobody can read, or not at all."""
        if why := origin.why_foreign(request.headers):
            return _form(f"This form was not sent by this page. {why}", 403)
        is_secure = origin.is_secure(request.headers)
        if not is_secure and not origin.is_loopback(request.headers):
            return _form(INSECURE, 403)
        fields = await _fields(request)
        try:
            _, cookie = await self._authentication.sign_in(fields.get("token", ""))
        except Refused as refused:
            code = refused.problem.code
            return _form(refused.problem.detail, 401 if code == "unauthenticated" else 503)
        answer = RedirectResponse("/", 303, HEADERS)
        answer.set_cookie(
            SECURE_COOKIE if is_secure else COOKIE,
            cookie,
            max_age=int(LASTS_SECONDS),
            path="/",
            secure=is_secure,
            httponly=True,
            samesite="strict",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """Ends the session."""
        cookie = cookie_of(request)
        sent = (await _fields(request)).get("csrf", "")
        if origin.why_foreign(request.headers) or not is_csrf_of(cookie, sent):
            return _form("This form was not sent by this page.", 403)
        self._authentication.sessions.end(cookie)
        answer = RedirectResponse("/", 303, HEADERS)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        answer.delete_cookie(SECURE_COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return answer


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form; of a body that is too large, none."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            return {}
    try:
        found = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=4)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def _form(why: str = "", status: int = 200) -> Response:
    return _html("login.html", status, why=why)


def _html(file: str, status: int = 200, **words: str) -> Response:
    """A file of ours with its `{{names}}` replaced. What is put in can neither become markup nor bring in others."""
    text = _read(file).decode("utf-8")
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", html.escape(value.replace("{{", ""), quote=True))
    return Response(text, status, HEADERS, media_type="text/html; charset=utf-8")


async def _file(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    kind = {**_OPEN_FILES, **_CLOSED_FILES}[name]
    return Response(_read(name), headers=HEADERS, media_type=f"{kind}; charset=utf-8")


def _read(name: str) -> bytes:
    return files("rollback.server.page").joinpath("files", name).read_bytes()
