"""Who can be served: one function from a flag's configuration to its open buckets, with reasons.

Soundness (invariant 3). A segment with constraints may match anybody and may match nobody; constraint values are
never reasoned about. Only a full threshold, or a segment without constraints (OR: one such, AND: all such), shields
what follows. So each bucket is walked through the rollouts in order for every combination of the flag's segments,
and a bucket is *open* when some combination is served the feature. Proof, exposure, kill, cohort, ladder step,
reduce, restore and drift all derive from this. Kill path: standard library only.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from urllib.parse import quote, unquote

from rollback.core import marker as markers
from rollback.core.flag import BUCKETS, FlagConfig, FlagType, Operator, Polarity, Rollout, Rule, Segment
from rollback.core.marker import Marker

MAX_BRANCHING_SEGMENTS = 8
"""Above this number of constrained segments each rollout is taken as independent: still an upper bound, never less."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """The open buckets of a flag: `reasons[b]` says why bucket b is open, `None` that it is closed.

    `unknown` says why nothing can be said (then `percent` is None, and the flag is not off).
    """

    reasons: tuple[str | None, ...]
    unknown: str | None = None

    @property
    def buckets(self) -> frozenset[int]:
        """The open buckets; empty when unknown."""
        return frozenset(bucket for bucket, reason in enumerate(self.reasons) if reason is not None)

    @property
    def percent(self) -> int | None:
        """How many of the 100 buckets are open: an upper bound in percent, `None` when unknown."""
        return None if self.unknown else len(self.buckets)

    @property
    def is_off(self) -> bool:
        """True only when it is known that no context of any bucket is served."""
        return self.unknown is None and not self.buckets

    @property
    def why(self) -> tuple[str, ...]:
        """The distinct reasons, in bucket order."""
        return tuple(dict.fromkeys(reason for reason in self.reasons if reason is not None))


def threshold_buckets(percentage: float) -> int:
    """How many buckets a threshold of `percentage` holds, from bucket 0: ceil, clamped to 0…100 (`flipt.md`).

    Flipt keeps the percentage in single precision: 99.0000001 is 99 there (measured), and bucket 99 is not held. No
    bucket is below NaN, so it holds none; `exposure` takes one that lets in as a full one all the same.
    """
    if math.isnan(percentage):
        return 0
    single: float = struct.unpack("f", struct.pack("f", min(max(percentage, 0.0), float(BUCKETS))))[0]
    return math.ceil(single)


def exposure(config: FlagConfig, polarity: Polarity) -> Exposure:
    """The open buckets of `config`, with the reason for each; unknown when the flag cannot be evaluated."""
    if config.defects:
        return Exposure((None,) * BUCKETS, unknown="; ".join(config.defects))
    if config.type is FlagType.VARIANT:
        reason = _variant_reason(config, polarity)
        return Exposure((reason,) * BUCKETS)
    return Exposure(_boolean_reasons(config, polarity))


# -- what becomes of a flag ------------------------------------------------------------------------------------


def kill(config: FlagConfig, polarity: Polarity, marker: Marker) -> FlagConfig:
    """`config` with a kill of its own in front, whatever else is there: off for every entity.

    Boolean: a first threshold of 100 percent with the off value. Variant: not enabled, and no default variant that
    means on. The rest stays, so that taking ours away gives back what would be there without us.
    """
    if config.type is FlagType.VARIANT:
        return _variant_kill(config, polarity, marker)
    ours = Rollout(value=not polarity.on_value, percentage=100.0, description=str(marker))
    return replace(config, rollouts=(ours, *config.rollouts))


def with_cohort(config: FlagConfig, polarity: Polarity, segments: tuple[str, ...], marker: Marker) -> FlagConfig:
    """`config` with the members of `segments` (any of them) let in ahead of everything else. Boolean flags only."""
    cohort = Rollout(value=polarity.on_value, segments=segments, description=str(marker))
    return replace(config, rollouts=(cohort, *config.rollouts))


def with_kill_at(config: FlagConfig, key: str, percentage: int) -> FlagConfig:
    """`config` with our kill `key` holding off `percentage` buckets. Raises KeyError when it is not there."""
    if not any(_key(rollout) == key for rollout in config.rollouts):
        raise KeyError(key)
    return replace(
        config,
        rollouts=tuple(
            replace(rollout, percentage=float(percentage)) if _key(rollout) == key else rollout
            for rollout in config.rollouts
        ),
    )


def without(config: FlagConfig, keys: Iterable[str] | None = None) -> FlagConfig:
    """`config` without our rollouts (those with these keys; all of ours when `keys` is None).

    Everyone else's edits stay. A variant flag gets back each field that still is as we wrote it.
    """
    wanted = None if keys is None else frozenset(keys)

    def is_taken_out(found: Marker | None) -> bool:
        return found is not None and (wanted is None or found.key in wanted)

    rollouts = tuple(rollout for rollout in config.rollouts if not is_taken_out(markers.parse(rollout.description)))
    result = replace(config, rollouts=rollouts)
    if config.type is FlagType.VARIANT and is_taken_out(markers.parse(config.description)):
        result = _variant_restore(result)
    return result


def ours(config: FlagConfig) -> tuple[Marker, ...]:
    """The markers of our rollouts, in evaluation order (for a variant flag the one in its description)."""
    texts = [rollout.description for rollout in config.rollouts]
    if config.type is FlagType.VARIANT:
        texts = [config.description]
    found = (markers.parse(text) for text in texts)
    return tuple(marker for marker in found if marker is not None)


def kill_percentage_for(config: FlagConfig, polarity: Polarity, percent: float) -> int:
    """How many buckets a kill in front must hold off so that at most `percent` of the buckets open without us are open.

    `config` is the flag without ours. All thresholds of a flag share an entity's bucket, so the answer is found by
    counting the buckets that are open above it, never as 100 minus `percent`. 100 when even one bucket is too many,
    and when the flag's exposure is unknown.
    """
    found = exposure(config, polarity)
    if found.unknown is not None:
        return BUCKETS
    base = found.buckets
    allowed = math.floor(len(base) * percent / 100 + 1e-9)
    held = BUCKETS
    while held > 0 and sum(1 for bucket in base if bucket >= held - 1) <= allowed:
        held -= 1
    return held


def opened_by(config: FlagConfig, polarity: Polarity, held: int) -> int:
    """How many buckets are open when a kill in front of `config` (the flag without ours) holds off `held` buckets."""
    return sum(1 for bucket in exposure(config, polarity).buckets if bucket >= held)


# -- boolean flags ---------------------------------------------------------------------------------------------


def _boolean_reasons(config: FlagConfig, polarity: Polarity) -> tuple[str | None, ...]:
    """One reason per bucket; buckets between two thresholds behave alike and are walked once."""
    edges = {0, BUCKETS}
    edges.update(threshold_buckets(r.percentage) for r in config.rollouts if r.percentage is not None)
    walk = _walker(config, polarity)
    reasons: list[str | None] = []
    for start, end in pairwise(sorted(edges)):
        reasons.extend([walk(start)] * (end - start))
    return tuple(reasons)


def _walker(config: FlagConfig, polarity: Polarity) -> Callable[[int], str | None]:
    """The walk of one bucket from the first rollout on: why it can be served, or None."""
    constrained = {key for r in config.rollouts for key in r.segments if not _matches_everybody(config, key)}
    exact = len(constrained) <= MAX_BRANCHING_SEGMENTS
    default = f"the default: enabled is {str(config.enabled).lower()}"

    def walk(bucket: int, known: Mapping[str, bool], position: int) -> str | None:
        for index, rollout in enumerate(config.rollouts[position:], position):
            served = _served(rollout, index, polarity)
            if rollout.percentage is not None:
                lets_in_unread = served is not None and math.isnan(rollout.percentage)
                if bucket < threshold_buckets(rollout.percentage) or lets_in_unread:
                    return served
                continue
            matched = _match(config, rollout.segments, rollout.operator, known)
            if matched is True or (matched is None and served is not None):
                return served  # everybody left is decided here, or somebody matches and is let in
            undecided = [key for key in rollout.segments if key not in known and key in constrained]
            if matched is None and exact and undecided:
                member, other = ({**known, undecided[0]: value} for value in (True, False))
                return walk(bucket, other, index) or walk(bucket, member, index)
        return default if config.enabled == polarity.on_value else None

    return lambda bucket: walk(bucket, {}, 0)


def _served(rollout: Rollout, index: int, polarity: Polarity) -> str | None:
    """Why a match of this rollout means being served; None when its value is the off value."""
    if rollout.value != polarity.on_value:
        return None
    whose = "our" if _key(rollout) else "its"
    if rollout.percentage is not None:
        return f"{whose} rollout {index + 1}: threshold {rollout.percentage:g} percent"
    joined = f" {rollout.operator.value} ".join(rollout.segments) or "(none named)"
    return f"{whose} rollout {index + 1}: segment {joined}"


def _match(config: FlagConfig, segments: tuple[str, ...], operator: Operator, known: Mapping[str, bool]) -> bool | None:
    """Whether contexts with these memberships match; None when it depends on what is not decided (or not named)."""
    states = [True if _matches_everybody(config, key) else known.get(key) for key in segments]
    decisive = operator is Operator.OR
    if decisive in states:
        return decisive
    return None if None in states or not states else not decisive


def _matches_everybody(config: FlagConfig, key: str) -> bool:
    """Only a segment that is known and has no constraints; ANY and ALL alike."""
    segment: Segment | None = config.segments.get(key)
    return segment is not None and not segment.constraints


def _key(rollout: Rollout) -> str | None:
    """The key of our marker on this rollout; None when it is somebody else's."""
    found = markers.parse(rollout.description)
    return found.key if found else None


