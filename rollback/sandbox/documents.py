"""Plain dictionaries in the shape of Flipt's declarative files, and the states they describe.

Both shapes are read: the one of v1's files (`segment: {key: ...}`, `attachment` as JSON text) and the one
that v2 writes into its repository (`namespace: {key, name}`, `segment: {keys, operator, value}`,
`default: true` on a variant, false or zero values left out). What a dump adds (ids, ranks, times) is read back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any, TypeVar

from rollback.sandbox.model import (
    DEFAULT,
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
    Stamped,
    State,
    Variant,
    default_namespace,
    empty_environment,
    new_id,
    new_revision,
)
from rollback.sandbox.rpc import float32, plain, shortest, stamp

Document = Mapping[str, Any]
T = TypeVar("T", bound=Stamped)


class SeedError(ValueError):
    """The dictionary does not describe flags."""


def read_state(seed: Document | Iterable[Document] | None, api: str) -> State:
    """The state that a seed describes; every environment has at least the default namespace.

    Accepted: None, `{"namespaces": {...}}`, `{"environments": {name: {"namespaces": {...}}}}`, one
    declarative document, a list of those. Raises SeedError.
    """
    environments = {DEFAULT: empty_environment(DEFAULT, api)}
    try:
        for document in as_documents(seed):
            for key, part in document.get("environments", {DEFAULT: document}).items():
                base = environments.get(key) or empty_environment(key, api)
                environments[key] = read_environment(part, base, api)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SeedError(f"not a description of flags: {error!r}") from error
    return State(environments, version=1)


def as_documents(seed: Document | Iterable[Document] | None) -> list[Document]:
    """The seed as a list of dictionaries."""
    if seed is None:
        return []
    return [seed] if isinstance(seed, Mapping) else list(seed)


def read_environment(part: Document, base: Environment, api: str) -> Environment:
    """`base` with the namespaces of `part` put in."""
    namespaces = dict(base.namespaces)
    for key, fields in namespaces_of(part):
        fresh = default_namespace(api) if key == DEFAULT else Namespace(key, name=key)
        known = namespaces.get(key, fresh)
        namespaces[key] = read_namespace(fields, known)
    return replace(base, namespaces=namespaces, revision=part.get("revision") or new_revision())


def namespaces_of(part: Document) -> list[tuple[str, Document]]:
    """Keys and contents of the namespaces in a seed or in a declarative document."""
    if "namespaces" in part:
        return [(key, fields or {}) for key, fields in part["namespaces"].items()]
    if not {"namespace", "flags", "segments"} & set(part):
        if set(part) - {"version"}:
            raise SeedError(f"neither namespaces nor flags, but {sorted(part)}")
        return []
    named = part.get("namespace") or DEFAULT
    if isinstance(named, Mapping):
        return [(named["key"], {**part, **named})]
    return [(str(named), part)]


def read_namespace(fields: Document, known: Namespace) -> Namespace:
    """`known` with the flags and segments of `fields` put in."""
    segments = {one["key"]: read_segment(one) for one in keyed(fields.get("segments"))}
    flags = {one["key"]: read_flag(one) for one in keyed(fields.get("flags"))}
    return replace(
        stamped(known, fields),
        name=fields.get("name") or known.name,
        description=fields.get("description") or known.description,
        version=fields["version_of_content"] if "version_of_content" in fields else new_id(),
        documented=fields.get("documented", True),
        flags={**known.flags, **flags},
        segments={**known.segments, **segments},
    )


def keyed(entries: Any) -> list[dict[str, Any]]:
    """A list of entries with keys; a mapping from key to fields will do."""
    if isinstance(entries, Mapping):
        return [{"key": key, **(fields or {})} for key, fields in entries.items()]
    return [dict(entry) for entry in entries or []]


def stamped(thing: T, fields: Document) -> T:
    """`thing` with the times of `fields`, where it has any."""
    times = {
        name: datetime.fromisoformat(fields[key])
        for name, key in (("created_at", "createdAt"), ("updated_at", "updatedAt"))
        if key in fields
    }
    return replace(thing, **times) if times else thing


def read_segment(fields: Document) -> Segment:
    """A segment; its match type is ALL when none is given."""
    constraints = tuple(
        stamped(
            Constraint(
                one["type"],
                one["property"],
                one["operator"],
                read_value(one.get("value")),
                one.get("description") or "",
                one.get("id") or new_id(),
            ),
            one,
        )
        for one in fields.get("constraints") or ()
    )
    match_type = fields.get("match_type") or fields.get("matchType") or "ALL_MATCH_TYPE"
    name, description = fields.get("name") or fields["key"], fields.get("description") or ""
    return stamped(Segment(fields["key"], name, description, match_type, constraints), fields)


def read_value(value: Any) -> str:
    """A constraint's value as text: YAML may have taken it for a number, a date or a list."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, date) else json.dumps(value, separators=(",", ":"))


