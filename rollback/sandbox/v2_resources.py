"""v2's resources: flags and segments as JSON payloads, and what is refused when they are put."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from rollback.sandbox.model import (
    ALL,
    AND,
    ANY,
    BOOLEAN,
    OR,
    SEGMENT,
    THRESHOLD,
    VARIANT,
    Constraint,
    Distribution,
    Environment,
    Flag,
    Namespace,
    Rollout,
    Rule,
    Segment,
    Variant,
)
from rollback.sandbox.rpc import INTERNAL, Body, RpcError, invalid, not_found, plain, quoted, shortest
from rollback.sandbox.v1_segments import COMPARED, COMPARISON_TYPES, LISTED, OPERATORS

KEY = re.compile(r"[-_,A-Za-z0-9]+\Z")
ROLLOUT_TYPES = ("UNKNOWN_ROLLOUT_TYPE", SEGMENT, THRESHOLD)
V2_OPERATORS = {
    **OPERATORS,
    "DATETIME": COMPARED,
    "ENTITY_ID": OPERATORS["STRING"],
}
LISTS = frozenset(LISTED)
T = TypeVar("T", Flag, Segment)


class Kind(ABC, Generic[T]):
    """One type of resource: how it is found, read, written and checked."""

    type: str
    word: str

    @abstractmethod
    def of(self, namespace: Namespace) -> Iterable[T]:
        """All of them in a namespace."""

    @abstractmethod
    def has(self, namespace: Namespace, key: str) -> bool:
        """Is there one with this key?"""

    @abstractmethod
    def put(self, namespace: Namespace, thing: T) -> Namespace:
        """The namespace with this one put in."""

    @abstractmethod
    def without(self, namespace: Namespace, key: str) -> Namespace:
        """The namespace without that one. RpcError (400) when it is in use."""

    @abstractmethod
    def read(self, payload: Body, key: str, namespace: Namespace) -> T:
        """The resource of a payload. RpcError (400 or 500) when it is refused."""

    @abstractmethod
    def payload(self, thing: T) -> dict[str, Any]:
        """The resource as JSON."""

    def resource(self, thing: T, namespace_key: str) -> dict[str, Any]:
        """The resource with its place."""
        return {"namespaceKey": namespace_key, "key": thing.key, "payload": self.payload(thing)}

    def find(self, environment: Environment, namespace_key: str, key: str) -> T:
        """The one with this key. RpcError (404)."""
        namespace = environment.namespaces.get(namespace_key)
        for thing in () if namespace is None else self.of(namespace):
            if thing.key == key:
                return thing
        where = f"{self.word} {namespace_key}/{key}"
        raise not_found(f"getting {where}: {where}")

    def putting(self, namespace_key: str, key: str) -> str:
        """How errors of a put begin."""
        return f"putting {self.word} {namespace_key}/{key}"

    def refuse(self, namespace: Namespace, key: str, field: str, why: str) -> RpcError:
        """What v2's schema refuses is a 500, code 13."""
        return RpcError(INTERNAL, f"{self.putting(namespace.key, key)}: {field}: {why}")


