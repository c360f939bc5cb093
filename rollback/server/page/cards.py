"""What the page shows, as plain values made of what commands and record say. Pure.

A card holds no moment of reading: two cards are equal exactly when there is nothing new to see.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollback.core.evidence import Evidence
from rollback.core.history import Entry, EntryKind
from rollback.words import clean, world_line

TIMELINE_ROWS = 60
DECISIONS_SHOWN = 20

_HOLDS = ("proven", "assumed", "not_configured")
_LOWERED = ("reducing", "reduced", "ramping")
_UNSHOWN = frozenset({"evidence", "armed_checked"})
"""Written again and again; the card shows what they add up to."""


@dataclass(frozen=True, slots=True)
class Glance:
    """A feature in one word. `kind` is `off`, `unproven`, `on`, `reduced` or `unknown`; `word` says it to people."""

    kind: str
    word: str


UNKNOWN = Glance("unknown", "UNKNOWN")


def glance(told: Mapping[str, Any]) -> Glance:
    """The word for a status document. Off is claimed only when it is proven; what cannot be read is unknown.

    Reduced is what we hold back or a case lowers; a team's own percentage rollout is on.
    """
    percent = told.get("exposure")
    if not isinstance(percent, int):
        return UNKNOWN
    if percent == 0:
        return Glance("off", "OFF proven") if told.get("off_proven") is True else Glance("unproven", "OFF NOT PROVEN")
    if percent < 100 and (told.get("ours_on_flag") or told.get("state") in _LOWERED):
        return Glance("reduced", f"REDUCED {percent} %")
    return Glance("on", "ON")


def not_read_yet(key: str) -> dict[str, Any]:
    """The card of a feature that nobody has looked at so far."""
    return card({"feature": key, "exposure": None, "exposure_unknown": "it is being read for the first time"})


def card(told: Mapping[str, Any], warnings: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """A status document (`rollback.status`) as the page shows it; `more` are the parts that come from elsewhere:
    `case`, `timeline`, `decisions`, `alerts`, `monitoring_until`, `operation`."""
    seen, error = glance(told), told.get("error")
    world = told.get("world") or {}
    return {
        "key": told["feature"],
        "name": told.get("name") or told["feature"],
        "kind": seen.kind,
        "word": seen.word,
        "world": world_line(world) if world else "",
        "store": clean(str(told.get("store") or "")),
        "flag": "/".join(clean(str(world[part])) for part in ("environment", "namespace", "flag")) if world else "",
        **{name: told.get(name) for name in _AS_TOLD},
        "exposure_reasons": list(told.get("exposure_reasons") or ()),
        "lacking": _lacking(told) if seen.kind == "unproven" else [],
        "basis": [
            {"name": part["name"], "status": part["status"], "detail": clean(str(part["detail"]))}
            for part in _parts(told)
        ],
        "not_covered": list(told.get("not_covered") or ()),
        "differs": list(told.get("differs") or ()),
        "armed_why": list(told.get("armed_why") or ()),
        "error": {"message": error.get("message"), "next": error.get("next")} if isinstance(error, Mapping) else None,
        "warnings": [*warnings],
        "evidence": evidence(told.get("evidence")),
        "case": None,
        "timeline": [],
        "decisions": [],
        "alerts": [],
        "monitoring_until": None,
        "operation": None,
        **more,
    }


_AS_TOLD = (
    *("state", "severity", "incident", "since", "opened_at", "exposure", "exposure_unknown", "off_since"),
    *("pollers_follow_by", "needs_human", "pending_off_since", "fix", "gate_blind", "kept_off"),
    *("armed", "automation_held_until"),
)


def _parts(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    basis = told.get("off_basis")
    return list(basis.get("parts") or ()) if isinstance(basis, Mapping) else []


def _lacking(told: Mapping[str, Any]) -> list[str]:
    found = [clean(f"{part['name']}: {part['detail']}") for part in _parts(told) if part["status"] not in _HOLDS]
    return found or ["not every replica could be looked at"]


def evidence(told: Any) -> dict[str, Any] | None:
    """The evidence of the step that is tested now, each metric with how far it is on the way to its bound.

    `share` is log E over the logarithm of the bound, cut to 0…1, for a bar; `clean_samples_missing` is how many more
    clean samples would make it pass. None where nothing is tested.
    """
    if not isinstance(told, Mapping) or not told.get("metrics"):
        return None
    bound, p0 = float(told["log_bound"]), float(told["p0"])
    metrics = []
    for name, counts in sorted(told["metrics"].items()):
        log_e = float(counts["log_e"])
        known = Evidence.from_counts(p0, int(counts["bad"]), int(counts["total"]))
        metrics.append(
            {
                "name": clean(str(name)),
                "samples": counts["total"],
                "bad": counts["bad"],
                "without_data": counts["missing"],
                "e": _power(log_e),
                "bound": _power(bound),
                "share": round(min(1.0, max(0.0, log_e / bound)), 3),
                "clean_samples_missing": known.clean_samples_missing(math.exp(-bound)),
            }
        )
    return {"stage": told.get("stage"), "fix": told.get("fix") or None, "metrics": metrics}


def _power(log: float) -> str:
    """e to the `log` for people: `0.02`, `100`, `3.2e+08`."""
    return f"{math.exp(log):.3g}" if log < 700 else "more than 1e300"


# -- the record -------------------------------------------------------------------------------------------------------


def timeline(entries: Iterable[Entry], incident: str) -> list[dict[str, Any]]:
    """What happened in the case, newest first: time, what, who, where it led, why."""
    rows = [entry for entry in entries if entry.incident == incident and entry.name not in _UNSHOWN]
    return [_row(entry) for entry in reversed(rows[-TIMELINE_ROWS:])]


def _row(entry: Entry) -> dict[str, Any]:
    after = entry.after if entry.kind is EntryKind.TRANSITION and entry.after else {}
    said = [entry.reason, *(f"{name}: {entry.data[name]}" for name in _SAID if entry.data.get(name) not in (None, ""))]
    said += [f"{one['feature']}: {one['action']}. {one['why']}" for one in decisions([entry])]
    return {
        "at": iso(entry.at),
        "what": f"{entry.name.replace('_', ' ')}{'' if entry.kind is not EntryKind.INTENT else ' (meant)'}",
        "state": clean(str(after.get("state") or "")),
        "who": clean(entry.actor.name),
        "claimed": entry.actor.is_claimed,
        "why": clean("; ".join(one for one in said if one)),
    }


_SAID = ("result", "why", "exposure", "text")


def decisions(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The newest decisions on alerts about the feature, newest first."""
    found: list[dict[str, Any]] = []
    for entry in entries:
        told = entry.data.get("decisions") if entry.name == "alerts_decided" else None
        for one in told if isinstance(told, list) else ():
            found.append(
                {
                    "at": iso(entry.at),
                    "feature": entry.feature,
                    "delivery": one.get("delivery"),
                    "action": str(one.get("action", "")).replace("_", " "),
                    "rule": clean(str(one.get("rule") or "")),
                    "why": clean(str(one.get("why") or "")),
                }
            )
    return found[: -DECISIONS_SHOWN - 1 : -1]


def iso(moment: datetime | None) -> str | None:
    """As `--json` writes times."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None
