"""What a flag says to one entity, by the rules of Flipt's server.

Boolean: the rollouts in the order of their ranks, then `enabled`. An entity's bucket for every threshold of a
flag is crc32(entity id + flag key) mod 100. Variant: the rules in order, the first that matches decides; the
bucket there is crc32(flag key + entity id) mod 1000. v1 and v2 divide incomplete distributions differently.
"""

from __future__ import annotations

import bisect
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from rollback.sandbox.constraints import (
    Unparsable,
    json_list,
    parse_moment,
    parse_number,
    segment_matches,
)
from rollback.sandbox.model import AND, BOOLEAN, THRESHOLD, VARIANT, Constraint, Flag, Namespace, Rule, Segment
from rollback.sandbox.rpc import INTERNAL, RpcError, float32, invalid

MATCH = "MATCH_EVALUATION_REASON"
DEFAULT_REASON = "DEFAULT_EVALUATION_REASON"
DISABLED = "FLAG_DISABLED_EVALUATION_REASON"
UNKNOWN = "UNKNOWN_EVALUATION_REASON"

PERCENT_BUCKETS = 100
VARIANT_BUCKETS = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom an evaluation is about."""

    entity_id: str
    context: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BooleanResult:
    """What a boolean flag says."""

    enabled: bool
    reason: str
    segment_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What a variant flag says; `variant_key` is "" when it hands out none."""

    match: bool
    reason: str
    variant_key: str = ""
    attachment: str = ""
    segment_keys: tuple[str, ...] = ()


def percent_bucket(entity_id: str, flag_key: str) -> int:
    """The entity's bucket (0 to 99) for every threshold of the flag."""
    return zlib.crc32((entity_id + flag_key).encode()) % PERCENT_BUCKETS


def variant_bucket(entity_id: str, flag_key: str) -> int:
    """The entity's bucket (0 to 999) for the distributions of the flag."""
    return zlib.crc32((flag_key + entity_id).encode()) % VARIANT_BUCKETS


class Evaluator:
    """Evaluates the flags of one namespace as the server of one API version does."""

    def __init__(self, namespace: Namespace, api: str) -> None:
        self._namespace = namespace
        self._api = api

    def boolean(self, flag: Flag, asked: Asked) -> BooleanResult:
        """RpcError: the flag is no boolean (400), or its ranks are out of order (500)."""
        if flag.type != BOOLEAN:
            raise invalid(f"flag type {flag.type} invalid")
        last_rank = 0
        for rollout in flag.rollouts:
            if rollout.rank < last_rank:
                raise RpcError(INTERNAL, f"rollout rank: {rollout.rank} detected out of order")
            last_rank = rollout.rank
            if rollout.type == THRESHOLD:
                if percent_bucket(asked.entity_id, flag.key) < rollout.percentage:
                    return BooleanResult(rollout.value, MATCH)
                continue
            matched = self._matched(rollout.segment_keys, rollout.operator, asked)
            if matched is not None:
                return BooleanResult(rollout.value, MATCH, matched)
        return BooleanResult(flag.enabled, DEFAULT_REASON)

    def variant(self, flag: Flag, asked: Asked) -> VariantResult:
        """RpcError (400): the flag has no variants, or its rules' ranks are out of order."""
        if flag.type != VARIANT:
            raise invalid(f"flag type {flag.type} invalid")
        chosen = flag.variant(flag.default_variant_id)
        key, attachment = ("", "") if chosen is None else (chosen.key, self.attachment(chosen.attachment))
        reason = UNKNOWN if chosen is None else DEFAULT_REASON
        if not flag.enabled:
            return VariantResult(False, DISABLED, key, attachment)
        last_rank = 0
        for rule in flag.rules:
            if rule.rank < last_rank:
                raise invalid(f"rule rank: {rule.rank} detected out of order")
            last_rank = rule.rank
            matched = self._matched(rule.segment_keys, rule.operator, asked)
            if matched is None:
                continue
            shares = [one for one in rule.distributions if one.rollout > 0]
            if not shares:
                return VariantResult(True, MATCH, key, attachment, matched)
            bounds = self.bounds([one.rollout for one in shares])
            index = bisect.bisect_left(bounds, variant_bucket(asked.entity_id, flag.key) + 1)
            if index == len(shares):
                return VariantResult(False, reason, key, attachment, matched)
            variant = flag.variant(shares[index].variant_id)
            assert variant is not None, "a distribution of a variant that is not there"
            return VariantResult(True, MATCH, variant.key, self.attachment(variant.attachment), matched)
        return VariantResult(False, reason, key, attachment)

    def bounds(self, shares: list[float]) -> list[int]:
        """Upper bounds of the buckets (of 1000) that each share gets, in the server's 32-bit arithmetic.

        v1 takes shares as they are, so that 30 + 30 leaves 400 buckets without a variant; v2 stretches them.
        """
        bounds: list[int] = []
        if self._api == "v1":
            for share in shares:
                bounds.append((bounds[-1] if bounds else 0) + int(float32(share * 10)))
            return bounds
        total = summed = 0.0
        for share in shares:
            total = float32(total + share)
        for share in shares:
            summed = float32(summed + float32(float32(share / total) * 100))
            bounds.append(int(float32(summed * 10)))
        bounds[-1] = VARIANT_BUCKETS
        return bounds

    def attachment(self, text: str) -> str:
        """A variant's attachment as evaluations give it: compact JSON. v2 says `null` where there is none."""
        if not text:
            return "" if self._api == "v1" else "null"
        return compact(text)

    def segments(self, keys: Iterable[str]) -> list[Segment]:
        """The segments that take part. v2 leaves out one whose constraint it cannot parse."""
        found = [self._namespace.segments[key] for key in keys if key in self._namespace.segments]
        if self._api == "v1":
            return found
        return [one for one in found if not any(malformed(constraint) for constraint in one.constraints)]

    def rule_segments(self, rule: Rule) -> list[Segment]:
        """The segments of a rule that take part."""
        return self.segments(rule.segment_keys)

    def _matched(self, keys: tuple[str, ...], operator: str, asked: Asked) -> tuple[str, ...] | None:
        """The segments that match, or None when too few do."""
        segments = self.segments(keys)
        matched = tuple(one.key for one in segments if segment_matches(one, asked.context, asked.entity_id))
        enough = len(matched) == len(segments) if operator == AND else bool(matched)
        return matched if enough else None


def compact(text: str) -> str:
    """JSON text without white space; as it is when it is no JSON."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        return text


def malformed(constraint: Constraint) -> bool:
    """Can v2 not prepare this constraint: a list or a number or a date that it cannot read?"""
    kind = constraint.type.removesuffix("_COMPARISON_TYPE")
    try:
        if constraint.operator in ("isoneof", "isnotoneof"):
            if kind in ("STRING", "ENTITY_ID"):
                json_list(constraint.value, str)
            elif kind == "NUMBER":
                json_list(constraint.value, int, float)
        elif constraint.operator in ("eq", "neq", "lt", "lte", "gt", "gte") and constraint.value:
            if kind == "NUMBER":
                parse_number(constraint.value)
            elif kind == "DATETIME":
                parse_moment(constraint.value)
    except Unparsable:
        return True
    return False