class SegmentKind(Kind[Segment]):
    """Segments."""

    type = "flipt.core.Segment"
    word = "segment"

    def of(self, namespace: Namespace) -> Iterable[Segment]:
        return namespace.segments.values()

    def has(self, namespace: Namespace, key: str) -> bool:
        return key in namespace.segments

    def put(self, namespace: Namespace, thing: Segment) -> Namespace:
        return namespace.with_segment(thing)

    def without(self, namespace: Namespace, key: str) -> Namespace:
        for flag in namespace.flags.values():
            places = [(f"rule {number}", one.segment_keys) for number, one in enumerate(flag.rules, 1)]
            places += [(f"rollout {number}", one.segment_keys) for number, one in enumerate(flag.rollouts, 1)]
            for place, keys in places:
                if key in keys:
                    raise invalid(
                        f"deleting segment {namespace.key}/{key}: segment {quoted(key)} is in use by "
                        f"flag {quoted(flag.key)} {place}"
                    )
        return namespace.without_segment(key)

    def read(self, payload: Body, key: str, namespace: Namespace) -> Segment:
        self._check_name(payload, key, namespace)
        constraints = []
        for number, one in enumerate(payload.each("constraints")):
            constraint = Constraint(
                one.choice("type", COMPARISON_TYPES),
                one.text("property"),
                one.text("operator"),
                one.text("value"),
                one.text("description"),
            )
            self._check(constraint, f"segments.constraints.{number}", key, namespace)
            constraints.append(constraint)
        return Segment(
            key,
            payload.text("name"),
            payload.text("description"),
            payload.choice("matchType", (ALL, ANY)),
            tuple(constraints),
        )

    def _check_name(self, payload: Body, key: str, namespace: Namespace) -> None:
        if not KEY.match(key):
            raise self.refuse(namespace, key, "segments.key", out_of_bound(key))
        if not payload.text("name"):
            raise self.refuse(namespace, key, "segments.name", out_of_bound(""))

    def _check(self, constraint: Constraint, field: str, key: str, namespace: Namespace) -> None:
        kind = constraint.type.removesuffix("_COMPARISON_TYPE")
        if constraint.operator not in V2_OPERATORS.get(kind, ()):
            why = f"invalid operator {quoted(constraint.operator)} for {constraint.type}"
            raise self.refuse(namespace, key, field, why)
        if not constraint.property:
            raise self.refuse(namespace, key, f"{field}.property", out_of_bound(""))

    def payload(self, thing: Segment) -> dict[str, Any]:
        return {
            "@type": self.type,
            "key": thing.key,
            "matchType": thing.match_type,
            "name": thing.name,
            "description": thing.description,
            "constraints": [
                {
                    "type": one.type,
                    "property": one.property,
                    "operator": one.operator,
                    "value": one.value,
                    "description": one.description,
                }
                for one in thing.constraints
            ],
        }


