"""A stand-in `ClientView` for tests: evaluates a flag in memory by Flipt's rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from zlib import crc32

from rollback.adapters.client_views.answers import Answer, failed, sighting
from rollback.core.constraints import is_member
from rollback.core.contexts import bucket
from rollback.core.exposure import threshold_buckets
from rollback.core.flag import FlagConfig, FlagRef, FlagType, Operator, Polarity, Rule
from rollback.errors import RollbackError
from rollback.ports import Sample, Sighting

_FINE_BUCKETS = 1_000


class MemoryClientView:
    """Evaluates what `flag_of` returns at that moment; a `RollbackError` of it becomes an error in the sighting.

    `failing_with` makes every evaluation fail with that text until it is None again.
    """

    def __init__(
        self, flag_of: Callable[[FlagRef], FlagConfig], *, name: str = "engine", replica: str = "memory"
    ) -> None:
        self.name = name
        self.replica = replica
        self.failing_with: str | None = None
        self.is_closed = False
        self._flag_of = flag_of

    def prepare(self) -> None:
        """Nothing to start."""

    def evaluate(self, ref: FlagRef, polarity: Polarity, samples: Sequence[Sample], *, deadline: float) -> Sighting:
        """All samples. Never raises."""
        if self.failing_with is not None or self.is_closed:
            return failed(self.failing_with or "this view is closed")
        if time.monotonic() > deadline:
            return failed("no time was left")
        try:
            config = self._flag_of(ref)
        except RollbackError as error:
            return failed(error.message)
        if config.defects:
            return failed(*config.defects)
        return sighting(samples, [evaluated(config, sample) for sample in samples], (), polarity)

    def close(self) -> None:
        """From now on every evaluation fails."""
        self.is_closed = True


def evaluated(config: FlagConfig, sample: Sample) -> Answer:
    """What Flipt answers for this sample; segments that `config` does not hold match nobody."""
    if config.type is FlagType.VARIANT:
        return _variant(config, sample)
    for rollout in config.rollouts:
        if rollout.percentage is not None:
            matches = bucket(sample.entity_id, config.key) < threshold_buckets(rollout.percentage)
        else:
            matches = _matches(config, rollout.segments, rollout.operator, sample)
        if matches:
            return Answer(enabled=rollout.value)
    return Answer(enabled=config.enabled)


def _variant(config: FlagConfig, sample: Sample) -> Answer:
    default = config.default_variant or ""
    rules = config.rules if config.enabled else ()
    for rule in rules:
        if _matches(config, rule.segments, rule.operator, sample):
            return Answer(variant=_distributed(rule, config.key, sample) or default, match=True)
    return Answer(variant=default)


def _distributed(rule: Rule, flag_key: str, sample: Sample) -> str:
    """The variant of this entity's fine bucket: crc32(flag key + entity id) mod 1000, shares scaled to the whole."""
    shares = [share for share in rule.distributions if share.rollout > 0]
    total = sum(share.rollout for share in shares)
    at = crc32((flag_key + sample.entity_id).encode(errors="surrogatepass")) % _FINE_BUCKETS
    reached = 0.0
    for share in shares:
        reached += share.rollout / total * _FINE_BUCKETS
        if at < int(reached + 0.5):
            return share.variant
    return shares[-1].variant if shares else ""


def _matches(config: FlagConfig, segments: Sequence[str], operator: Operator, sample: Sample) -> bool:
    found = [config.segments.get(key) for key in segments]
    matched = [one is not None and is_member(one, sample.context, sample.entity_id) for one in found]
    return all(matched) if operator is Operator.AND else any(matched)
