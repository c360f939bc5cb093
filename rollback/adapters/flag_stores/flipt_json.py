"""Flipt's JSON, read into the core's words: the management API of v1 and v2, and the snapshot that SDKs read.

Liberal: fields that are left out are false, zero or empty (Flipt's enums begin with VARIANT_FLAG_TYPE,
ALL_MATCH_TYPE and OR_SEGMENT_OPERATOR); unknown fields stay in `wire`; what cannot be understood is a defect
of the flag, so that its exposure is unknown rather than guessed. Kill path: standard library and httpx.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from rollback.adapters.flipt_http import FliptHttp
from rollback.core.flag import Constraint, Distribution, FlagConfig, FlagRef, FlagType, Operator, Rollout, Rule, Segment
from rollback.errors import FlagMissing, StoreRefused

Json = Mapping[str, Any]

DEFAULT_ENVIRONMENT = "default"

_TYPES = {"": FlagType.VARIANT, "VARIANT_FLAG_TYPE": FlagType.VARIANT, "BOOLEAN_FLAG_TYPE": FlagType.BOOLEAN}
_ROLLOUT_TYPES = ("SEGMENT_ROLLOUT_TYPE", "THRESHOLD_ROLLOUT_TYPE")
_OPERATORS = {"": Operator.OR, "OR_SEGMENT_OPERATOR": Operator.OR, "AND_SEGMENT_OPERATOR": Operator.AND}
_OPERATOR_NAMES = {Operator.OR: "OR_SEGMENT_OPERATOR", Operator.AND: "AND_SEGMENT_OPERATOR"}
_SUFFIXES = ("_CONSTRAINT_COMPARISON_TYPE", "_COMPARISON_TYPE")


def flag_from_v1(flag: Json, entries: Sequence[Json]) -> FlagConfig:
    """A flag of v1's management API with all its rollouts (boolean) or rules (variant), in any order.

    They are sorted by rank. A negative rank makes every evaluation fail, and equal ranks leave the order open:
    both are defects.
    """
    variants = {_text(one, "id"): _text(one, "key") for one in _list(flag, "variants")}
    ordered = sorted(entries, key=_rank)
    return _flag(flag, _unique_ranks(ordered), rollouts=ordered, rules=ordered, variants=variants)


def flag_from_v2(resource: Json) -> FlagConfig:
    """A flag of v2's management API: the resource, `{"namespaceKey", "key", "payload"}`."""
    payload = _object(resource, "payload")
    return _flag(payload, (), rollouts=_list(payload, "rollouts"), rules=_list(payload, "rules"), variants={})


def flag_from_snapshot(snapshot: Json, flag_key: str) -> FlagConfig:
    """One flag of an evaluation snapshot (v1's and v2's alike), with the constraints of its segments.

    The snapshot's order is the order of evaluation; ranks that go down make every evaluation fail: a defect.
    Raises `FlagMissing` when the flag is not in it (a namespace that does not exist has no flags either).
    """
    for flag in _list(snapshot, "flags"):
        if _text(flag, "key") == flag_key:
            rollouts, rules = _list(flag, "rollouts"), _list(flag, "rules")
            return _flag(flag, _rising_ranks([*rollouts] or [*rules]), rollouts=rollouts, rules=rules, variants={})
    raise FlagMissing(
        f"Flag {flag_key} is not in the snapshot of its namespace.", next="Check environment, namespace and key."
    )


def segment_from(segment: Json) -> Segment:
    """A segment of either API, or as it stands inside a snapshot."""
    return Segment(
        key=_text(segment, "key"),
        match_all=not _text(segment, "matchType").startswith("ANY"),
        constraints=tuple(_constraint(one) for one in _list(segment, "constraints")),
    )


def rollout_from(entry: Json) -> Rollout:
    """One rollout of either API or of a snapshot; `wire` is the entry itself.

    One of an unknown kind becomes a rollout of no segment, which may match anybody; its flag gets a defect.
    """
    description = _text(entry, "description")
    if "threshold" in entry or _text(entry, "type") == "THRESHOLD_ROLLOUT_TYPE":
        threshold = _object(entry, "threshold")
        percentage = _number(threshold, "percentage")
        return Rollout(value=_flagged(threshold, "value"), percentage=percentage, description=description, wire=entry)
    if "segment" in entry or _text(entry, "type") == "SEGMENT_ROLLOUT_TYPE":
        segment = _object(entry, "segment")
        return Rollout(
            value=_flagged(segment, "value"),
            segments=_segment_keys(segment),
            operator=_operator(segment),
            description=description,
            wire=entry,
        )
    return Rollout(value=True, description=description, wire=entry)


