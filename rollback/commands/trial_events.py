"""What `doctor --send-test-events` does: each open source's test event, through the real endpoint, signed as it signs.

Nothing is sent that our own parser does not read as a test. Afterwards the inbox is looked at: it has to be there as a
test, without an alert, settled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rollback import automation_bootstrap as adapters
from rollback import bootstrap
from rollback.commands.finding import Finding, tried
from rollback.commands.sources import closed_because, recent_deliveries
from rollback.core.alerts import ReadingKind
from rollback.errors import ConfigurationError, NotHealthy, Unproven
from rollback.kill_settings import read_value
from rollback.output import Output
from rollback.session import nonce

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rollback.core.automation_policy import Source
    from rollback.kill_settings import KillSettings
    from rollback.ports import Clock

DEFAULT_SERVER = "http://127.0.0.1:8080"
"""Where `rollback serve` listens unless it is told otherwise."""

SETTLED_WITHIN = 10.0
"""Seconds until the delivery has to be settled; usually it takes milliseconds."""

LOOK_EVERY = 0.1
LOOKED_AT = 200
"""The newest deliveries, among which a test event is looked for."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """One event to send. `key` is the one under which the inbox keeps it."""

    source: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    key: str


def trial_findings(server: str | None, settings: KillSettings, output: Output, clock: Clock) -> Iterator[Finding]:
    """One finding for each source; a source that is closed is said, and nothing is sent to it.

    `server` None: ROLLBACK_SERVER, else `DEFAULT_SERVER`. Raises `ConfigurationError` for an address that secrets must
    not be sent to.
    """
    from rollback.policy_files import load_policies

    base = _server(server or settings.server or DEFAULT_SERVER)
    environ = bootstrap.environment()
    policy = load_policies(settings.policies, environ).automation
    if not policy.sources:
        yield Finding("test events", 2, "automation.yaml names no source", "Name one; see policies/README.md.")
    for name, source in policy.sources.items():
        if why := closed_because(source, environ):
            yield Finding(f"test event {name}", 2, f"not sent, the source is closed here: {why}", "Set its secret.")
            continue
        trial = _trial(name, source, environ, base, clock)
        yield tried(f"test event {name}", partial(_sent, trial, base, settings, output, clock))


def _server(text: str) -> str:
    try:
        return str(read_value("server", text))
    except ValueError as error:
        raise ConfigurationError(
            f"The server's address cannot be used: {str(error).removeprefix('ROLLBACK_SERVER ')}.",
            next=f"Give it with --server, e.g. --server {DEFAULT_SERVER}.",
        ) from None


def _trial(name: str, source: Source, environ: Mapping[str, str], base: str, clock: Clock) -> _Trial:
    """Raises `ConfigurationError` when our own parser would not take it for a test: then it must not be sent."""
    body = adapters.trial_body(source.kind.value, clock.now(), f"doctor-{nonce()}{nonce()}")
    secret = next(environ[variable] for variable in source.secrets if environ.get(variable))
    headers = adapters.trial_headers(
        source.authentication.value, secret, body, header=source.header, user=source.user or ""
    )
    reading = adapters.PARSERS[source.kind.value](name, {}, body)
    if reading.kind is not ReadingKind.TEST or reading.alerts:
        raise ConfigurationError(f"The test event of {name} would not be read as a test; this is an error here.")
    return _Trial(name, f"{base}/alerts/{name}", headers, body, reading.key)


def _sent(trial: _Trial, base: str, settings: KillSettings, output: Output, clock: Clock) -> str:
    answer = adapters.post(f"{base} (source {trial.source})", trial.url, clock).send(trial.body, trial.headers)
    said = _answer(answer.body)
    if answer.status != 202 or said.get("status") != "kept" or said.get("kind") != ReadingKind.TEST.value:
        told = f"{answer.status} {said.get('status', '')} {said.get('kind', '')}".strip()
        raise NotHealthy(
            f"answered {told}, and not as a test that was kept",
            next="Is that address the one of `rollback serve` with these policies?",
        )
    outcome = _recorded(trial, settings, output, clock)
    if outcome is None:
        raise Unproven(
            f"answered 202, kept as a test; it is not in the inbox of this machine ({settings.state})",
            next="Run this where the server's ROLLBACK_STATE is, to see that it was recorded.",
        )
    return f"answered 202, recorded as a test, did nothing: {outcome}"


def _answer(body: bytes) -> dict[str, str]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return {str(name): str(value)[:40] for name, value in said.items()} if isinstance(said, dict) else {}


def _recorded(trial: _Trial, settings: KillSettings, output: Output, clock: Clock) -> str | None:
    """What became of it; None when it is not in this machine's inbox. Raises `NotHealthy` when it is not as it should.

    A server on this machine settles it within moments; on another machine there is nothing to wait for here.
    """
    is_here = (urlsplit(trial.url).hostname or "") in ("127.0.0.1", "localhost", "::1")
    if not is_here and not Path(settings.state).exists():
        return None
    deadline = clock.monotonic() + SETTLED_WITHIN
    while True:
        found = [
            (kept, outcome)
            for kept, outcome in recent_deliveries(settings, LOOKED_AT, output.warn)
            if kept.source == trial.source and kept.key == trial.key
        ]
        for kept, outcome in found:
            if kept.kind is not ReadingKind.TEST or kept.alerts:
                raise NotHealthy(f"delivery {kept.number} was recorded as {kept.kind}, not as a test")
            if outcome:
                return f"delivery {kept.number}, {outcome}"
        if not found or clock.monotonic() >= deadline:
            break
        clock.sleep(LOOK_EVERY)
    if found:
        raise NotHealthy(
            f"delivery {found[0][0].number} is in the inbox, and nobody has worked it off within {SETTLED_WITHIN:g} s",
            next="See what `rollback serve` logs, and /healthz/ready.",
        )
    return None
