"""What the Flipt stand-in holds: immutable values, so that a reader always sees one consistent state.

Every write builds a new `State` that shares what did not change with the old one. The names are Flipt's.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

BOOLEAN = "BOOLEAN_FLAG_TYPE"
VARIANT = "VARIANT_FLAG_TYPE"
THRESHOLD = "THRESHOLD_ROLLOUT_TYPE"
SEGMENT = "SEGMENT_ROLLOUT_TYPE"
OR = "OR_SEGMENT_OPERATOR"
AND = "AND_SEGMENT_OPERATOR"
ANY = "ANY_MATCH_TYPE"
ALL = "ALL_MATCH_TYPE"
COMPARISONS = ("STRING", "NUMBER", "BOOLEAN", "DATETIME", "ENTITY_ID")

DEFAULT = "default"


def new_id() -> str:
    """A fresh id, as v1 hands them out."""
    return str(uuid.uuid4())


def utc_now() -> datetime:
    """The time of a write."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Stamped:
    """When it was made and last changed."""

    created_at: datetime = field(default_factory=utc_now, kw_only=True)
    updated_at: datetime = field(default_factory=utc_now, kw_only=True)


@dataclass(frozen=True, slots=True)
class Constraint(Stamped):
    """One condition of a segment. `type` is one of `COMPARISONS` + `_COMPARISON_TYPE`."""

    type: str
    property: str
    operator: str
    value: str = ""
    description: str = ""
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Segment(Stamped):
    """Whom a rule or rollout means. Without constraints it matches everybody, ANY and ALL alike."""

    key: str
    name: str = ""
    description: str = ""
    match_type: str = ALL
    constraints: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant(Stamped):
    """A result of a variant flag. `attachment` is JSON text; "" means none."""

    key: str
    name: str = ""
    description: str = ""
    attachment: str = ""
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Distribution(Stamped):
    """A share (percent) of a rule's users that gets the variant with `variant_id`."""

    variant_id: str
    rollout: float
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Rule(Stamped):
    """A rule of a variant flag."""

    segment_keys: tuple[str, ...]
    rank: int
    operator: str = OR
    distributions: tuple[Distribution, ...] = ()
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Rollout(Stamped):
    """A rollout of a boolean flag: a threshold (`percentage`) or segments; `type` says which."""

    type: str
    rank: int
    value: bool
    percentage: float = 0.0
    segment_keys: tuple[str, ...] = ()
    operator: str = OR
    description: str = ""
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Flag(Stamped):
    """A flag. `rollouts` and `rules` are in the order of their ranks. `metadata` None: never set."""

    key: str
    name: str = ""
    type: str = VARIANT
    description: str = ""
    enabled: bool = False
    metadata: Mapping[str, Any] | None = None
    default_variant_id: str = ""
    variants: tuple[Variant, ...] = ()
    rules: tuple[Rule, ...] = ()
    rollouts: tuple[Rollout, ...] = ()

    def variant(self, variant_id: str) -> Variant | None:
        """The variant with this id."""
        return next((variant for variant in self.variants if variant.id == variant_id), None)

    def variant_named(self, key: str) -> Variant | None:
        """The variant with this key."""
        return next((variant for variant in self.variants if variant.key == key), None)

    def segments_used(self) -> set[str]:
        """The keys of all segments that its rollouts and rules name."""
        named = [one.segment_keys for one in self.rollouts] + [one.segment_keys for one in self.rules]
        return {key for keys in named for key in keys}

    def with_rollouts(self, rollouts: tuple[Rollout, ...]) -> Flag:
        """The flag with other rollouts, sorted by rank; equal ranks keep their order."""
        return replace(self, rollouts=tuple(sorted(rollouts, key=lambda rollout: rollout.rank)))

    def with_rules(self, rules: tuple[Rule, ...]) -> Flag:
        """The flag with other rules, sorted by rank; equal ranks keep their order."""
        return replace(self, rules=tuple(sorted(rules, key=lambda rule: rule.rank)))


@dataclass(frozen=True, slots=True)
class Namespace(Stamped):
    """Flags and segments. `version` is "" until something was written (v1: no etag until then).

    `documented`: v2 has a file for it. Its default namespace is listed before that, but has no snapshot.
    """

    key: str
    name: str = ""
    description: str = ""
    protected: bool = False
    version: str = ""
    documented: bool = False
    flags: Mapping[str, Flag] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)

    def with_flag(self, flag: Flag) -> Namespace:
        """The namespace with this flag put in or replaced."""
        return self._written(flags={**self.flags, flag.key: flag})

    def without_flag(self, key: str) -> Namespace:
        """The namespace without that flag."""
        return self._written(flags={name: flag for name, flag in self.flags.items() if name != key})

    def with_segment(self, segment: Segment) -> Namespace:
        """The namespace with this segment put in or replaced."""
        return self._written(segments={**self.segments, segment.key: segment})

    def without_segment(self, key: str) -> Namespace:
        """The namespace without that segment."""
        return self._written(segments={name: one for name, one in self.segments.items() if name != key})

    def _written(self, **changes: Any) -> Namespace:
        return replace(self, version=new_id(), documented=True, **changes)


@dataclass(frozen=True, slots=True)
class Environment:
    """Namespaces with one head: `revision` (40 hex digits) changes with every write to any of them (v2)."""

    key: str
    revision: str
    namespaces: Mapping[str, Namespace]
    built_at: datetime = field(default_factory=utc_now)

    def with_namespace(self, namespace: Namespace) -> Environment:
        """The environment after a write to this namespace."""
        return self.written({**self.namespaces, namespace.key: namespace})

    def written(self, namespaces: Mapping[str, Namespace]) -> Environment:
        """The environment with these namespaces and a new head."""
        return replace(self, namespaces=namespaces, revision=new_revision(), built_at=utc_now())


@dataclass(frozen=True, slots=True)
class State:
    """Everything at one moment. `version` counts the writes."""

    environments: Mapping[str, Environment] = field(default_factory=dict)
    version: int = 0

    def with_environment(self, environment: Environment) -> State:
        """The next state, in which this environment is as given."""
        return State({**self.environments, environment.key: environment}, self.version + 1)


def new_revision() -> str:
    """A head that was never there before: the same content put twice has two revisions (measured)."""
    return uuid.uuid4().hex + uuid.uuid4().hex[:8]


def default_namespace(api: str) -> Namespace:
    """The namespace that an empty server has."""
    if api == "v1":
        return Namespace(DEFAULT, name="Default", description="Default namespace", protected=True)
    return Namespace(DEFAULT, name="default", description="The default namespace", protected=True)


def empty_environment(key: str, api: str) -> Environment:
    """An environment in which nobody has written yet."""
    return Environment(key, new_revision(), {DEFAULT: default_namespace(api)})