class FlagKind(Kind[Flag]):
    """Flags."""

    type = "flipt.core.Flag"
    word = "flag"

    def of(self, namespace: Namespace) -> Iterable[Flag]:
        return namespace.flags.values()

    def has(self, namespace: Namespace, key: str) -> bool:
        return key in namespace.flags

    def put(self, namespace: Namespace, thing: Flag) -> Namespace:
        return namespace.with_flag(thing)

    def without(self, namespace: Namespace, key: str) -> Namespace:
        return namespace.without_flag(key)

    def read(self, payload: Body, key: str, namespace: Namespace) -> Flag:
        variants = tuple(self._variant(one, key, namespace) for one in payload.each("variants"))
        chosen = payload.text("defaultVariant")
        ids = {variant.key: variant.id for variant in variants}
        rules = [self._rule(one, rank, ids, key, namespace) for rank, one in enumerate(payload.each("rules"), 1)]
        rollouts = [self._rollout(one, rank, key, namespace) for rank, one in enumerate(payload.each("rollouts"), 1)]
        if not KEY.match(key):
            raise self.refuse(namespace, key, "flags.key", out_of_bound(key))
        if not payload.text("name"):
            raise self.refuse(namespace, key, "flags.name", out_of_bound(""))
        return Flag(
            key,
            payload.text("name"),
            payload.choice("type", (VARIANT, BOOLEAN)),
            payload.text("description"),
            payload.flag("enabled"),
            payload.struct("metadata") or None,
            ids.get(chosen, ""),
            variants,
            tuple(rules),
            tuple(rollouts),
        )

    def _variant(self, one: Body, key: str, namespace: Namespace) -> Variant:
        attachment = one.raw("attachment")
        if attachment is not None and not isinstance(attachment, dict | list):
            why = f"conflicting values {quoted(str(attachment))} and {{...}}"
            raise self.refuse(namespace, key, "flags.variants.attachment", why)
        if not one.text("key"):
            raise self.refuse(namespace, key, "flags.variants.key", out_of_bound(""))
        text = "" if attachment is None else json.dumps(plain(attachment), separators=(",", ":"))
        return Variant(one.text("key"), one.text("name"), one.text("description"), text)

    def _rule(self, one: Body, rank: int, ids: dict[str, str], key: str, namespace: Namespace) -> Rule:
        segments = one.texts("segments")
        self._check_segments(segments, f"rule {rank}", key, namespace)
        shares = []
        for share in one.each("distributions"):
            name, rollout = share.text("variant"), share.number("rollout")
            if name not in ids:
                where = f"flag {namespace.key}/{key} rule {rank}"
                raise invalid(f"{where} references unknown variant {quoted(name)}")
            if not 0 <= rollout <= 100:
                why = f"invalid value {shortest(rollout)} (out of bound <=100)"
                raise self.refuse(namespace, key, "flags.rules.distributions.rollout", why)
            shares.append(Distribution(ids[name], rollout))
        return Rule(segments, rank, one.choice("segmentOperator", (OR, AND)), tuple(shares))

    def _rollout(self, one: Body, rank: int, key: str, namespace: Namespace) -> Rollout:
        description = one.text("description")
        threshold, segment = one.nested("threshold") or Body({}), one.nested("segment") or Body({})
        match one.choice("type", ROLLOUT_TYPES):
            case "THRESHOLD_ROLLOUT_TYPE":
                percentage, value = threshold.number("percentage"), threshold.flag("value")
                return Rollout(THRESHOLD, rank, value, percentage=percentage, description=description)
            case "SEGMENT_ROLLOUT_TYPE":
                keys, value = segment.texts("segments"), segment.flag("value")
                self._check_segments(keys, f"rollout {rank}", key, namespace)
                operator = segment.choice("segmentOperator", (OR, AND))
                return Rollout(SEGMENT, rank, value, segment_keys=keys, operator=operator, description=description)
        unknown = quoted(ROLLOUT_TYPES[0])
        raise RpcError(INTERNAL, f"{self.putting(namespace.key, key)}: unexpected rollout type: {unknown}")

    def _check_segments(self, keys: Iterable[str], where: str, key: str, namespace: Namespace) -> None:
        for name in keys:
            if name not in namespace.segments:
                raise invalid(
                    f"{self.putting(namespace.key, key)}: flag {namespace.key}/{key} {where} references "
                    f"unknown segment {quoted(name)}"
                )

    def payload(self, thing: Flag) -> dict[str, Any]:
        chosen = thing.variant(thing.default_variant_id)
        return {
            "@type": self.type,
            "key": thing.key,
            "type": thing.type,
            "name": thing.name,
            "description": thing.description,
            "enabled": thing.enabled,
            "variants": [variant_payload(one) for one in thing.variants],
            "rules": [rule_payload(one, thing) for one in thing.rules],
            "rollouts": [rollout_payload(one) for one in thing.rollouts],
            **({} if chosen is None else {"defaultVariant": chosen.key}),
            **({"metadata": thing.metadata} if thing.metadata else {}),
        }


def variant_payload(variant: Variant) -> dict[str, Any]:
    """A variant; without an attachment the field is left out."""
    attachment = {"attachment": json.loads(variant.attachment)} if variant.attachment else {}
    return {"key": variant.key, "name": variant.name, "description": variant.description, **attachment}


def rule_payload(rule: Rule, flag: Flag) -> dict[str, Any]:
    """A rule, whose distributions name variants by key."""
    keys = {variant.id: variant.key for variant in flag.variants}
    shares = [{"variant": keys.get(one.variant_id, ""), "rollout": shortest(one.rollout)} for one in rule.distributions]
    return {
        "segmentOperator": rule.operator,
        "segments": list(rule.segment_keys),
        "distributions": shares,
    }


def rollout_payload(rollout: Rollout) -> dict[str, Any]:
    """A rollout; v2 gives it neither id nor rank."""
    if rollout.type == THRESHOLD:
        threshold = {"percentage": shortest(rollout.percentage), "value": rollout.value}
        return {"type": rollout.type, "description": rollout.description, "threshold": threshold}
    segment = {
        "value": rollout.value,
        "segments": list(rollout.segment_keys),
        "segmentOperator": rollout.operator,
    }
    return {"type": rollout.type, "description": rollout.description, "segment": segment}


def out_of_bound(value: str) -> str:
    """How v2's schema says that a text does not fit."""
    return f'invalid value {quoted(value)} (out of bound =~"^.+$")'


KINDS: dict[str, Kind[Any]] = {kind.type: kind for kind in (FlagKind(), SegmentKind())}
