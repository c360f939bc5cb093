"""The remarks of `policy lint` on features: targets, readers, surfaces, names and secrets."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rollback.core.model import Severity
from rollback.core.policy import Mitigation, plain
from rollback.core.scalars import format_duration
from rollback.errors import ConfigurationError
from rollback.policy_files import LoadedFeature, Policies
from rollback.policy_findings import Finding
from rollback.policy_lint_health import lint_health
from rollback.policy_values import requests_in
from rollback.policy_yaml import Path, dotted

SENSITIVE = re.compile(r"auth|cookie|token|secret|passw|api-?_?key|session|bypass|credential", re.IGNORECASE)
"""Names of headers and parameters whose value is a secret."""

TOKEN = re.compile(
    r"gh[pousr]_|github_pat_|xox[abprs]-|AKIA|ASIA|eyJ[A-Za-z0-9_-]{8,}\.|-----BEGIN "
    r"|\b(?:Bearer|Basic|JWT|Token)\s+(?=\S*\d)\S{8,}"
)
"""Text that is a token wherever it stands: the prefixes of well-known issuers, and credentials with their scheme."""


def lint_feature(loaded: LoadedFeature, policies: Policies) -> Iterator[Finding]:
    """What is wrong with one feature's policy."""
    yield from _targets(loaded)
    yield from _unset(loaded)
    yield from _readers(loaded, policies)
    yield from _severities(loaded, policies)
    yield from _people(loaded)
    yield from _secrets(loaded)
    yield from lint_health(loaded, policies)


def lint_names(policies: Policies) -> Iterator[Finding]:
    """Names that more than one feature answers to, and flags that more than one feature stands for."""
    named: dict[str, list[LoadedFeature]] = defaultdict(list)
    flags: dict[str, list[LoadedFeature]] = defaultdict(list)
    for loaded in policies.features.values():
        flags[str(loaded.policy.flag_ref)].append(loaded)
        for name in dict.fromkeys(loaded.policy.names):
            named[name].append(loaded)
        if len(set(loaded.policy.names)) < len(loaded.policy.names):
            yield _warning(loaded, "a name is here twice", "aliases")
    for name, owners in named.items():
        for loaded in owners:
            others = _others(loaded, owners)
            if others and name != loaded.policy.feature:
                message = f"{name} is a name of {others} too, so nobody can say it; choose another"
                yield _error(loaded, message, "aliases")
    for ref, owners in flags.items():
        for loaded in owners:
            if others := _others(loaded, owners):
                message = f"the flag {ref} is also that of {others}: turning one off turns off both"
                yield _warning(loaded, message, "flag")


def _others(loaded: LoadedFeature, owners: list[LoadedFeature]) -> str:
    return ", ".join(one.policy.feature for one in owners if one is not loaded)


# -- targets -----------------------------------------------------------------------------------


def _targets(loaded: LoadedFeature) -> Iterator[Finding]:
    policy = loaded.policy
    if not policy.health.is_asked:
        yield _error(loaded, "there are no endpoints, so the gate can never pass", "health")
    if policy.health.control is None and policy.health.endpoints:
        message = "there is no control target: a fault of our own network would count as harm"
        yield _warning(loaded, message, "health")
    for path, target in requests_in(plain(policy)):
        url, where = target["url"], (*path, "url")
        if dotted(where) in loaded.defaulted:
            level = _error if policy.production else _warning
            yield level(loaded, "the address falls back to a default, so this target counts as unknown", *where)
        elif url is not None and policy.production and is_loopback(url):
            yield _error(loaded, "the address is this machine's own, in a production feature", *where)
        elif url is not None and policy.production and url.lower().startswith("http:"):
            yield _warning(loaded, "the address is not https: answers and secret headers can be read", *where)