def rollout_to_v1(rollout: Rollout) -> dict[str, Any]:
    """A rollout for a POST or PUT of v1, without rank. The description is always sent: a PUT without it erases it."""
    if rollout.percentage is not None:
        kind: dict[str, Any] = {"threshold": {"percentage": _plain(rollout.percentage), "value": rollout.value}}
    else:
        kind = {
            "segment": {
                "segmentKeys": list(rollout.segments),
                "value": rollout.value,
                "segmentOperator": _OPERATOR_NAMES[rollout.operator],
            }
        }
    return {"description": rollout.description, **kind}


def rollout_to_v2(rollout: Rollout) -> Json:
    """A rollout as it goes into v2's resource: the existing record, with only what differs put into it."""
    wire: Json = rollout.wire if isinstance(rollout.wire, Mapping) else {}
    if rollout.wire is not None and repr(rollout_from(wire)) == repr(
        rollout
    ):  # not ==: NaN exists, and does not equal itself
        return wire
    if rollout.percentage is not None:
        kind, name = "THRESHOLD_ROLLOUT_TYPE", "threshold"
        body: dict[str, Any] = {"percentage": _plain(rollout.percentage), "value": rollout.value}
    else:
        kind, name = "SEGMENT_ROLLOUT_TYPE", "segment"
        body = {
            "value": rollout.value,
            "segments": list(rollout.segments),
            "segmentOperator": _OPERATOR_NAMES[rollout.operator],
        }
    return {**wire, "type": kind, "description": rollout.description, name: {**_object(wire, name), **body}}


SERVER_VERSION = {"x-flipt-accept-server-version": "1.47.0"}
"""What SDKs of today say they understand. To older ones v1 leaves default variants out of its snapshot, and whoever is
served by one would be overlooked."""


class FliptSnapshotReader:
    """The `SnapshotReader` of one Flipt replica."""

    def __init__(self, http: FliptHttp) -> None:
        self._http = http
        self.replica = http.base_url

    def snapshot(self, ref: FlagRef, *, deadline: float) -> FlagConfig:
        """See `SnapshotReader.snapshot`."""
        path = f"/internal/v1/evaluation/snapshot/namespace/{quote(ref.namespace, safe='')}"
        headers = {"x-flipt-environment": ref.environment, **SERVER_VERSION}
        body = self._http.retry(
            lambda: self._http.request("GET", path, headers=headers, deadline=deadline).body, deadline=deadline
        )
        if ref.environment != DEFAULT_ENVIRONMENT and "digest" not in body:
            # v1 knows no environments and answers for its only one; its snapshots have no digest.
            raise FlagMissing(f"{self.replica} knows no environment {ref.environment}: it is a Flipt v1.")
        namespace = body.get("namespace")
        if isinstance(namespace, dict) and namespace.get("key", ref.namespace) != ref.namespace:
            raise StoreRefused(f"{self.replica} was asked for namespace {ref.namespace} and answered for another.")
        try:
            return flag_from_snapshot(body, ref.flag_key)
        except FlagMissing as missing:
            # v1 answers like this for a namespace that does not exist.
            raise FlagMissing(f"{ref} is not in the snapshot of {self.replica}.", next=missing.next) from missing


def _flag(
    flag: Json, defects: Iterable[str], *, rollouts: Sequence[Json], rules: Sequence[Json], variants: Mapping[str, str]
) -> FlagConfig:
    found: list[str] = list(defects)
    kind = _TYPES.get(_text(flag, "type"))
    if kind is None:
        found.append(f"its type {_text(flag, 'type')} is unknown")
        kind = FlagType.BOOLEAN
    is_boolean = kind is FlagType.BOOLEAN
    found += _strange(rollouts if is_boolean else rules, are_rollouts=is_boolean)
    return FlagConfig(
        key=_text(flag, "key"),
        type=kind,
        enabled=_flagged(flag, "enabled"),
        rollouts=tuple(rollout_from(one) for one in rollouts) if is_boolean else (),
        rules=() if is_boolean else tuple(_rule(one, variants) for one in rules),
        default_variant=_default_variant(flag),
        variants=tuple(_text(one, "key") for one in _list(flag, "variants")),
        description=_text(flag, "description"),
        segments=_inline_segments([*rollouts, *rules]),
        defects=tuple(found),
        wire=flag,
    )


def _rule(entry: Json, variants: Mapping[str, str]) -> Rule:
    return Rule(
        segments=_segment_keys(entry),
        distributions=tuple(_distribution(one, variants) for one in _list(entry, "distributions")),
        operator=_operator(entry),
        wire=entry,
    )


