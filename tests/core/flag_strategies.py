"""Random flags, and a reference that evaluates one for one entity the way Flipt does (`flipt.md`).

The reference knows a concrete bucket and a concrete set of segments that the entity is a member of, and it compares
with a threshold as Flipt does, in single precision and without counting buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_float
from typing import Any

from hypothesis import strategies as st

from rollback.core.flag import (
    Constraint,
    Distribution,
    FlagConfig,
    FlagType,
    Operator,
    Polarity,
    Rollout,
    Rule,
    Segment,
)
from rollback.core.marker import Marker

EVERYBODY = "everybody"
NOBODY_KNOWS = "unknown-to-the-reader"
CONSTRAINED = tuple(f"segment-{number}" for number in range(10))
VARIANTS = ("blue", "green", "off")
ODD_PERCENTAGES = (0, 0.4, 1, 1.5, 25, 33.3, 50, 75, 99, 99.01, 99.0000001, 100, -5, 150)
FOREIGN_TEXTS = ("", "team's own", "50 % for the pilot\nsince spring", "rollback plan: ask us")


def segment(key: str, *, match_all: bool = False, constrained: bool = True) -> Segment:
    """A segment with one constraint, or without any: that one matches everybody."""
    return Segment(key, match_all, (Constraint("string", "role", "eq", key),) if constrained else ())


KNOWN = {key: segment(key) for key in CONSTRAINED} | {EVERYBODY: segment(EVERYBODY, constrained=False)}


def boolean(*rollouts: Rollout, enabled: bool = True, **changes: Any) -> FlagConfig:
    """A boolean flag that knows all segments of this module but one."""
    return FlagConfig("sm", FlagType.BOOLEAN, enabled, rollouts, segments=KNOWN, **changes)


def variant(*rules: Rule, enabled: bool = True, default: str | None = None, **changes: Any) -> FlagConfig:
    """A variant flag with the variants of this module."""
    changes = {"variants": VARIANTS, "segments": KNOWN, **changes}
    return FlagConfig("sm", FlagType.VARIANT, enabled, rules=rules, default_variant=default, **changes)


def marker(epoch: int = 1, role: str = "kill", incident: str = "sm-1") -> Marker:
    """A marker with a key of its own for each epoch."""
    return Marker(incident, f"{role}-{epoch}-ab{epoch}", "alex", "2026-11-23T08:00:00Z", "0123456789ab")


# -- the reference -------------------------------------------------------------------------------------------


def is_served(config: FlagConfig, polarity: Polarity, bucket: int, members: frozenset[str], share: float = 0) -> bool:
    """Whether this one entity has the feature. `share`, in percent, is where it stands among a rule's variants."""
    if config.type is FlagType.VARIANT:
        got = _variant_of(config, members, share)
        return bool(got) and polarity.variant_is_on(got)
    for rollout in config.rollouts:
        if rollout.percentage is None:
            matches = _matches(config, rollout.segments, rollout.operator, members)
        else:
            matches = bucket < c_float(rollout.percentage).value
        if matches:
            return rollout.value == polarity.on_value
    return config.enabled == polarity.on_value


def _variant_of(config: FlagConfig, members: frozenset[str], share: float) -> str:
    for rule in config.rules if config.enabled else ():
        if _matches(config, rule.segments, rule.operator, members):
            reached = 0.0
            for distribution in rule.distributions:
                reached += distribution.rollout
                if share < reached:
                    return distribution.variant
            break  # a rule that matches never falls through; a share beyond its distributions gets the default
    return config.default_variant or ""


def _matches(config: FlagConfig, keys: Sequence[str], operator: Operator, members: frozenset[str]) -> bool:
    known = config.segments
    each = [key in members or (key in known and not known[key].constraints) for key in keys]
    return any(each) if operator is Operator.OR else all(each)


# -- random flags --------------------------------------------------------------------------------------------

polarities = st.sampled_from([Polarity(), Polarity(on_value=False)])
variant_polarities = st.sampled_from([Polarity(), Polarity(on_variants=frozenset({"blue", "green"}))])
percentages = st.sampled_from(ODD_PERCENTAGES) | st.floats(-10, 160)
memberships = st.frozensets(st.sampled_from([*CONSTRAINED, NOBODY_KNOWS]))
foreign_texts = st.sampled_from(FOREIGN_TEXTS) | st.text(max_size=20)


def thresholds() -> st.SearchStrategy[Rollout]:
    """Threshold rollouts of other people."""
    return st.builds(Rollout, st.booleans(), percentages, description=foreign_texts)


def segment_rollouts(keys: Sequence[str], least: int) -> st.SearchStrategy[Rollout]:
    """Rollouts to at least that many of these segments."""
    chosen = st.lists(st.sampled_from(keys), min_size=least, max_size=3).map(tuple)
    operators = st.sampled_from(list(Operator))
    return st.builds(Rollout, st.booleans(), st.none(), chosen, operators, description=foreign_texts)


def boolean_flags(constrained: int = len(CONSTRAINED), least_segments: int = 0) -> st.SearchStrategy[FlagConfig]:
    """Boolean flags over so many constrained segments, one without constraints, and one that nobody could look up."""
    keys = [*CONSTRAINED[:constrained], EVERYBODY, NOBODY_KNOWS]
    rollouts = st.lists(thresholds() | segment_rollouts(keys, least_segments), max_size=6)
    return st.builds(lambda enabled, listed: boolean(*listed, enabled=enabled), st.booleans(), rollouts)


@st.composite
def variant_flags(draw: st.DrawFn) -> FlagConfig:
    """Variant flags, some of whose rules have no distributions, or distributions that add up to less than all."""
    shares = st.sampled_from([(), (100,), (50, 50), (0, 100), (20, 30), (0,), (33.33, 33.33, 33.34)])
    rules = []
    for _ in range(draw(st.integers(0, 3))):
        names = draw(st.permutations(VARIANTS))
        given = tuple(Distribution(name, share) for name, share in zip(names, draw(shares), strict=False))
        keys = draw(st.lists(st.sampled_from([*CONSTRAINED[:3], EVERYBODY]), min_size=1, max_size=2, unique=True))
        rules.append(Rule(tuple(keys), given, draw(st.sampled_from(list(Operator)))))
    default = draw(st.none() | st.sampled_from(VARIANTS))
    return variant(*rules, enabled=draw(st.booleans()), default=default, description=draw(foreign_texts))