def is_loopback(url: str) -> bool:
    """Whether an address means the machine that asks."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _unset(loaded: LoadedFeature) -> Iterator[Finding]:
    """One remark per variable that is not set here and leaves a target unknown."""
    spots: dict[str, list[Path]] = defaultdict(list)
    for path, target in requests_in(loaded.written):
        headers = target.get("headers")
        places = [(*path, "url")]
        if isinstance(headers, dict):
            places.extend((*path, "headers", name) for name in headers)
        for place in places:
            for variable in loaded.unset.get(dotted(place), ()):
                spots[variable].append(place)
    for variable, places in spots.items():
        names = ", ".join(dict.fromkeys(_target_name(loaded, place) for place in places))
        yield _warning(loaded, f"{variable} is not set here, so the health of {names} is unknown", *places[0])


def _target_name(loaded: LoadedFeature, place: Path) -> str:
    spot: Any = loaded.written
    for part in place[: 3 if place[1] in ("endpoints", "metrics") else 2 if place[0] == "health" else 1]:
        spot = spot[part]
    return str(spot.get("name", place[1] if place[0] == "health" else place[0]))


# -- readers, severities, people ---------------------------------------------------------------


def _readers(loaded: LoadedFeature, policies: Policies) -> Iterator[Finding]:
    policy = loaded.policy
    if not policy.clients:
        level = _error if policy.production else _warning
        yield level(
            loaded, "no clients are declared, so off can never be proven for those who read the flag", "feature"
        )
    needed = policy.poll_interval + policy.replica_lag
    if policy.prove_within is not None and policy.prove_within <= needed:
        message = (
            f"prove_within is not longer than poll and replica lag, {format_duration(needed)}: no proof is in time"
        )
        yield _error(loaded, message, "prove_within")
    for severity in Severity:
        used = policies.severities.get(policy.policies.of(severity))
        soaks = [] if used is None else [step.minimum_soak for step in used.policy.ladder]
        if soaks and needed > timedelta(0) and min(soaks) <= needed:
            message = (
                f"readers follow within {format_duration(needed)}, and a step at severity {severity} may be judged "
                f"after {format_duration(min(soaks))}, before they were all served"
            )
            yield _warning(loaded, message, "clients")


def _severities(loaded: LoadedFeature, policies: Policies) -> Iterator[Finding]:
    for severity in Severity:
        try:
            used = policies.severity(loaded.policy, severity)
        except ConfigurationError as error:
            yield _error(loaded, f"{error.message}; {error.next}", "policies", severity.value)
            continue
        if used.policy.mitigation is Mitigation.REDUCE and loaded.policy.flag.on_variants:
            message = f"a variant flag is on or off as a whole, so severity {severity} cannot reduce it"
            yield _warning(loaded, message, "flag", "on_variants")


def _people(loaded: LoadedFeature) -> Iterator[Finding]:
    policy = loaded.policy
    if policy.production and not policy.surfaces:
        message = "no surfaces are named, so nobody is told what turning the flag off does not reach"
        yield _warning(loaded, message, "feature")
    if policy.production and not policy.channels and not policy.contacts:
        yield _warning(loaded, "neither channels nor contacts are named, so there is nobody to call", "feature")


# -- secrets -----------------------------------------------------------------------------------


def _secrets(loaded: LoadedFeature) -> Iterator[Finding]:
    """Secrets that stand in the file. The remark never shows them."""
    for path, text in texts_in(loaded.written):
        literal = literal_part(text)
        in_header = len(path) > 1 and path[-2] in ("headers", "bypass_headers")
        named_so = in_header and SENSITIVE.search(str(path[-1])) is not None
        if (named_so and literal.strip()) or TOKEN.search(literal) or (in_header and looks_random(literal)):
            message = (
                f"`{dotted(path)}` looks like a secret; put it into a variable, e.g. ${{PROBE_TOKEN}}, and change it"
            )
            yield _error(loaded, message, *path)
        elif path[-1] == ("url") and any(SENSITIVE.search(name) and value for name, value in _parameters(literal)):
            yield _error(
                loaded, f"`{dotted(path)}` has a secret in its query; send it as a header from a variable", *path
            )


def texts_in(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text in a file's data, with its path."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from texts_in(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from texts_in(value, (*path, index))
    elif isinstance(data, str):
        yield path, data


def literal_part(text: str) -> str:
    """What a value says by itself: without `${NAME}`, and with the default of `${NAME:-default}`.

    A scheme such as `Bearer` alone is no secret.
    """
    said = re.sub(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-([^}]*))?\}", lambda found: found[1] or "", text)
    return "" if said.strip().lower() in ("bearer", "basic", "jwt", "token") else said


def _parameters(url: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(urlsplit(url).query)
    except ValueError:
        return []


def looks_random(text: str) -> bool:
    """Whether a text is long, without blanks, with letters and digits: what people do not write by hand."""
    return (
        re.fullmatch(r"[A-Za-z0-9+/=_.~-]{20,}", text) is not None
        and re.search(r"\d", text) is not None
        and re.search(r"[A-Za-z]", text) is not None
    )


def _error(loaded: LoadedFeature, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "error", message)


def _warning(loaded: LoadedFeature, message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "warning", message)
