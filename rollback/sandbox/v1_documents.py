"""How v1's management API writes flags, segments and what hangs on them, and how it cuts lists into pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rollback.sandbox.evaluation import compact
from rollback.sandbox.model import (
    THRESHOLD,
    Constraint,
    Distribution,
    Flag,
    Namespace,
    Rollout,
    Rule,
    Segment,
    Stamped,
    Variant,
)
from rollback.sandbox.rpc import invalid, quoted, shortest, stamp
from rollback.sandbox.wire import json_bytes


def times(thing: Stamped) -> dict[str, str]:
    """The two times that everything carries."""
    return {"createdAt": stamp(thing.created_at), "updatedAt": stamp(thing.updated_at)}


def namespace_document(namespace: Namespace) -> dict[str, Any]:
    """A namespace."""
    return {
        "key": namespace.key,
        "name": namespace.name,
        "description": namespace.description,
        "protected": namespace.protected,
        **times(namespace),
    }


def flag_document(flag: Flag, namespace_key: str, listed: bool = False) -> dict[str, Any]:
    """A flag with its variants. Metadata never set: left out, but `{}` in a list (measured)."""
    metadata = flag.metadata if flag.metadata is not None or not listed else {}
    chosen = flag.variant(flag.default_variant_id)
    return {
        "key": flag.key,
        "name": flag.name,
        "description": flag.description,
        "enabled": flag.enabled,
        **times(flag),
        "variants": [variant_document(one, flag, namespace_key) for one in flag.variants],
        "namespaceKey": namespace_key,
        "type": flag.type,
        **({} if chosen is None else {"defaultVariant": variant_document(chosen, flag, namespace_key)}),
        **({} if metadata is None else {"metadata": metadata}),
    }


def variant_document(variant: Variant, flag: Flag, namespace_key: str) -> dict[str, Any]:
    """A variant of a flag."""
    return {
        "id": variant.id,
        "flagKey": flag.key,
        "key": variant.key,
        "name": variant.name,
        "description": variant.description,
        **times(variant),
        "attachment": compact(variant.attachment) if variant.attachment else "",
        "namespaceKey": namespace_key,
    }


def segment_keys(keys: Sequence[str]) -> dict[str, Any]:
    """One segment goes under `segmentKey`, several under `segmentKeys`; the other one is empty."""
    alone = keys[0] if len(keys) == 1 else ""
    return {"segmentKey": alone, "segmentKeys": [] if alone else list(keys)}


def rule_document(rule: Rule, flag_key: str, namespace_key: str) -> dict[str, Any]:
    """A rule with its distributions."""
    return {
        "id": rule.id,
        "flagKey": flag_key,
        "distributions": [distribution_document(one, rule.id) for one in rule.distributions],
        "rank": rule.rank,
        **times(rule),
        "namespaceKey": namespace_key,
        **segment_keys(rule.segment_keys),
        "segmentOperator": rule.operator,
    }


def distribution_document(one: Distribution, rule_id: str) -> dict[str, Any]:
    """A distribution of a rule."""
    return {
        "id": one.id,
        "ruleId": rule_id,
        "variantId": one.variant_id,
        "rollout": shortest(one.rollout),
        **times(one),
    }


def rollout_document(rollout: Rollout, flag_key: str, namespace_key: str) -> dict[str, Any]:
    """A rollout."""
    if rollout.type == THRESHOLD:
        body: dict[str, Any] = {"threshold": {"percentage": shortest(rollout.percentage), "value": rollout.value}}
    else:
        keys = segment_keys(rollout.segment_keys)
        body = {"segment": {**keys, "value": rollout.value, "segmentOperator": rollout.operator}}
    return {
        "id": rollout.id,
        "namespaceKey": namespace_key,
        "flagKey": flag_key,
        "type": rollout.type,
        "rank": rollout.rank,
        "description": rollout.description,
        **times(rollout),
        **body,
    }


def segment_document(segment: Segment, namespace_key: str) -> dict[str, Any]:
    """A segment with its constraints."""
    return {
        "key": segment.key,
        "name": segment.name,
        "description": segment.description,
        **times(segment),
        "constraints": [constraint_document(one, segment.key, namespace_key) for one in segment.constraints],
        "matchType": segment.match_type,
        "namespaceKey": namespace_key,
    }


def constraint_document(one: Constraint, segment_key: str, namespace_key: str) -> dict[str, Any]:
    """A constraint of a segment."""
    return {
        "id": one.id,
        "segmentKey": segment_key,
        "type": one.type,
        "property": one.property,
        "operator": one.operator,
        "value": one.value,
        **times(one),
        "namespaceKey": namespace_key,
        "description": one.description,
    }


def page(
    name: str,
    things: Sequence[tuple[str, dict[str, Any]]],
    query: Mapping[str, str],
    declarative: bool = False,
) -> dict[str, Any]:
    """One page of a list of (key, document). RpcError (400) for a limit or token that makes no sense.

    The token is opaque: the database hands out one in base64, declarative storage a plain number.
    """
    try:
        limit = int(query.get("limit") or 0)
    except ValueError as error:
        raise invalid(f'parsing field "limit": {error}') from error
    token = query.get("pageToken") or query.get("page_token") or ""
    if token and limit == 0:
        raise invalid("limit must be set when offset or pageToken is set")
    start = read_token(token, declarative)
    documents = [document for _, document in things]
    end = start + limit if limit else len(documents)
    more = end < len(documents)
    key = things[end][0] if more else ""
    return {
        name: documents[start:end],
        "nextPageToken": write_token(key, end, declarative) if more else "",
        "totalCount": len(documents),
    }


def write_token(key: str, offset: int, declarative: bool) -> str:
    """A token for the page that starts at `offset`."""
    if declarative:
        return str(offset)
    return base64.b64encode(json_bytes({"key": key, "offset": offset})).decode()


def read_token(token: str, declarative: bool) -> int:
    """Where the page of this token starts; 0 for "". RpcError (400) for a token that is none."""
    if not token:
        return 0
    try:
        return int(token) if declarative else int(json.loads(base64.b64decode(token))["offset"])
    except (ValueError, KeyError, TypeError) as error:
        raise invalid(f"pageToken is not valid: {quoted(token)}") from error
