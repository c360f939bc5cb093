"""What SDKs read: all flags of a namespace in one document, with the segments written out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rollback.sandbox.documents import content_of
from rollback.sandbox.evaluation import Evaluator
from rollback.sandbox.model import BOOLEAN, THRESHOLD, Environment, Flag, Namespace, Rollout, Segment
from rollback.sandbox.rpc import not_found, quoted, shortest, stamp
from rollback.sandbox.wire import json_bytes

Snapshot = dict[str, Any]

BEFORE_THE_HEADER = (1, 37, 1)
KNOWS_ENTITY_ID = (1, 38, 0)
KNOWS_DEFAULT_VARIANT = (1, 47, 0)


def etag_v1(namespace: Namespace | None) -> str:
    """v1's etag: of the namespace's version; "" while nothing was written there."""
    if namespace is None or not namespace.version:
        return ""
    return hashlib.sha1(namespace.version.encode(), usedforsecurity=False).hexdigest()


def accepted_version(header: str) -> tuple[int, ...]:
    """What a client's `X-Flipt-Accept-Server-Version` says; without it v1 takes the client for an old one."""
    parts = header.removeprefix("v").split(".")
    if not header or not all(part.isdecimal() for part in parts):
        return BEFORE_THE_HEADER
    return (*(int(part) for part in parts), 0, 0)[:3]


def snapshot_v1(namespace: Namespace | None, key: str, accepted: tuple[int, ...]) -> Snapshot:
    """v1's snapshot for a client of this version; a namespace that is not there has one without flags."""
    if namespace is None:
        return {"namespace": {"key": key}, "flags": []}
    builder = SnapshotV1(namespace, accepted)
    return {"namespace": {"key": key}, "flags": [builder.flag(one) for one in namespace.flags.values()]}


class SnapshotV1:
    """Builds v1's snapshot. What belongs to rollouts has no ids there, what belongs to rules has.

    A client that does not say that it knows them gets no default variants (1.47), and constraints on the entity
    id as ones of an unknown type (1.38), which never hold.
    """

    def __init__(self, namespace: Namespace, accepted: tuple[int, ...]) -> None:
        self._accepted = accepted
        self._evaluator = Evaluator(namespace, "v1")
        self._seen: dict[str, dict[str, Any]] = {}

    def flag(self, flag: Flag) -> dict[str, Any]:
        """One flag."""
        document = head(flag, flag.name, flag.description, flag.created_at, flag.updated_at)
        boolean = flag.type == BOOLEAN
        document["rules"] = [] if boolean else self._rules(flag)
        document["rollouts"] = [self._rollout(one) for one in flag.rollouts] if boolean else []
        chosen = flag.variant(flag.default_variant_id)
        if chosen is not None and not boolean and self._accepted >= KNOWS_DEFAULT_VARIANT:
            attachment = self._evaluator.attachment(chosen.attachment)
            document["defaultVariant"] = {"id": chosen.id, "key": chosen.key, "attachment": attachment}
        return document

    def _rules(self, flag: Flag) -> list[dict[str, Any]]:
        """v1 writes a rule once per segment, with all segments and as many sets of distributions."""
        rules: list[dict[str, Any]] = []
        for rule in flag.rules:
            segments = self._evaluator.rule_segments(rule)
            distributions = []
            for one in rule.distributions:
                variant = flag.variant(one.variant_id)
                assert variant is not None, "a distribution of a variant that is not there"
                share = {
                    "id": "",
                    "ruleId": "",
                    "variantId": variant.id,
                    "variantKey": variant.key,
                    "variantAttachment": self._evaluator.attachment(variant.attachment),
                    "rollout": shortest(one.rollout),
                }
                distributions.append(share)
            document = {
                "id": rule.id,
                "segments": [self._segment(one, with_ids=True) for one in segments],
                "rank": rule.rank,
                "segmentOperator": rule.operator,
                "distributions": distributions * len(segments),
            }
            rules += [document] * len(segments)
        return rules

    def _rollout(self, rollout: Rollout) -> dict[str, Any]:
        segments = [self._segment(one, False) for one in self._evaluator.segments(rollout.segment_keys)]
        return rollout_document(rollout, rollout.rank, segments)

    def _segment(self, segment: Segment, with_ids: bool) -> dict[str, Any]:
        """A segment; the first use in a snapshot decides for all whether its constraints carry ids."""
        if segment.key not in self._seen:
            ids = [one.id if with_ids else "" for one in segment.constraints]
            document = segment_document(segment, ids)
            if self._accepted < KNOWS_ENTITY_ID:
                for one in document["constraints"]:
                    one["type"] = one["type"].replace("ENTITY_ID", "UNKNOWN")
            self._seen[segment.key] = document
        return self._seen[segment.key]