# -- variant flags: all or nothing -----------------------------------------------------------------------------


def _variant_reason(config: FlagConfig, polarity: Polarity) -> str | None:
    """Why somebody can be served a variant that means on; None when nobody can.

    Every distribution above 0, the default variant, and a rule without distributions count as served.
    """
    default = config.default_variant
    by_default = f"the default variant {default}" if default and polarity.variant_is_on(default) else None
    if not config.enabled:
        return by_default
    for index, rule in enumerate(config.rules, 1):
        shares = [share for share in rule.distributions if share.rollout > 0 or math.isnan(share.rollout)]
        if not shares:
            return f"its rule {index} has no distributions"
        for share in shares:
            if polarity.variant_is_on(share.variant):
                return f"its rule {index}: variant {share.variant} to {share.rollout:g} percent"
        if _shields(config, rule) and sum(share.rollout for share in shares) >= BUCKETS:
            return None
    return by_default


def _shields(config: FlagConfig, rule: Rule) -> bool:
    return _match(config, rule.segments, rule.operator, {}) is True


def _variant_kill(config: FlagConfig, polarity: Polarity, marker: Marker) -> FlagConfig:
    earlier = _was(config)
    taken_out = config.default_variant if polarity.variant_is_on(config.default_variant or "") else None
    # What a kill before this one took out is still missing on our account, unless somebody has set it since.
    enabled = config.enabled or earlier.get("enabled") == "true"
    default = taken_out or ("" if config.default_variant else unquote(earlier.get("default", "")))
    text = markers.strip(config.description)
    line = str(replace(marker, was=f"enabled={str(enabled).lower()},default={quote(default, safe='')}"))
    return replace(
        config,
        enabled=False,
        default_variant=None if taken_out else config.default_variant,
        description=f"{text}\n{line}" if text else line,
    )


def _was(config: FlagConfig) -> dict[str, str]:
    """What our marker in the description says that we changed: `default` is empty when we left the default alone."""
    found = markers.parse(config.description)
    return dict(part.partition("=")[::2] for part in found.was.split(",")) if found else {}


def _variant_restore(config: FlagConfig) -> FlagConfig:
    was = _was(config)
    default = unquote(was.get("default", ""))
    gives_back = config.default_variant is None and default in config.variants
    return replace(
        config,
        enabled=config.enabled or was.get("enabled") == "true",
        default_variant=default if gives_back else config.default_variant,
        description=markers.strip(config.description),
    )
