"""The application: all routes, and what holds for each of them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from rollback.server import health, metrics, problems, receiver
from rollback.server.api import router as api_router
from rollback.server.limits import BodyLimit
from rollback.server.page.routes import router as page_router
from rollback.server.services import Services

DESCRIPTION = """\
Turns a broken feature's flag off for every user when a critical alert comes in, proves it, and lets it back only on
evidence. Alerts come in at `/alerts/{source}`; programs ask and act at `/api/v1`."""


def create_app(services: Services) -> FastAPI:
    """The whole server as an ASGI application. Nothing runs before it is served, and no flag is touched here.

    There are no pages for trying the interface out: those of the framework load scripts from elsewhere. Addresses are
    taken as they are written: a redirect would make senders drop the body, or the credentials.
    """
    app = FastAPI(
        title="rollback",
        version=_version(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    taking_in = receiver.Receiver(services)
    app.include_router(receiver.router(taking_in))
    app.include_router(metrics.router(services))
    condition = health.Health(services, taking_in.trouble)
    app.include_router(health.router(condition))
    app.include_router(api_router(services))
    app.include_router(page_router(services, condition))
    problems.install(app)
    app.add_middleware(BodyLimit, but=receiver.PATH)
    return app


def _version() -> str:
    try:
        return version("rollback-controller")
    except PackageNotFoundError:  # run from its sources
        return "0"