def snapshot_v2(environment: Environment, key: str) -> Snapshot:
    """v2's snapshot, with its digest. RpcError (404) for a namespace that has no file."""
    namespace = environment.namespaces.get(key)
    if namespace is None or not namespace.documented:
        raise not_found(f"evaluation snapshot for namespace {quoted(key)}")
    flags = [flag_v2(flag, namespace, environment.built_at) for flag in namespace.flags.values()]
    return {"namespace": {"key": key}, "flags": flags, "digest": digest_of(namespace)}


def flag_v2(flag: Flag, namespace: Namespace, built_at: datetime) -> dict[str, Any]:
    """One flag of v2's snapshot: without name and description, dated when the snapshot was built."""
    evaluator = Evaluator(namespace, "v2")
    document = head(flag, "", "", built_at, built_at)
    rules = []
    for rank, rule in enumerate(flag.rules, 1):
        distributions = []
        for one in rule.distributions:
            variant = flag.variant(one.variant_id)
            assert variant is not None, "a distribution of a variant that is not there"
            share = {
                "ruleId": rule.id,
                "variantKey": variant.key,
                "variantAttachment": evaluator.attachment(variant.attachment),
                "rollout": shortest(one.rollout),
            }
            distributions.append(share)
        segments = [segment_document(one) for one in evaluator.rule_segments(rule)]
        rules.append(
            {
                "id": rule.id,
                "segments": segments,
                "rank": rank,
                "segmentOperator": rule.operator,
                "distributions": distributions,
            }
        )
    document["rules"] = rules
    document["rollouts"] = [
        rollout_document(rollout, rank, [segment_document(one) for one in evaluator.segments(rollout.segment_keys)])
        for rank, rollout in enumerate(flag.rollouts, 1)
    ]
    chosen = flag.variant(flag.default_variant_id)
    if chosen is not None:
        attachment = evaluator.attachment(chosen.attachment)
        name = f"{flag.key}/{chosen.key}"
        document["defaultVariant"] = {"id": name, "key": chosen.key, "attachment": attachment}
    return document


def head(flag: Flag, name: str, description: str, created_at: datetime, updated_at: datetime) -> dict[str, Any]:
    """The fields of a flag that both versions write first."""
    return {
        "key": flag.key,
        "name": name,
        "description": description,
        "enabled": flag.enabled,
        "type": flag.type,
        "createdAt": stamp(created_at),
        "updatedAt": stamp(updated_at),
    }


def rollout_document(rollout: Rollout, rank: int, segments: list[dict[str, Any]]) -> dict[str, Any]:
    """A rollout of a snapshot; descriptions are not part of it."""
    if rollout.type == THRESHOLD:
        threshold = {"percentage": shortest(rollout.percentage), "value": rollout.value}
        return {"type": rollout.type, "rank": rank, "threshold": threshold}
    segment = {"value": rollout.value, "segmentOperator": rollout.operator, "segments": segments}
    return {"type": rollout.type, "rank": rank, "segment": segment}


def segment_document(segment: Segment, ids: Sequence[str] | None = None) -> dict[str, Any]:
    """A segment of a snapshot, whose enums are named differently from the management API's."""
    constraints = []
    given: Iterable[str | None] = [None] * len(segment.constraints) if ids is None else ids
    for one, constraint_id in zip(segment.constraints, given, strict=True):
        named = {} if constraint_id is None else {"id": constraint_id}
        kind = one.type.replace("_COMPARISON_TYPE", "_CONSTRAINT_COMPARISON_TYPE")
        constraints.append(
            {
                **named,
                "type": kind,
                "property": one.property,
                "operator": one.operator,
                "value": one.value,
            }
        )
    match_type = segment.match_type.replace("_MATCH_TYPE", "_SEGMENT_MATCH_TYPE")
    return {
        "key": segment.key,
        "name": "",
        "description": "",
        "matchType": match_type,
        "constraints": constraints,
    }


def digest_of(namespace: Namespace) -> str:
    """40 hex digits of the content alone: the same content again has the same digest (measured)."""
    return hashlib.sha1(json_bytes(content_of(namespace)), usedforsecurity=False).hexdigest()
