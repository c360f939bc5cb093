"""A flag as every store tells it, in the order in which Flipt evaluates it.

The adapters translate their store's words into these; `wire` keeps the store's own record, so that a
write sends back every field, also those that this program does not know. Kill path: standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

BUCKETS = 100
"""An entity's bucket is crc32(entity id + flag key) mod 100 (`flipt.md`)."""


class FlagType(StrEnum):
    """Flipt's two kinds of flag."""

    BOOLEAN = "boolean"
    VARIANT = "variant"


class Operator(StrEnum):
    """How several segments of one rollout or rule combine."""

    OR = "or"
    AND = "and"


@dataclass(frozen=True, slots=True)
class FlagRef:
    """Where a flag lives. `environment` is `default` where the store knows no environments."""

    environment: str
    namespace: str
    flag_key: str

    def __str__(self) -> str:
        return f"{self.environment}/{self.namespace}/{self.flag_key}"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One condition of a segment, in Flipt's words, e.g. type `string`, operator `isoneof`.

    `type` is one of `string`, `number`, `boolean`, `datetime`, `entity_id`; `value` is text, as Flipt keeps it.
    """

    type: str
    property: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A named audience. Without constraints it matches everybody (ANY and ALL alike)."""

    key: str
    match_all: bool
    constraints: tuple[Constraint, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout of a boolean flag: a threshold when `percentage` is set, else a segment rollout.

    `percentage` is Flipt's number as it stands (0.4, −5 and 150 exist); `core.exposure` reads it.
    `wire` is the store's own record of this rollout, `None` for one that is new; it takes no part in equality.
    """

    value: bool
    percentage: float | None = None
    segments: tuple[str, ...] = ()
    operator: Operator = Operator.OR
    description: str = ""
    wire: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The share (percent) of a rule's matches that get one variant."""

    variant: str
    rollout: float


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a variant flag. A rule that matches never falls through to the next."""

    segments: tuple[str, ...]
    distributions: tuple[Distribution, ...]
    operator: Operator = Operator.OR
    wire: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FlagConfig:
    """All that decides who is served what.

    `segments` holds the segments that the reader could look up; one that is missing is treated as
    constrained (it may match anybody and may match nobody), which is always on the safe side.
    `defects` says why the flag cannot be evaluated at all (ranks out of order); then its exposure is unknown.
    """

    key: str
    type: FlagType
    enabled: bool
    rollouts: tuple[Rollout, ...] = ()
    rules: tuple[Rule, ...] = ()
    default_variant: str | None = None
    variants: tuple[str, ...] = ()
    description: str = ""
    segments: Mapping[str, Segment] = field(default_factory=dict)
    defects: tuple[str, ...] = ()
    wire: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FlagSnapshot:
    """A flag as it was read once. `revision` is the store's optimistic lock, `None` where it has none."""

    ref: FlagRef
    config: FlagConfig
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Polarity:
    """What "on" means for a feature's flag.

    Boolean flags: the value `on_value` (False for a flag where `true` means "down").
    Variant flags: the variants in `on_variants`; an empty set means every variant.
    """

    on_value: bool = True
    on_variants: frozenset[str] = frozenset()

    def variant_is_on(self, variant: str) -> bool:
        """True when being served `variant` means having the feature."""
        return not self.on_variants or variant in self.on_variants
