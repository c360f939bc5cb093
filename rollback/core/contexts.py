"""Which evaluations are asked for as proof: all 100 buckets × (no context, one context per segment).

Each segment that the flag's rollouts or rules name gets a context that is a member of it for the server and
for the engine alike, checked before it is used. A segment for which none is found is listed with the
reason, never skipped in silence. Segments that a rollout or rule joins with AND are also asked for
together. A variant flag spreads its variants over 1,000 finer buckets, so samples may miss a share below
one percent: there the reasoning over the snapshot (invariant 2a) closes the gap. Kill path: standard
library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

from rollback.core.constraints import is_member
from rollback.core.flag import BUCKETS, FlagConfig, Operator, Rollout, Rule
from rollback.core.membership import ENTITY_STEM, NobodyFound, membership_of
from rollback.core.sample import Sample

MAX_CONTEXTS = 40
"""How many contexts are sampled beside the empty one; what is left out is listed as unsampled."""

_MAX_SEARCHED = 20_000
"""How many numbers are tried to find an id in each bucket; about 600 are needed."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What to ask, and which segments (joined ones with `+`) could not be asked for, each with the reason."""

    samples: tuple[Sample, ...]
    unsampled: tuple[tuple[str, str], ...] = ()


def bucket(entity_id: str, flag_key: str) -> int:
    """The bucket that all thresholds of a boolean flag use for this entity: crc32(id + flag key) mod 100."""
    return crc32((entity_id + flag_key).encode(errors="surrogatepass")) % BUCKETS


def entity_for(bucket: int, flag_key: str) -> str:
    """The first id `rollback-proof-<n>` in `bucket` of this flag. Raises KeyError outside 0…99."""
    return _entities(flag_key)[bucket]


def samples_for(config: FlagConfig) -> Samples:
    """All samples for this flag, at most 100 × (1 + `MAX_CONTEXTS`), in a fixed order."""
    samples = [Sample(entity_id, at) for at, entity_id in _entities(config.key).items()]
    unsampled: list[tuple[str, str]] = []
    contexts = 0
    for name, keys in _audiences(config).items():
        try:
            if contexts == MAX_CONTEXTS:
                raise NobodyFound(f"only {MAX_CONTEXTS} contexts are sampled")
            found, lacking = _members(config, keys, name)
        except NobodyFound as nobody:
            unsampled.append((name, str(nobody)))
            continue
        contexts += 1
        samples.extend(found)
        unsampled.extend((name, why) for why in lacking)
    return Samples(tuple(samples), tuple(unsampled))


def _audiences(config: FlagConfig) -> dict[str, tuple[str, ...]]:
    """Each segment that the flag names, in order, then those joined with AND, by their joint name."""
    users: tuple[Rollout | Rule, ...] = (*config.rollouts, *config.rules)
    single = {key: (key,) for user in users for key in user.segments}
    joined = (tuple(dict.fromkeys(user.segments)) for user in users if user.operator is Operator.AND)
    return single | {"+".join(keys): keys for keys in joined if len(keys) > 1}


def _members(config: FlagConfig, keys: tuple[str, ...], name: str) -> tuple[list[Sample], list[str]]:
    """A member of all these segments per bucket (per id where only listed ones do), and what is lacking.

    Raises `NobodyFound`.
    """
    if any(key not in config.segments for key in keys):
        raise NobodyFound("not in the snapshot")
    segments = [config.segments[key] for key in keys]
    wanted = membership_of(segments)

    def belongs(entity_id: str) -> bool:
        return all(is_member(segment, wanted.context, entity_id) for segment in segments)

    lacking: list[str] = []
    if wanted.entity_ids is not None:
        ids = [entity_id for entity_id in wanted.entity_ids if belongs(entity_id)]
    else:
        ids = list(_one_per_bucket(config.key, wanted.prefix, wanted.suffix, belongs).values())
        if len(ids) < BUCKETS:
            lacking.append(f"a member was found in {len(ids)} of {BUCKETS} buckets only")
    return [Sample(one, bucket(one, config.key), wanted.context, name) for one in ids], lacking


@lru_cache(maxsize=16)
def _entities(flag_key: str) -> Mapping[int, str]:
    """For each bucket the id that stands for everybody in it."""
    return _one_per_bucket(flag_key, "", "", lambda _: True)


def _one_per_bucket(flag_key: str, prefix: str, suffix: str, belongs: Callable[[str], bool]) -> Mapping[int, str]:
    """For each bucket, 0 first, the first id `<prefix>rollback-proof-<n><suffix>` in it that `belongs`."""
    found: dict[int, str] = {}
    for number in range(_MAX_SEARCHED):
        entity_id = f"{prefix}{ENTITY_STEM}{number}{suffix}"
        at = bucket(entity_id, flag_key)
        if at not in found and belongs(entity_id):
            found[at] = entity_id
            if len(found) == BUCKETS:
                break
    return dict(sorted(found.items()))
