"""The manual steps for one very feature: what a person types when Flipt is out of this program's reach.

They are printed at once when `disable` cannot write (invariant 5), so this module is on the kill path: standard
library only. The commands do what the adapters do, and a test runs them against a Flipt.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rollback.core.flag import FlagRef, Polarity
from rollback.core.marker import Marker
from rollback.core.scalars import format_duration

if TYPE_CHECKING:
    from rollback.core.policy import FeaturePolicy, SeverityPolicy

BY_HAND = Marker(incident="manual", key="kill-0-byhand")
"""The marker of a kill that a person put there: later commands know it as ours and take it out again."""

AUTH = '-H "Authorization: Bearer $ROLLBACK_FLIPT_TOKEN"'
JSON = "-H 'Content-Type: application/json'"
READ_ONLY = "modification is not allowed in read-only mode"
STATUS = "-w '\\nHTTP %{http_code}\\n'"


class _Place(Protocol):
    """A part of a feature that the flag does not reach."""

    @property
    def name(self) -> str: ...


class HasFlag(Protocol):
    """What the steps need of a feature; `FlagReference` and `FeaturePolicy` both have it."""

    @property
    def feature(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def flag_ref(self) -> FlagRef: ...
    @property
    def polarity(self) -> Polarity: ...
    @property
    def not_covered(self) -> Sequence[_Place]: ...
    @property
    def follow_seconds(self) -> float: ...


def manual_steps(feature: HasFlag, urls: Sequence[str] = (), api: str = "auto") -> list[str]:
    """The steps that turn this feature's flag off by hand, in order; a step's commands are lines of their own.

    `urls` are those of `ROLLBACK_FLIPT_URL`: writes go to the first server, checks to each; a `file:` is edited.
    Without any, the commands say `$ROLLBACK_FLIPT_URL`. `api` is `v1`, `v2`, or `auto` for both.
    """
    servers = [url for url in urls if not url.startswith("file:")]
    files = [url.removeprefix("file:") for url in urls if url.startswith("file:")]
    if files:
        return [
            _where(feature, files[0]),
            _in_file(feature, files[0]),
            _never(),
            *_checks(feature, servers, api),
            _after(feature),
        ]
    servers = servers or ["$ROLLBACK_FLIPT_URL"]
    steps = [
        _where(feature, servers[0]),
        "The commands need curl and jq. Put a token that may write into the shell:\nexport ROLLBACK_FLIPT_TOKEN=…",
    ]
    if api == "auto":
        steps.append(_which_version(feature.flag_ref, servers[0]))
    if api in ("auto", "v2"):
        steps.append(_v2(feature, servers[0]))
    if api in ("auto", "v1"):
        steps.extend(_v1(feature, servers[0]))
    return [
        *steps,
        _never(),
        *_checks(feature, servers, api),
        _in_browser(feature, servers[0]),
        _in_file(feature, None),
        _after(feature),
    ]


# -- the write ---------------------------------------------------------------------------------


def kill_rollout(polarity: Polarity) -> dict[str, Any]:
    """The rollout that, in first place, turns a boolean flag off for everybody, as both APIs take it."""
    return {"description": str(BY_HAND), "threshold": {"percentage": 100, "value": not polarity.on_value}}


def _where(feature: HasFlag, place: str) -> str:
    ref = feature.flag_ref
    return (
        f"Where {feature.name} lives: {place}, environment {ref.environment}, namespace {ref.namespace}, "
        f"flag {ref.flag_key}. {_meaning(feature.polarity)}"
    )


def _meaning(polarity: Polarity) -> str:
    if polarity.on_variants:
        return f"On means one of the variants {', '.join(sorted(polarity.on_variants))}."
    on, off = ("true", "false") if polarity.on_value else ("false", "true")
    return (
        f"{on} means on, so off is a FIRST rollout: threshold, 100 percent, value {off}. (If Flipt calls it a variant "
        "flag: off is disabled AND without default variant.)"
    )


def _which_version(ref: FlagRef, url: str) -> str:
    address = _quoted(f"{url}/api/v2/environments/{ref.environment}/namespaces")
    return f"See which Flipt it is; `404 page not found` is v1, JSON is v2:\ncurl -sS {AUTH} {address}"


def _v2(feature: HasFlag, url: str) -> str:
    ref = feature.flag_ref
    resources = f"{url}/api/v2/environments/{ref.environment}/namespaces/{ref.namespace}/resources"
    if feature.polarity.on_variants:
        change = ".enabled = false | del(.defaultVariant)"
        what = "disables the flag and takes away its default variant"
    else:
        kill = json.dumps({"type": "THRESHOLD_ROLLOUT_TYPE", **kill_rollout(feature.polarity)})
        change = f".rollouts = [{kill}] + (.rollouts // [])"
        what = "puts the kill in front of everything else"
    edit = f"{{key: .resource.key, revision: .revision, payload: (.resource.payload | {change})}}"
    before, after = f"{ref.flag_key}-before.json", f"{ref.flag_key}-off.json"
    return (
        f"Flipt v2: this reads the flag with its revision, {what}, and writes it back. On HTTP 409 somebody else "
        f"wrote in between: run it again. Keep {before}.\n"
        f"curl -fsS {AUTH} {_quoted(f'{resources}/flipt.core.Flag/{ref.flag_key}')} > {before} \\\n"
        f"  && jq {_quoted(edit)} {before} > {after} \\\n"
        f"  && curl -sS {STATUS} -X PUT {AUTH} {JSON} --data @{after} {_quoted(resources)}"
    )


def _v1(feature: HasFlag, url: str) -> list[str]:
    ref = feature.flag_ref
    flag = f"{url}/api/v1/namespaces/{ref.namespace}/flags/{ref.flag_key}"
    if feature.polarity.on_variants:
        return [
            "Flipt v1: this disables the flag and takes away its default variant.\n"
            f"curl -fsS {AUTH} {_quoted(flag)} > {ref.flag_key}-before.json \\\n"
            f"  && jq '{{name, description, enabled: false, defaultVariantId: \"\"}}' {ref.flag_key}-before.json \\\n"
            f"  | curl -sS {STATUS} -X PUT {AUTH} {JSON} --data @- {_quoted(flag)}"
        ]
    rollouts = f"{flag}/rollouts"
    kill = kill_rollout(feature.polarity)
    first = json.dumps({"rank": 0, **kill})
    last = f"{json.dumps(kill)} + {{rank: ([.rules[].rank] | max + 1)}}"
    order = "{rolloutIds: [.rules | sort_by(.rank) | (last, .[:-1][]) | .id]}"
    return [
        "Flipt v1: one write puts the kill in front of everything else.\n"
        f"curl -sS {STATUS} -X POST {AUTH} {JSON} --data {_quoted(first)} {_quoted(rollouts)}",
        "Only if that answers `rank number: 0 already exists`: add the kill at the end, then move it to the front.\n"
        f"curl -fsS {AUTH} {_quoted(rollouts)} | jq {_quoted(last)} \\\n"
        f"  | curl -sS {STATUS} -X POST {AUTH} {JSON} --data @- {_quoted(rollouts)}\n"
        f"curl -fsS {AUTH} {_quoted(rollouts)} | jq {_quoted(order)} \\\n"
        f"  | curl -sS {STATUS} -X PUT {AUTH} {JSON} --data @- {_quoted(f'{rollouts}/order')}",
    ]


def _never() -> str:
    return (
        "Do NOT set `enabled: false` alone, in the API or with the switch in the browser: rollouts go before it, and "
        "users stay on. Do NOT use rank -1: it is accepted, and then every evaluation of the flag fails. Do NOT delete "
        "the flag: then each application's own default decides."
    )


def _in_browser(feature: HasFlag, url: str) -> str:
    ref = feature.flag_ref
    if feature.polarity.on_variants:
        how = "switch it off, and set its default variant to none"
    else:
        value = str(not feature.polarity.on_value).lower()
        how = f"Rollouts, new rollout: Threshold, 100 %, value {value}; move it to the FIRST place"
    return (
        f"Or in a browser: {url}, environment {ref.environment}, namespace {ref.namespace}, "
        f"flag {ref.flag_key}: {how}. Describe it as {str(BY_HAND)!r}, so that it is known later."
    )


def _in_file(feature: HasFlag, file: str | None) -> str:
    ref = feature.flag_ref
    begin = f"Edit {file}" if file else f"If writes answer `{READ_ONLY}`, the flag lives in files. Edit the repository"
    if feature.polarity.on_variants:
        lines = [f"- key: {ref.flag_key}", "  enabled: false", "  # and take away `default: true` from its variants"]
    else:
        value = str(not feature.polarity.on_value).lower()
        lines = [
            f"- key: {ref.flag_key}",
            "  rollouts:",
            f"  - description: {json.dumps(str(BY_HAND))}",
            f"    threshold: {{percentage: 100, value: {value}}}",
            "  # the rollouts that were there follow",
        ]
    where = f"flag {ref.flag_key} of namespace {ref.namespace}"
    follow = "Commit and push where it is a repository. Servers notice an edit after 30 seconds or so."
    return "\n".join([f"{begin}: {where}. {follow}", *lines])


# -- the check ---------------------------------------------------------------------------------


def _checks(feature: HasFlag, servers: Sequence[str], api: str) -> list[str]:
    """Asks every server for a hundred users, and counts the answers."""
    if not servers:
        return ["Check it on every server that serves the file: evaluate the flag for many users; all must be off."]
    ref = feature.flag_ref
    variants = sorted(feature.polarity.on_variants)
    asked = {"namespaceKey": ref.namespace, "flagKey": ref.flag_key, "context": {}}
    header = ""
    if ref.environment != "default" and api != "v1":
        asked["environmentKey"] = ref.environment
        header = f" -H 'X-Flipt-Environment: {ref.environment}'"
    each = json.dumps(asked)[:-1] + ', "entityId": "check-\\(.)"}'
    answer = ".variantResponse.variantKey" if variants else ".booleanResponse.enabled"
    count = f"[.responses[]{answer} | tostring] | group_by(.) | map({{(.[0]): length}}) | add"
    if variants:
        good = f"none may be a variant that means on ({', '.join(variants)})"
    else:
        good = f'each must answer {{"{str(not feature.polarity.on_value).lower()}":100}}'
    lines = [
        f"jq -nc {_quoted(f'{{requests: [range(100) | {each}]}}')} \\\n"
        f"  | curl -sS {AUTH} {JSON}{header} --data @- {_quoted(f'{url}/evaluate/v1/batch')} \\\n"
        f"  | jq -c {_quoted(count)}"
        for url in servers
    ]
    return ["\n".join([f"Check a hundred users on each server; {good}. An error is no off.", *lines])]


def _after(feature: HasFlag) -> str:
    seconds = feature.follow_seconds
    readers = (
        f"Users follow within {seconds:g} s, by the policy."
        if seconds
        else "Users follow when their client asks again."
    )
    places = ", ".join(surface.name for surface in feature.not_covered)
    covered = f" Not reached by the flag: {places}." if places else ""
    return (
        f"{readers}{covered} Write down who did it and when. As soon as this program "
        f"reaches Flipt again, `rollback disable {feature.feature}` proves it and opens the case."
    )


def _quoted(text: str) -> str:
    """Shell quotes; an address that begins with a variable keeps it alive."""
    return f'"{text}"' if text.startswith("$ROLLBACK_FLIPT_URL") else shlex.quote(text)


# -- the whole page ----------------------------------------------------------------------------


def runbook_markdown(
    feature: FeaturePolicy, severities: Sequence[SeverityPolicy], urls: Sequence[str] = (), api: str = "auto"
) -> str:
    """The runbook of one feature as Markdown: what its alert means, whom to ask, what to type, at each severity."""
    short = feature.aliases[0] if feature.aliases else feature.feature
    parts = [
        f"# {feature.name}: incident response",
        f"Written by `rollback runbook {short}` from the policies; change those, not this page.",
        _section("What an alert means", _bullets(feature.alert_meaning)),
        _section("Required access", _bullets(feature.access)),
        _section("Dashboards and links", _bullets(f"[{link.name}]({link.url})" for link in feature.links)),
        _section("PagerDuty", _pagerduty(feature)),
        _section("Steps", _numbered(_first_steps(feature, short))),
        _section("Severities", _severity_table(severities)),
        *(_section(f"If {policy.severity}", _numbered(_process(policy, short))) for policy in severities),
        _section("What the flag reaches", _surfaces(feature)),
        _section("Contacts", _contacts(feature)),
        _section("By hand, when this program cannot reach Flipt", _by_hand(manual_steps(feature, urls, api))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _numbered(lines: Iterable[str]) -> str:
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _pagerduty(feature: FeaturePolicy) -> str:
    return (
        f"[{feature.name}, service {feature.pagerduty.service}]({feature.pagerduty.url})" if feature.pagerduty else ""
    )


def _first_steps(feature: FeaturePolicy, short: str) -> list[str]:
    channel = f" in {feature.channels[0].name}" if feature.channels else ""
    boards = " and ".join(f"[{link.name}]({link.url})" for link in feature.links[:2])
    downstream = ", ".join(f"{one.name} ({one.reach})" for one in feature.downstream)
    return [
        f"React to the alert or comment on it{channel}, so that the team knows that you are there.",
        "Look at recent alerts, also those of related platforms: downstream services, the platform, sign-in.",
        *([f"Look at {boards}."] if boards else []),
        f"See where things stand: `rollback status {short}`.",
        "Reach out to the stakeholders (see Contacts).",
        "Look for the root cause." + (f" If needed, coordinate with {downstream}." if downstream else ""),
        "Decide how severe it is, and follow the process below.",
    ]


def _severity_table(severities: Sequence[SeverityPolicy]) -> str:
    def percents(policy: SeverityPolicy) -> str:
        return ", ".join(f"{percent:g} %" for percent in policy.percents) or "none: exposure never changes"

    head = ["", *(str(policy.severity) for policy in severities)]
    rows = [
        ["what happens", *(policy.summary for policy in severities)],
        ["flag", *(_mitigation(policy) for policy in severities)],
        ["steps back", *(percents(policy) for policy in severities)],
        ["evidence", *(f"less than {policy.gate.p0 * 100:g} % of the probes fail" for policy in severities)],
        ["watched for", *(format_duration(policy.monitoring.duration) for policy in severities)],
    ]
    return _table(head, rows)


def _mitigation(policy: SeverityPolicy) -> str:
    return f"reduced to {policy.reduce_to:g} %" if policy.reduce_to is not None else str(policy.mitigation)


def _process(policy: SeverityPolicy, short: str) -> list[str]:
    begin = {
        "critical": f'Off for all users, and proof of it: `rollback disable {short} --reason "…"`',
        "high": f'Reduced for the time being: `rollback open {short} --severity high --reason "…"`',
        "low": f'Nothing is interrupted; open a case: `rollback open {short} --severity low --reason "…"`',
    }[policy.severity]
    back = {
        "critical": f'Back on evidence, step by step, and monitored: `rollback enable {short} --reason "…"`',
        "high": f'Back to full on evidence, step by step, and monitored: `rollback enable {short} --reason "…"`',
        "low": f'Checked while it stays on, then closed: `rollback close {short} --reason "…"`',
    }[policy.severity]
    debug = {"critical": "Debugging starts immediately", "high": "Debugging starts"}.get(policy.severity, "Debugging")
    return [
        begin,
        *([_nested(debug, policy.debugging)] if policy.debugging else []),
        *([_nested("The fix", policy.fix)] if policy.fix else []),
        f"Name the commit that was deployed: `rollback fix {short} COMMIT` (`rollback ci` does it in the pipeline)",
        back,
    ]


def _nested(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"   - {line}" for line in lines)])


def _surfaces(feature: FeaturePolicy) -> str:
    rows = [[one.name, "yes" if one.reached else "**no**", one.because] for one in feature.surfaces]
    return _table(["surface", "turned off by the flag", "why"], rows) if rows else ""


def _contacts(feature: FeaturePolicy) -> str:
    people = [[one.role, one.reach, one.when or "with every case"] for one in feature.contacts]
    rooms = [[one.name, one.kind, one.purpose] for one in feature.channels]
    tables = [
        _table(["who", "how", "when"], people) if people else "",
        _table(["channel", "in", "for"], rooms) if rooms else "",
    ]
    return "\n\n".join(table for table in tables if table)


def _by_hand(steps: Sequence[str]) -> str:
    """Numbered steps; a step's commands as a block of code."""
    parts = []
    for number, step in enumerate(steps, start=1):
        text, _, commands = step.partition("\n")
        block = "\n".join(f"   {line}" for line in ("```", *commands.split("\n"), "```")) if commands else ""
        parts.append(f"{number}. {text}" + (f"\n\n{block}" if block else ""))
    return "\n\n".join(parts)