def read_flag(fields: Document) -> Flag:
    """A flag with everything that hangs on it."""
    variants = tuple(read_variant(one) for one in fields.get("variants") or ())
    by_key = {variant.key: variant.id for variant in variants}
    chosen = next((one["key"] for one in fields.get("variants") or () if one.get("default")), "")
    metadata = fields.get("metadata")
    flag = Flag(
        key=fields["key"],
        name=fields.get("name") or fields["key"],
        type=fields.get("type") or VARIANT,
        description=fields.get("description") or "",
        enabled=bool(fields.get("enabled", False)),
        metadata=None if metadata is None else plain(metadata),
        default_variant_id=by_key[chosen] if chosen else "",
        variants=variants,
    )
    rules = tuple(read_rule(one, rank, by_key) for rank, one in enumerate(fields.get("rules") or (), 1))
    rollouts = tuple(read_rollout(one, rank) for rank, one in enumerate(fields.get("rollouts") or (), 1))
    return stamped(flag, fields).with_rules(rules).with_rollouts(rollouts)


def read_variant(fields: Document) -> Variant:
    """A variant; an attachment that is not text becomes JSON. ValueError when it is text, but no JSON."""
    attachment = fields.get("attachment")
    text = "" if attachment is None else read_value(attachment)
    if text:
        json.loads(text)
    key, name, description = fields["key"], fields.get("name") or "", fields.get("description") or ""
    return stamped(Variant(key, name, description, text, fields.get("id") or new_id()), fields)


def read_rule(fields: Document, rank: int, variants: Mapping[str, str]) -> Rule:
    """A rule; `rank` holds unless it has one of its own."""
    keys, operator = read_segment_keys(fields.get("segment", fields))
    distributions = tuple(
        stamped(
            Distribution(variants[one["variant"]], float32(one.get("rollout", 0)), one.get("id") or new_id()),
            one,
        )
        for one in fields.get("distributions") or ()
    )
    own = fields.get("rank")
    rule = Rule(keys, rank if own is None else own, operator, distributions, fields.get("id") or new_id())
    return stamped(rule, fields)


def read_rollout(fields: Document, rank: int) -> Rollout:
    """A rollout; `rank` holds unless it has one of its own."""
    own = fields.get("rank")
    shared: dict[str, Any] = {
        "rank": rank if own is None else own,
        "description": fields.get("description") or "",
        "id": fields.get("id") or new_id(),
    }
    if (threshold := fields.get("threshold")) is not None:
        percentage = float32(threshold.get("percentage", 0))
        rollout = Rollout(THRESHOLD, value=bool(threshold.get("value")), percentage=percentage, **shared)
    else:
        segment = fields["segment"]
        keys, operator = read_segment_keys(segment)
        value = bool(segment.get("value"))
        rollout = Rollout(SEGMENT, value=value, segment_keys=keys, operator=operator, **shared)
    return stamped(rollout, fields)


def read_segment_keys(fields: Any) -> tuple[tuple[str, ...], str]:
    """The segments of a rule or rollout and how they combine. One segment alone is always OR."""
    if isinstance(fields, str):
        return (fields,), OR
    one = fields.get("key") or fields.get("segment")
    keys = (one,) if one else tuple(fields.get("keys") or fields.get("segments") or ())
    operator = fields.get("operator") or fields.get("segment_operator") or OR
    return keys, operator if len(keys) > 1 else OR