def _strange(entries: Iterable[Json], *, are_rollouts: bool) -> Iterable[str]:
    """What in these rollouts or rules this program does not know, as defects."""
    for number, entry in enumerate(entries, 1):
        kind = _text(entry, "type")
        if are_rollouts and not {"threshold", "segment"} & entry.keys() and kind not in _ROLLOUT_TYPES:
            yield f"its rollout {number} is of the unknown kind {kind or '(none)'}"
        operator = _text(_object(entry, "segment") if are_rollouts else entry, "segmentOperator")
        if operator not in _OPERATORS:
            yield f"its {'rollout' if are_rollouts else 'rule'} {number} has the unknown operator {operator}"


def _distribution(entry: Json, variants: Mapping[str, str]) -> Distribution:
    """v1 names a variant by its id, v2 and the snapshot by its key."""
    named = _text(entry, "variant") or _text(entry, "variantKey")
    by_id = _text(entry, "variantId")
    return Distribution(variant=named or variants.get(by_id, by_id), rollout=_number(entry, "rollout"))


def _default_variant(flag: Json) -> str | None:
    """v2 gives the key, v1 and the snapshot the whole variant."""
    value = flag.get("defaultVariant")
    if isinstance(value, Mapping):
        value = value.get("key")
    return value if isinstance(value, str) and value else None


def _segment_keys(entry: Json) -> tuple[str, ...]:
    """`segments` holds keys (v2) or whole segments (snapshot); v1 has `segmentKey` for one, `segmentKeys` for more."""
    listed = entry.get("segments") or []
    if not isinstance(listed, list):
        raise StoreRefused("Flipt answered with segments that are no list.")
    keys = [_text(one, "key") if isinstance(one, Mapping) else str(one) for one in listed]
    keys += [str(one) for one in entry.get("segmentKeys") or []]
    keys.append(_text(entry, "segmentKey"))
    return tuple(dict.fromkeys(key for key in keys if key))


def _inline_segments(entries: Iterable[Json]) -> dict[str, Segment]:
    """The segments that stand inside rollouts (under `segment`) and rules, as snapshots have them."""
    found: dict[str, Segment] = {}
    for entry in entries:
        holder = entry.get("segment") if isinstance(entry.get("segment"), Mapping) else entry
        for one in holder.get("segments") or [] if isinstance(holder, Mapping) else []:
            if isinstance(one, Mapping) and "key" in one:
                found.setdefault(_text(one, "key"), segment_from(one))
    return found


def _constraint(entry: Json) -> Constraint:
    kind = _text(entry, "type")
    for suffix in _SUFFIXES:
        kind = kind.removesuffix(suffix)
    return Constraint(
        type=kind.lower(),
        property=_text(entry, "property"),
        operator=_text(entry, "operator"),
        value=_text(entry, "value"),
    )


def _operator(entry: Json) -> Operator:
    return _OPERATORS.get(_text(entry, "segmentOperator"), Operator.OR)


def _rank(entry: Json) -> float:
    return _number(entry, "rank")


def _unique_ranks(ordered: Sequence[Json]) -> list[str]:
    ranks = [_rank(entry) for entry in ordered]
    defects = [f"its rank {ranks[0]:g} is negative: every evaluation fails"] if ranks and ranks[0] < 0 else []
    twice = sorted({rank for rank in ranks if ranks.count(rank) > 1})
    return defects + [f"its rank {rank:g} is there more than once: the order is open" for rank in twice]


def _rising_ranks(listed: Sequence[Json]) -> list[str]:
    """As Flipt evaluates: a rank below the one before it, or below zero, is an error for every entity."""
    last = 0.0
    for entry in listed:
        rank = _rank(entry)
        if rank < last:
            return [f"its rank {rank:g} is out of order: every evaluation fails"]
        last = rank
    return []


def _object(entry: Json, name: str) -> Json:
    value = entry.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise StoreRefused(f"Flipt answered with a {name} that is no object.")
    return value


def _list(entry: Json, name: str) -> Sequence[Json]:
    value = entry.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise StoreRefused(f"Flipt answered with {name} that are no list of objects.")
    return value


def _text(entry: Json, name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _flagged(entry: Json, name: str) -> bool:
    return entry.get(name) is True


def _plain(number: float) -> float | int:
    """Whole numbers are written as such."""
    return int(number) if float(number).is_integer() else number


def _number(entry: Json, name: str) -> float:
    """A number; JSON made from protocol buffers has NaN and Infinity as text."""
    value = entry.get(name, 0.0)
    try:
        return float(value if value is not None else 0.0)
    except (TypeError, ValueError) as error:
        raise StoreRefused(f"Flipt answered with a {name} that is no number.") from error
