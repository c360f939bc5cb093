"""The remarks of `policy lint` on alerts: rules that never act or act on a stranger's word, and `automation.yaml`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from rollback.core.alert_rules import PROBES, AlertRule
from rollback.core.automation_policy import Poll, PollKind, Source
from rollback.core.model import Severity
from rollback.core.scalars import format_duration
from rollback.policy_files import Loaded, LoadedAutomation, LoadedFeature, Policies
from rollback.policy_findings import Finding
from rollback.policy_lint_features import TOKEN, is_loopback, literal_part, texts_in

OLD_ALERTS = timedelta(hours=1)
"""What was true an hour ago is no reason to turn anything off by itself."""

LEAST_RANDOM = 16
"""A name of capitals and digits that long, without an underscore, was hardly thought of by a person."""


# -- one feature's rules -----------------------------------------------------------------------


def lint_alerts(loaded: LoadedFeature, policies: Policies) -> Iterator[Finding]:
    """What is wrong with one feature's alert rules and its continuous probes."""
    policy = loaded.policy
    counted = Counter(rule.name for rule in policy.rules)
    for index, rule in enumerate(policy.alerts):
        where = ("alerts", index)
        if counted[rule.name] > 1:
            message = f"two rules are called {rule.name}; a decision could not say which of them it followed"
            yield _error(loaded, message, *where, "name")
        yield from _rule(loaded, rule, index)
        yield from _rule_source(loaded, rule, index, policies)
        yield from _guard(loaded, rule, index)
    yield from _probing(loaded)
    if policy.production and policy.rules and policy.owner is None:
        yield _warning(loaded, "no owner is named, so nobody is called while it stays off", "alerts")


def _rule(loaded: LoadedFeature, rule: AlertRule, index: int) -> Iterator[Finding]:
    where = ("alerts", index)
    if not rule.is_pinned:
        message = (
            f"the rule {rule.name} names neither a monitor nor an environment, so an alert of a test environment would "
            "act on this one, and it is not used; give it monitors, or a tag such as env:prod"
        )
        yield _error(loaded, message, *where)
    elif rule.inactive_because:
        names = [name for path, names in loaded.unset.items() for name in names if path.startswith(_monitors(index))]
        because = f"{' and '.join(dict.fromkeys(names))} is not set here" if names else "its monitors are all empty"
        yield _warning(loaded, f"{because}, so the rule {rule.name} matches no alert", *where, "monitors")
    if rule.is_heartbeat and (rule.severity is not None or rule.guard is not None):
        message = f"the rule {rule.name} is a heartbeat, which does nothing: take away its severity and guard"
        yield _error(loaded, message, *where)


def _monitors(index: int) -> str:
    return f"alerts[{index}].monitors"


def _rule_source(loaded: LoadedFeature, rule: AlertRule, index: int, policies: Policies) -> Iterator[Finding]:
    if policies.broken_automation:
        return  # that file's own errors are told
    automation = policies.automation
    if rule.source not in automation.source_names:
        known = ", ".join(sorted(automation.source_names)) or "none"
        hint = "; write `probing` for continuous probes" if rule.source == PROBES else ""
        message = f"automation.yaml has no source {rule.source}; known: {known}{hint}"
        yield _error(loaded, message, "alerts", index, "source")
        return
    source = automation.sources.get(rule.source)
    acts = rule.severity in (Severity.CRITICAL, Severity.HIGH) and not rule.is_heartbeat
    if source is not None and source.is_weak and acts and rule.guard is None:
        message = (
            f"{rule.source} is a weak sender ({source.kind}): whoever knows its secret would turn the feature down, so "
            f"the rule {rule.name} needs a guard, or severity low"
        )
        yield _error(loaded, message, "alerts", index)


def _guard(loaded: LoadedFeature, rule: AlertRule, index: int) -> Iterator[Finding]:
    if rule.guard is None:
        return
    policy, where = loaded.policy, ("alerts", index, "guard", "by")
    telling = {one.source for one in policy.alerts if not one.is_heartbeat}
    for name in rule.guard.by:
        if name == PROBES and not policy.health.endpoints:
            yield _error(loaded, "there are no endpoints, so probes can never agree", *where)
        elif name == PROBES:
            if all(endpoint.unknown_because for endpoint in policy.health.endpoints):
                yield _warning(loaded, "no endpoint can be asked here, so probes can never agree", *where)
        elif name == rule.source:
            yield _error(loaded, f"{name} would agree with itself; name a second source, or probes", *where)
        elif name not in telling:
            yield _error(loaded, f"no rule of this feature has the source {name}, so it can never agree", *where)


def _probing(loaded: LoadedFeature) -> Iterator[Finding]:
    policy = loaded.policy
    if policy.probing is None or not policy.probing.enabled:
        return
    if policy.health.control is None:
        message = "probing needs a control target: without one a fault of our own network would turn the feature off"
        yield _error(loaded, message, "probing")
    if not policy.health.endpoints:
        yield _error(loaded, "probing has no endpoints to ask", "probing")