def dump_state(state: State) -> dict[str, Any]:
    """The state as a seed that gives it back, with ids, ranks, times and revisions."""
    return {
        "version": state.version,
        "environments": {
            environment.key: {
                "revision": environment.revision,
                "namespaces": {one.key: dump_namespace(one) for one in environment.namespaces.values()},
            }
            for environment in state.environments.values()
        },
    }


def dump_namespace(namespace: Namespace) -> dict[str, Any]:
    """A namespace, in the shape that `read_namespace` takes."""
    return {
        "name": namespace.name,
        "description": namespace.description,
        "version_of_content": namespace.version,
        "documented": namespace.documented,
        **times(namespace),
        "segments": [
            {
                "key": segment.key,
                "name": segment.name,
                "description": segment.description,
                "match_type": segment.match_type,
                **times(segment),
                "constraints": [dump_constraint(one) for one in segment.constraints],
            }
            for segment in namespace.segments.values()
        ],
        "flags": [dump_flag(flag) for flag in namespace.flags.values()],
    }


def dump_constraint(one: Constraint) -> dict[str, Any]:
    """A constraint with its id."""
    return {
        "id": one.id,
        "type": one.type,
        "property": one.property,
        "operator": one.operator,
        "value": one.value,
        "description": one.description,
        **times(one),
    }


def dump_flag(flag: Flag) -> dict[str, Any]:
    """A flag, in the shape that `read_flag` takes."""
    keys = {variant.id: variant.key for variant in flag.variants}
    return {
        "key": flag.key,
        "name": flag.name,
        "type": flag.type,
        "description": flag.description,
        "enabled": flag.enabled,
        **({} if flag.metadata is None else {"metadata": flag.metadata}),
        **times(flag),
        "variants": [
            {
                "id": one.id,
                "key": one.key,
                "name": one.name,
                "description": one.description,
                "attachment": one.attachment or None,
                "default": one.id == flag.default_variant_id,
                **times(one),
            }
            for one in flag.variants
        ],
        "rules": [
            {
                "id": rule.id,
                "rank": rule.rank,
                "segment": {"keys": list(rule.segment_keys), "operator": rule.operator},
                **times(rule),
                "distributions": [
                    {
                        "id": one.id,
                        "variant": keys.get(one.variant_id, ""),
                        "rollout": shortest(one.rollout),
                        **times(one),
                    }
                    for one in rule.distributions
                ],
            }
            for rule in flag.rules
        ],
        "rollouts": [dump_rollout(rollout) for rollout in flag.rollouts],
    }


def dump_rollout(rollout: Rollout) -> dict[str, Any]:
    """A rollout with its id and rank."""
    if rollout.type == THRESHOLD:
        body: dict[str, Any] = {"threshold": {"percentage": shortest(rollout.percentage), "value": rollout.value}}
    else:
        keys = list(rollout.segment_keys)
        body = {"segment": {"keys": keys, "operator": rollout.operator, "value": rollout.value}}
    return {
        "id": rollout.id,
        "rank": rollout.rank,
        "description": rollout.description,
        **body,
        **times(rollout),
    }


def times(thing: Stamped) -> dict[str, str]:
    """When it was made and changed, as text."""
    return {"createdAt": stamp(thing.created_at), "updatedAt": stamp(thing.updated_at)}


RUN_FIELDS = frozenset({"id", "createdAt", "updatedAt", "version_of_content", "documented"})


def content_of(namespace: Namespace) -> Any:
    """What the namespace's file would say: the dump without ids and times."""
    return {"key": namespace.key, **without_run_fields(dump_namespace(namespace))}


def without_run_fields(value: Any) -> Any:
    """`value` without the fields that differ from run to run."""
    if isinstance(value, dict):
        return {name: without_run_fields(item) for name, item in value.items() if name not in RUN_FIELDS}
    return [without_run_fields(item) for item in value] if isinstance(value, list) else value
