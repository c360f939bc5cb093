"""Picks the adapters of the automatic trigger, as `bootstrap` does for the commands. No other module knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rollback import log
from rollback.adapters.alert_sources import PARSERS
from rollback.adapters.alert_sources.authenticity import authenticity
from rollback.adapters.alert_sources.test_events import trial_body, trial_headers
from rollback.adapters.idempotency.port import StoredAnswer
from rollback.adapters.inboxes.group_commit import GroupCommit
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.adapters.notifiers.log import LogChannel
from rollback.adapters.notifiers.outbox_sqlite import SqliteOutboxStore
from rollback.core.automation_policy import AutomationPolicy, ChannelKind, NoticeRoute, Poll, PollKind
from rollback.errors import ConfigurationError
from rollback.notice_ports import Route
from rollback.notices import Outbox

if TYPE_CHECKING:
    from rollback.adapters.careful_http import Headers
    from rollback.adapters.idempotency.port import Idempotency
    from rollback.adapters.notifiers.sending import Post
    from rollback.alert_ports import AlertPoller, NoticeChannel, Tokens
    from rollback.core.pipeline_policy import Pipeline
    from rollback.kill_settings import KillSettings
    from rollback.oidc import Verifier
    from rollback.ports import Clock

__all__ = [
    "PARSERS",
    "GroupCommit",
    "StoredAnswer",
    "authenticity",
    "idempotency",
    "inbox",
    "outbox",
    "pipeline_verifier",
    "pollers",
    "post",
    "tokens",
    "trial_body",
    "trial_headers",
]


def inbox(settings: KillSettings, report: Callable[[str], None]) -> SqliteInbox:
    """The durable inbox; `report` is told when its file had to be set aside."""
    return SqliteInbox(settings.state, report=report)


def tokens(settings: KillSettings) -> Tokens:
    """The tokens of the interface for programs."""
    from rollback.adapters.tokens.sqlite import SqliteTokens

    return SqliteTokens(settings.state)


def idempotency(settings: KillSettings) -> Idempotency:
    """The answers that are given again to a request that is sent again."""
    from rollback.adapters.idempotency.sqlite import SqliteIdempotency

    return SqliteIdempotency(settings.state)


def pipeline_verifier(settings: KillSettings, pipelines: Mapping[str, Pipeline], clock: Clock) -> Verifier | None:
    """What knows pipelines by the tokens of their own systems; None when the policy names no pipeline."""
    if not pipelines:
        return None
    from rollback.adapters.signing_keys import HttpSigningKeys
    from rollback.adapters.token_uses.sqlite import SqliteTokenUses
    from rollback.oidc import SigningKeys, Verifier

    keys = SigningKeys(HttpSigningKeys(clock.monotonic), clock.monotonic)
    return Verifier(pipelines, keys, SqliteTokenUses(settings.state))


# -- telling people --------------------------------------------------------------------------------------------------


def outbox(settings: KillSettings, policy: AutomationPolicy, environ: Mapping[str, str], clock: Clock) -> Outbox:
    """The ways to people that the policy names, and always the log.

    A way whose variable is not set, or cannot be used, is said and left out: the others still tell.
    """
    routes = [Route(LogChannel(), least="record", every_seconds=0.0)]
    for name, route in policy.notices.items():
        url = environ.get(route.url_variable, "")
        try:
            if not url:
                raise ConfigurationError(f"{route.url_variable} is not set")
            routes.append(Route(_channel(name, route, url, environ, clock), least=route.urgency.value))
        except ConfigurationError as error:
            log.event("channel_closed", channel=name, why=error.message)
    # A file of its own: no alert waits for the lock of a notice.
    return Outbox(routes, SqliteOutboxStore(f"{settings.state}.notices"), clock=clock)


def _channel(name: str, route: NoticeRoute, url: str, environ: Mapping[str, str], clock: Clock) -> NoticeChannel:
    match route.kind:
        case ChannelKind.SLACK:
            from rollback.adapters.notifiers.slack import SlackChannel

            return SlackChannel(name, url, clock=clock)
        case ChannelKind.TEAMS:
            from rollback.adapters.notifiers.teams import TeamsChannel

            return TeamsChannel(name, url, clock=clock)
        case ChannelKind.WEBHOOK:
            from rollback.adapters.notifiers.webhook import WebhookChannel

            secret = environ.get(route.secret_variable, "") if route.secret_variable else None
            if secret == "":
                raise ConfigurationError(f"{route.secret_variable} is not set")
            return WebhookChannel(name, url, clock=clock, secret=secret)


def post(what: str, url: str, clock: Clock) -> Post:
    """A careful POST to one address, which is treated as a secret: for signs of life and test events.

    Raises `ConfigurationError` for an address that may not be used.
    """
    from rollback.adapters.notifiers.sending import Post

    return Post(what, url, clock=clock)


# -- asking for alerts -----------------------------------------------------------------------------------------------


def pollers(policy: AutomationPolicy, environ: Mapping[str, str], clock: Clock) -> dict[str, AlertPoller]:
    """The systems that are asked for alerts, by name; one without address or credentials is said and left out."""
    found: dict[str, AlertPoller] = {}
    for name, poll in policy.polls.items():
        missing = [variable for variable in poll.credentials.values() if not environ.get(variable)]
        if poll.url is None or missing:
            why = f"{', '.join(missing)} not set" if missing else "its address is not set"
            log.event("poll_closed", poll=name, why=why)
            continue
        try:
            found[name] = _poller(name, poll, environ, clock)
        except ConfigurationError as error:
            log.event("poll_closed", poll=name, why=error.message)
    return found


def _poller(name: str, poll: Poll, environ: Mapping[str, str], clock: Clock) -> AlertPoller:
    secrets = {word: environ[variable] for word, variable in poll.credentials.items()}
    url = str(poll.url)

    def secret(word: str) -> Callable[[], str]:
        return lambda: secrets[word]

    match poll.kind:
        case PollKind.DATADOG:
            from rollback.adapters.alert_pollers.datadog import DatadogAlertPoller, parse_query

            words, tags = parse_query(poll.query or "")
            return DatadogAlertPoller(
                name,
                site=url,
                api_key=secret("api_key"),
                application_key=secret("application_key"),
                clock=clock,
                name=words,
                monitor_tags=tags,
            )
        case PollKind.APPDYNAMICS:
            from rollback.adapters.alert_pollers.appdynamics import AppDynamicsAlertPoller
            from rollback.adapters.alert_pollers.appdynamics_access import Access, ApiClient, UserPassword

            access: Access
            if "client_id" in secrets:
                access = ApiClient(secrets["client_id"], secret("client_secret"), clock=clock)
            else:
                access = UserPassword(secrets["user"], secret("password"))
            return AppDynamicsAlertPoller(
                name, controller=url, application=poll.query or "", access=access, clock=clock
            )
        case PollKind.ALERTMANAGER:
            from rollback.adapters.alert_pollers.alertmanager import AlertmanagerAlertPoller

            filters = (poll.query,) if poll.query else ()
            return AlertmanagerAlertPoller(name, url=url, clock=clock, headers=_headers(secrets), filters=filters)
        case PollKind.PROMETHEUS:
            from rollback.adapters.alert_pollers.prometheus import PrometheusAlertPoller

            return PrometheusAlertPoller(name, url=url, clock=clock, headers=_headers(secrets))


def _headers(secrets: Mapping[str, str]) -> Headers:
    """What a Prometheus or an Alertmanager behind a proxy wants to see."""
    from rollback.adapters.careful_http import basic, bearer, nobody

    if "bearer" in secrets:
        return bearer(lambda: secrets["bearer"])
    if "user" in secrets:
        return basic(lambda: secrets["user"], lambda: secrets["password"])
    return nobody