def lint_shadows(policies: Policies) -> Iterator[Finding]:
    """Shadow flags that are some feature's own: the daily write check would change that feature."""
    owners: dict[tuple[str, str, str], str] = {}
    for loaded in policies.features.values():
        ref = loaded.policy.flag_ref
        owners[ref.environment, ref.namespace, ref.flag_key] = loaded.policy.feature
    for loaded in policies.features.values():
        shadow, ref = loaded.policy.shadow_flag, loaded.policy.flag_ref
        owner = owners.get((ref.environment, ref.namespace, shadow)) if shadow is not None else None
        if owner is not None:
            message = f"the shadow flag is the flag of {owner}, and it is written every day; name one that nobody reads"
            yield _error(loaded, message, "shadow_flag")


# -- automation.yaml ---------------------------------------------------------------------------


def lint_automation(loaded: LoadedAutomation, policies: Policies) -> Iterator[Finding]:
    """What is wrong with `automation.yaml`."""
    policy = loaded.policy
    shared: dict[str, list[str]] = defaultdict(list)
    for name, source in policy.sources.items():
        yield from _source(loaded, name, source)
        for variable in source.secrets:
            shared[variable].append(name)
    for variable, names in shared.items():
        if len(names) > 1:
            message = f"{' and '.join(names)} share {variable}: one of them could speak as the other"
            yield _warning(loaded, message, "sources", names[1], "secrets")
    for name, poll in policy.polls.items():
        yield from _poll(loaded, name, poll, policy.sources)
    yield from _used(loaded, policies)
    yield from _people(loaded)
    yield from _values(loaded)


def _source(loaded: LoadedAutomation, name: str, source: Source) -> Iterator[Finding]:
    where = ("sources", name)
    if name == PROBES:
        yield _error(loaded, f"{PROBES} is what our own probes are called; choose another name", *where)
    if not source.secrets:
        yield _error(loaded, f"the source {name} has no secrets, so every delivery is turned away", *where)
    if source.maximum_age > OLD_ALERTS:
        message = (
            f"alerts of {name} may be {format_duration(source.maximum_age)} old and still turn a feature off; what was "
            f"true more than {format_duration(OLD_ALERTS)} ago may be mended"
        )
        yield _warning(loaded, message, *where, "maximum_age")


def _poll(loaded: LoadedAutomation, name: str, poll: Poll, sources: Mapping[str, Source]) -> Iterator[Finding]:
    where = ("polls", name)
    if name == PROBES:
        yield _error(loaded, f"{PROBES} is what our own probes are called; choose another name", *where)
    twin = sources.get(name)
    if twin is not None and twin.kind.value != poll.kind.value:
        message = f"{name} is a source of {twin.kind} and a poll of {poll.kind}; give them two names"
        yield _error(loaded, message, *where, "kind")
    if poll.url is None:
        yield _warning(loaded, f"the address of {name} is not set here, so it is not asked", *where, "url")
    elif poll.url.lower().startswith("http:") and not is_loopback(poll.url):
        yield _error(loaded, "the address is not https: what it answers, and credentials, can be read", *where, "url")
    if poll.kind is PollKind.DATADOG and poll.query is None:
        yield _warning(loaded, f"{name} asks for every monitor there is; give it a query", *where)


def _used(loaded: LoadedAutomation, policies: Policies) -> Iterator[Finding]:
    """Sources that nobody listens to: a rule has another name, or is missing."""
    if policies.broken_features:
        return  # their rules are not known
    named = {rule.source for feature in policies.features.values() for rule in feature.policy.alerts}
    for section, names in (("sources", loaded.policy.sources), ("polls", loaded.policy.polls)):
        for name in names:
            if name not in named:
                message = f"no rule of any feature has the source {name}, so what it tells does nothing"
                yield _warning(loaded, message, section, name)


def _people(loaded: LoadedAutomation) -> Iterator[Finding]:
    policy = loaded.policy
    if not policy.source_names:
        return
    if policy.heartbeat is None or policy.heartbeat.url is None:
        message = "there is no heartbeat's address here, so nobody notices when automation dies"
        yield _warning(loaded, message, "heartbeat", "url")
    if not policy.notices:
        yield _warning(loaded, "there are no notices, so only the log says what automation did", "notices")


def _values(loaded: LoadedAutomation) -> Iterator[Finding]:
    """Secrets that stand in the file instead of the names of their variables. The remark never shows them."""
    for path, text in texts_in(loaded.written):
        literal = literal_part(text)
        in_names = "secrets" in path or "credentials" in path or str(path[-1]).endswith("_variable")
        is_address = path == ("heartbeat", "url")
        if TOKEN.search(literal) or (in_names and _is_no_name(literal)) or (is_address and literal.strip()):
            message = "looks like a secret; put it into a variable and write the variable's name here, and change it"
            yield _error(loaded, message if not is_address else _ADDRESS, *path)


_ADDRESS = "the heartbeat's address is a secret; put it into a variable: ${ROLLBACK_HEARTBEAT_URL}"


def _is_no_name(text: str) -> bool:
    return len(text) >= LEAST_RANDOM and "_" not in text and any(letter.isdigit() for letter in text)


def _error(loaded: Loaded[Any], message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "error", message)


def _warning(loaded: Loaded[Any], message: str, *path: str | int) -> Finding:
    return Finding(loaded.file, loaded.line_of(*path), "warning", message)
