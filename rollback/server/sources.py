"""The senders of alerts as the receiver knows them: who may deliver, how that is checked, and who reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rollback.alert_ports import AlertParser
from rollback.core.automation_policy import Authentication, AutomationPolicy, Source
from rollback.errors import ConfigurationError


class Authenticity(Protocol):
    """Whether a request is its sender's. None: it is; else why not, as a word. `headers` have lower-case names.

    With `signs_body` False the verdict does not depend on the body, so that it can be asked for before it is read.
    """

    @property
    def signs_body(self) -> bool: ...
    def check(self, headers: Mapping[str, str], body: bytes) -> str | None: ...


class AuthenticityFactory(Protocol):
    """Makes the check that a configuration names. Raises `ConfigurationError` for secrets that cannot be used."""

    def __call__(self, scheme: str, secrets: Sequence[str], *, header: str = "", user: str = "") -> Authenticity: ...


@dataclass(frozen=True, slots=True)
class AlertSource:
    """One sender. `authenticity` is None for one that is closed, and `closed` says why.

    `challenge` is what a 401 asks for (WWW-Authenticate), empty for ways that have no name in HTTP.
    """

    name: str
    parser: AlertParser
    authenticity: Authenticity | None
    closed: str = ""
    challenge: str = ""


_CHALLENGES = {
    Authentication.BASIC: 'Basic realm="rollback", charset="UTF-8"',
    Authentication.BEARER: 'Bearer realm="rollback"',
}


def open_sources(
    policy: AutomationPolicy,
    environ: Mapping[str, str],
    parsers: Mapping[str, AlertParser],
    authenticity: AuthenticityFactory,
) -> dict[str, AlertSource]:
    """All configured senders. One whose secret is not set, or cannot be used, is closed, and the others are not.

    While a secret is changed one of its two variables may be unset; an empty one counts as unset. Raises
    `ConfigurationError` when no sender is open (a receiver that turns everything away looks alive and hears nothing),
    and for a kind that no parser reads.
    """
    sources = {name: _source(name, source, environ, parsers, authenticity) for name, source in policy.sources.items()}
    if all(source.closed for source in sources.values()):
        reasons = "; ".join(f"{source.name}: {source.closed}" for source in sources.values())
        raise ConfigurationError(
            f"No source of alerts is open ({reasons or 'none is configured'}).",
            next="Name sources in automation.yaml, and set the variables that their `secrets` name.",
        )
    return sources


def _source(
    name: str,
    source: Source,
    environ: Mapping[str, str],
    parsers: Mapping[str, AlertParser],
    authenticity: AuthenticityFactory,
) -> AlertSource:
    parser = parsers.get(source.kind.value)
    if parser is None:
        raise ConfigurationError(
            f"Nothing reads the kind {source.kind.value!r} of source {name}.",
            next=f"Use one of {', '.join(sorted(parsers))}.",
        )
    challenge = _CHALLENGES.get(source.authentication, "")
    secrets = [environ[variable] for variable in source.secrets if environ.get(variable)]
    if not secrets:
        why = f"{' and '.join(source.secrets)} not set" if source.secrets else "it names no secret"
        return AlertSource(name, parser, None, why, challenge)
    try:
        check = authenticity(source.authentication.value, secrets, header=source.header, user=source.user or "")
    except ConfigurationError as error:
        return AlertSource(name, parser, None, error.message, challenge)
    return AlertSource(name, parser, check, challenge=challenge)
