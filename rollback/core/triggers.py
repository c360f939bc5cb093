"""What an alert does to a feature. Pure: no clock, no I/O. No verdict here ever raises exposure.

Two steps. First, what the alert asks for, given the matched rule's severity and the open case:

| severity | no case | low case | high case | critical case |
|---|---|---|---|---|
| critical | TURN_OFF | TURN_OFF | TURN_OFF | disabling, disabled, verifying: ATTACH; else TURN_OFF |
| high | REDUCE | REDUCE | reducing, reduced, verifying: ATTACH; else REDUCE | the same: ATTACH; else TURN_OFF |
| low | OPEN_LOW | ATTACH | ATTACH | ATTACH |

Else means triggered, ramping and monitoring: some users may be served there. A high alert turns a critical case off
again because such a case has no reduced level that was proven safe. Asking happens for an edge that counts as firing:

| edge | its cycle | then |
|---|---|---|
| any | the rule is a heartbeat | IGNORE |
| UNCLEAR | any | IGNORE: recorded |
| RECOVERED | fires again by the sender's time | IGNORE: it is the older word |
| RECOVERED | over | RECOVER with a case, else IGNORE |
| FIRED, REPEATED | decided before | ATTACH with a case; TELL when it still fires and no case is open |
| FIRED | new; put off before and over since | IGNORE |
| FIRED | new | what it asks for, although it may be over by now: which came first must not matter |
| REPEATED | never decided, firing | what it asks for: we were down when it fired |
| REPEATED | never decided, over | IGNORE |

Second, what stands in the way of TURN_OFF, REDUCE and OPEN_LOW, the first that holds:

| what | then | again at |
|---|---|---|
| the alert is not fresh | TELL, call | – |
| automation is off | SUPPRESS | – |
| the source is muted | SUPPRESS | the mute's end |
| the feature is held | SUPPRESS | the hold's end |
| the guard has not agreed | WAIT_FOR_GUARD | the guard's end |
| the guard's time is up | TELL, call | – |

`keep-off` has no say in it: it keeps a return back, never an off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_never

from rollback.core.alerts import Age, Alert, Edge
from rollback.core.model import Incident, Severity, State
from rollback.core.verdicts import ACTING, Action, GuardState, Hold, Situation, Urgency, Verdict

if TYPE_CHECKING:
    from rollback.core.alert_rules import AlertRule

__all__ = [
    "ACTING",
    "Action",
    "GuardState",
    "Hold",
    "Situation",
    "Urgency",
    "Verdict",
    "age",
    "cycle_reference",
    "decide_alert",
    "decide_rules",
    "matches",
    "ranked",
    "why_not",
]


def age(alert: Alert, received_at: datetime, maximum_age: timedelta, clock_skew: timedelta) -> Age:
    """Whether the alert was recent enough when it was received. Exactly `maximum_age` old is fresh."""
    if alert.occurred_at is None:
        return Age.NOT_SAID
    if alert.occurred_at - received_at > clock_skew:
        return Age.AHEAD
    return Age.OLD if received_at - alert.occurred_at > maximum_age else Age.FRESH


def cycle_reference(source: str, monitor: str, cycle: str) -> str:
    """A short name of a cycle for the case, e.g. `datadog:3f0c…`: different cycles have different ones.

    Short and of one length, because a case may keep hundreds; a hash, because ids come from outside.
    """
    identity = json.dumps([source, monitor, cycle]).encode()
    return f"{source[:40]}:{hashlib.sha256(identity).hexdigest()[:24]}"


# -- which rule --------------------------------------------------------------------------------


def matches(alert: Alert, rule: AlertRule) -> bool:
    """Whether the rule is about this alert."""
    return not why_not(alert, rule)


def why_not(alert: Alert, rule: AlertRule) -> str:
    """Why the rule is not about this alert, in a few words; empty when it is. A recovery needs source and monitor."""
    if rule.inactive_because:
        return f"the rule is inactive: {rule.inactive_because}"
    if alert.source != rule.source:
        return f"it is about the source {rule.source}"
    if rule.monitors and alert.monitor not in rule.known_monitors:
        return "it is about other monitors"
    if alert.edge is Edge.RECOVERED:
        return ""  # senders drop tags and priorities at the end, and a recovery alone does nothing
    missing = sorted(set(rule.tags) - set(alert.tags))
    if missing:
        return f"the alert lacks the tag {missing[0]}"
    priorities = {one.casefold() for one in rule.priorities}
    if priorities and alert.priority.casefold() not in priorities:
        return f"the alert's priority is {alert.priority or 'not given'}, not {' or '.join(rule.priorities)}"
    return ""


def ranked(alert: Alert, rules: Sequence[AlertRule]) -> list[AlertRule]:
    """The rules that are about the alert, the one that decides first: the most severe, unguarded before guarded."""
    return sorted((rule for rule in rules if matches(alert, rule)), key=_order)


def _order(rule: AlertRule) -> tuple[int, bool, str]:
    rank = -1 if rule.severity is None or rule.is_heartbeat else rule.severity.rank
    return -rank, rule.guard is not None, rule.name


def decide_rules(alert: Alert, rules: Sequence[AlertRule], here: Situation) -> Verdict:
    """The verdict of all rules of one feature on one alert, whatever order they are in.

    The most severe one decides. While its guard has not agreed, a milder one without a guard may act in its place.
    `here.guard` is the guard of the rule that decides first. The evidence says of each other rule why it is not about
    this alert.
    """
    others = {rule.name: words for rule in rules if (words := why_not(alert, rule))}
    candidates = ranked(alert, rules)
    if not candidates:
        return Verdict(
            Action.IGNORE,
            "",
            "No rule of this feature is about it.",
            Urgency.RECORD,
            {**_evidence(alert, here), "why_not": others},
        )
    verdict = decide_alert(alert, candidates[0], here)
    if _is_unguarded(verdict, candidates[0], here):
        milder = [rule for rule in candidates[1:] if rule.guard is None and not rule.is_heartbeat]
        if milder:
            instead = decide_alert(alert, milder[0], here)
            # A later agreement has to find the cycle undecided.
            decides = instead.decides and verdict.again_at is None
            why = f"{instead.why} {verdict.why}"
            verdict = replace(instead, why=why, again_at=verdict.again_at or instead.again_at, decides=decides)
    return replace(verdict, evidence={**verdict.evidence, "why_not": others})


def _is_unguarded(verdict: Verdict, rule: AlertRule, here: Situation) -> bool:
    """Whether only the missing agreement kept the rule from acting."""
    return verdict.action is Action.WAIT_FOR_GUARD or (
        verdict.action is Action.TELL and here.age is Age.FRESH and here.is_new_cycle and rule.guard is not None
    )


# -- what it does ------------------------------------------------------------------------------


def decide_alert(alert: Alert, rule: AlertRule, here: Situation) -> Verdict:
    """What one alert does to one feature under the rule that matched. Total: it never raises."""
    if rule.is_heartbeat or rule.severity is None:
        return _quiet(alert, rule, here, Action.IGNORE, "It is a heartbeat: that it came is all it says.")
    match alert.edge:
        case Edge.UNCLEAR:
            return _quiet(alert, rule, here, Action.IGNORE, "It says neither harm nor health.")
        case Edge.RECOVERED:
            return _recovered(alert, rule, here)
        case Edge.FIRED | Edge.REPEATED:
            return _firing(alert, rule, here, rule.severity)
        case _:
            assert_never(alert.edge)


def _recovered(alert: Alert, rule: AlertRule, here: Situation) -> Verdict:
    if here.is_firing:
        return _quiet(alert, rule, here, Action.IGNORE, "Its cycle fires again since: the recovery is the older word.")
    if here.case is None:
        return _quiet(alert, rule, here, Action.IGNORE, "It recovered, and no case is open.")
    return _quiet(alert, rule, here, Action.RECOVER, "It recovered; that alone brings nothing back.")


def _firing(alert: Alert, rule: AlertRule, here: Situation, severity: Severity) -> Verdict:
    if not here.is_new_cycle:
        return _repeated(alert, rule, here)
    if alert.edge is Edge.REPEATED and not here.is_firing:
        return _quiet(alert, rule, here, Action.IGNORE, "It is a reminder of a cycle that is over.")
    if here.put_off and not here.is_firing:
        return _quiet(alert, rule, here, Action.IGNORE, "It was over before it could be acted on.")
    action, why = _asked(severity, here.case)
    if action not in ACTING:
        return _verdict(alert, rule, here, action, why, Urgency.TELL, decides=True)
    held_back = _held_back(alert, rule, here, action)
    if held_back is not None:
        return held_back
    agreed = f" {here.guard.agreed_by} agrees." if rule.guard and here.guard and here.guard.agreed_by else ""
    urgency = Urgency.TELL if action is Action.OPEN_LOW else Urgency.CALL
    return _verdict(alert, rule, here, action, why + agreed, urgency, decides=True)


def _repeated(alert: Alert, rule: AlertRule, here: Situation) -> Verdict:
    """Another notice of a cycle that was decided: it never acts, and no step up happens while it fires."""
    if here.case is not None:
        why = "It is a repeated notice of a cycle that is known."
        return _verdict(alert, rule, here, Action.ATTACH, why, Urgency.RECORD)
    if here.is_firing:
        why = "It was decided, still fires, and no case is open."
        return _verdict(alert, rule, here, Action.TELL, why, Urgency.TELL)
    return _quiet(alert, rule, here, Action.IGNORE, "It is a repeated notice of a cycle that is over.")


_OFF = frozenset({State.DISABLING, State.DISABLED, State.VERIFYING})
_REDUCED = frozenset({State.REDUCING, State.REDUCED, State.VERIFYING})


def _asked(severity: Severity, case: Incident | None) -> tuple[Action, str]:
    """What an alert of this severity asks for, in one sentence with its reason: the first table above."""
    match severity:
        case Severity.LOW:
            if case is None:
                return Action.OPEN_LOW, "A low alert opens a case and leaves the flag alone."
            return Action.ATTACH, f"A low alert joins the open {case.severity} case."
        case Severity.HIGH:
            return _asked_by_high(case)
        case Severity.CRITICAL:
            if case is None:
                return Action.TURN_OFF, "A critical alert turns the feature off."
            if case.severity is not Severity.CRITICAL:
                return Action.TURN_OFF, f"A critical alert raises the {case.severity} case, and turns the feature off."
            if case.state in _OFF:
                return Action.ATTACH, f"The feature is {case.state} already."
            return Action.TURN_OFF, f"A new critical alert while the case is {case.state} turns the feature off again."
        case _:
            assert_never(severity)


def _asked_by_high(case: Incident | None) -> tuple[Action, str]:
    if case is None:
        return Action.REDUCE, "A high alert reduces the feature."
    match case.severity:
        case Severity.LOW:
            return Action.REDUCE, "A high alert raises the low case, and reduces the feature."
        case Severity.HIGH:
            if case.state in _REDUCED:
                return Action.ATTACH, f"The feature is {case.state} already."
            return Action.REDUCE, f"A new high alert while the case is {case.state} reduces the feature again."
        case Severity.CRITICAL:
            if case.state in _OFF:
                return Action.ATTACH, f"The feature is {case.state} already."
            return Action.TURN_OFF, f"A high alert while the critical case is {case.state} turns the feature off again."
        case _:
            assert_never(case.severity)


def _held_back(alert: Alert, rule: AlertRule, here: Situation, action: Action) -> Verdict | None:
    """What stands in the way of acting, the second table above; None when nothing does."""
    would = f"it would {action.value.replace('_', ' ')}"
    if here.age is not Age.FRESH:
        why = f"{_AGE_WORDS[here.age]}, so nothing is done by itself; {would}."
        return _verdict(alert, rule, here, Action.TELL, why, Urgency.CALL)
    urgency = Urgency.TELL if action is Action.OPEN_LOW else Urgency.CALL
    if not here.auto:
        return _verdict(alert, rule, here, Action.SUPPRESS, f"Automation is off; {would}.", urgency)
    for until, what in (
        (here.muted_until, f"The source {alert.source} is muted"),
        (here.hold.until if here.hold else None, "Automation is held for this feature"),
    ):
        if until is not None and here.now < until:
            why = f"{what} until {until.isoformat()}; {would}."
            return _verdict(alert, rule, here, Action.SUPPRESS, why, Urgency.TELL, again_at=until)
    return _guarded(alert, rule, here, would)


def _guarded(alert: Alert, rule: AlertRule, here: Situation, would: str) -> Verdict | None:
    if rule.guard is None or (here.guard is not None and here.guard.agreed_by):
        return None
    ends_at = here.guard.ends_at if here.guard is not None else here.now + rule.guard.within
    by = " or ".join(rule.guard.by)
    if here.now < ends_at:
        why = f"It waits until {ends_at.isoformat()} for {by} to agree; then {would}."
        return _verdict(alert, rule, here, Action.WAIT_FOR_GUARD, why, Urgency.TELL, again_at=ends_at)
    return _verdict(alert, rule, here, Action.TELL, f"Neither of {by} agreed in time; {would}.", Urgency.CALL)


_AGE_WORDS = {
    Age.OLD: "The alert is older than its source allows",
    Age.AHEAD: "The alert's time lies in the future",
    Age.NOT_SAID: "The alert does not say when it happened",
}


# -- verdicts ----------------------------------------------------------------------------------


def _quiet(alert: Alert, rule: AlertRule, here: Situation, action: Action, why: str) -> Verdict:
    """For the record alone, and never attached as firing."""
    return Verdict(action, rule.name, why, Urgency.RECORD, _evidence(alert, here), rule.severity)


def _verdict(
    alert: Alert,
    rule: AlertRule,
    here: Situation,
    action: Action,
    why: str,
    tell: Urgency,
    *,
    again_at: datetime | None = None,
    decides: bool = False,
) -> Verdict:
    """`attaches` only what fires now: a recovery that came in earlier would never be heard again."""
    opens = action in ACTING or here.case is not None
    evidence = _evidence(alert, here)
    return Verdict(action, rule.name, why, tell, evidence, rule.severity, again_at, opens and here.is_firing, decides)


def _evidence(alert: Alert, here: Situation) -> dict[str, Any]:
    """What the decision rests on, as JSON values."""
    return {
        "source": alert.source,
        "monitor": alert.monitor,
        "cycle": alert.cycle,
        "edge": alert.edge.value,
        "occurred_at": alert.occurred_at.isoformat() if alert.occurred_at else None,
        "priority": alert.priority,
        "tags": list(alert.tags),
        "age": here.age.value,
        "new": here.is_new_cycle,
        "firing": here.is_firing,
        "case": here.case.incident_id if here.case else None,
        "state": here.case.state.value if here.case else State.NORMAL.value,
        "agreed_by": here.guard.agreed_by if here.guard else "",
        "held": here.hold.what if here.hold and here.now < here.hold.until else "",
    }
